"""A whole ``lungnode serve`` for tests and benchmarks: its own home, ports of the kernel, and all that it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import descendants

AE_TITLE = "LUNGNODE"
READY_S = 300.0
RESULT_S = 240.0
STOPPED_S = 120.0


@dataclass(frozen=True)
class Service:
    """A running service."""

    pid: int
    dicom_port: int
    web_port: int
    home: Path
    log: Path

    def get(self, path: str) -> tuple[int, str, str]:
        """Status, headers and body of a page; error pages too."""
        return self.send(urllib.request.Request(f"http://127.0.0.1:{self.web_port}{path}"))

    def send(self, request: urllib.request.Request) -> tuple[int, str, str]:
        """Answer of any request."""
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, str(answer.headers), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, str(error.headers), error.read().decode("utf-8", "replace")

    def worklist(self) -> list[dict[str, Any]]:
        """All items of the first page of the worklist."""
        status, _, body = self.get("/api/v1/worklist?limit=100")
        assert status == 200, body
        return list(json.loads(body)["items"])

    def wait_for_answers(self, count: int) -> list[dict[str, Any]]:
        """Wait until ``count`` studies have come to an end; gives the worklist."""
        end = time.monotonic() + RESULT_S
        while time.monotonic() < end:
            items = self.worklist()
            ended = [item for item in items if item["state"] in {"analysed", "not_analysed", "failed"}]
            if len(ended) >= count:
                return items
            time.sleep(0.5)
        raise TimeoutError(f"no answers within {RESULT_S} s: {[item['state'] for item in items]}")


@contextmanager
def running_service(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run ``lungnode serve`` in ``folder`` until the block ends; then it is asked to stop and must do so."""
    home, log_path = folder / "home", folder / "log"
    shared = "LUNGNODE_MODEL__CACHE"  # of converted networks, where there is one
    environment = {name: value for name, value in os.environ.items() if name == shared or "LUNGNODE_" not in name}
    environment |= {
        "LUNGNODE_HOME": str(home),
        "LUNGNODE_DICOM__PORT": "0",
        "LUNGNODE_WEB__PORT": "0",
        "LUNGNODE_DICOM__QUIET_S": "1",
        "TMPDIR": str(folder / "tmp"),
        **(settings or {}),
    }
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        command = [sys.executable, "-m", "lungnode", "serve"]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    processes: list[int] = []
    try:
        yield _ready_service(process, home, log_path)
        processes = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOPPED_S) == 0
    finally:
        if process.poll() is None:
            processes = descendants(process.pid)
            process.kill()
            process.wait()
        _wait_until_ended(processes)


def _wait_until_ended(processes: list[int]) -> None:
    """Wait for the service's processes: they end a moment after it, and write to the folder until then."""
    end = time.monotonic() + 10
    while time.monotonic() < end and any(map(_is_running, processes)):
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _ready_service(process: subprocess.Popen[bytes], home: Path, log_path: Path) -> Service:
    """Wait until the service has written where it listens, and its pages say that it is ready."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        if (home / "run" / "serve.json").exists():
            status = json.loads((home / "run" / "serve.json").read_text())
            service = Service(process.pid, status["dicom"]["port"], status["web"]["port"], home, log_path)
            if service.get("/readyz")[0] == 200:
                return service
        time.sleep(0.2)
    raise AssertionError(f"the service is not ready (status {process.poll()}):\n{log_path.read_text()[-4000:]}")
