"""The service of the demo: a child process on loopback, queried by HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo
from lungnode.demo.pacs import AE_TITLE
from lungnode.errors import CommandError
from lungnode.settings.service import Settings

READY_S = 300.0
"""Time limit for starting; loading the models takes seconds, more on a busy machine."""
STOP_S = 30.0
QUIET_S = 3.0
"""Quiet time after which a series is complete."""
_OPENER = build_opener(ProxyHandler({}))


class DemoService:
    """``lungnode serve`` as a child process; use it as a context manager.

    It listens on loopback only and sends results to the demo PACS only, whatever the settings.
    """

    def __init__(self, settings: Settings, home: Path, pacs_port: int) -> None:
        self.home = home
        self.log_path = home / "demo-service.log"
        self._title = settings.dicom.ae_title
        self._dicom_port = choose_port(settings.dicom.port)
        self._web_port = choose_port(settings.web.port, but=self._dicom_port)
        destination = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": pacs_port}
        self._environment = {
            **os.environ,
            "LUNGNODE_HOME": str(home),
            "LUNGNODE_DICOM__HOST": "127.0.0.1",
            "LUNGNODE_DICOM__PORT": str(self._dicom_port),
            "LUNGNODE_DICOM__PEERS": "[]",
            "LUNGNODE_DICOM__QUIET_S": str(QUIET_S),
            "LUNGNODE_DICOM__DESTINATIONS": json.dumps([destination]),
            "LUNGNODE_WEB__HOST": "127.0.0.1",
            "LUNGNODE_WEB__PORT": str(self._web_port),
            "LUNGNODE_WEB__AUTH": "off",
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def node(self) -> RemoteNode:
        """The service as a DICOM node."""
        return RemoteNode(self._title, "127.0.0.1", self._dicom_port)

    @property
    def url(self) -> str:
        """Base URL of the pages, without a trailing slash."""
        return f"http://127.0.0.1:{self._web_port}"

    def __enter__(self) -> DemoService:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "lungnode", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches this process only, which then stops the child
            )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # whatever is left of the child's own session
        child.wait()

    def wait_until_ready(self) -> None:
        """Wait until pages and DICOM port answer.

        Raises
        ------
        CommandError
            The service ended, or did not come up in time.
        """
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.check_alive()
            if self._is_ready() and not echo(self.node, AE_TITLE, ScuTimeouts(2, 5, 5)):
                return
            time.sleep(0.25)
        raise CommandError(f"the service did not come up within {READY_S:.0f} s; its log is {self.log_path}")

    def check_alive(self) -> None:
        """Check that the service still runs.

        Raises
        ------
        CommandError
            The service ended.
        """
        status = self._child.poll() if self._child is not None else None
        if status is not None:
            raise CommandError(f"the service ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines() if self.log_path.exists() else []
        return lines[-1][:300] if lines else "no output"

    def _is_ready(self) -> bool:
        """Return whether the service is ready; raise if its models cannot be loaded."""
        _, answer = self._get_json("/readyz")
        if answer.get("checks", {}).get("model") == "failed":
            raise CommandError(f"the models cannot be loaded; the service's log is {self.log_path}")
        return bool(answer.get("ready"))

    def get(self, path: str) -> dict[str, Any] | None:
        """GET JSON; None without a 200 response."""
        status, answer = self._get_json(path)
        return answer if status == 200 else None

    def _get_json(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET JSON; status 0 if there is no response."""
        try:
            with _OPENER.open(self.url + path, timeout=30) as response:
                status, text = response.status, response.read()
        except HTTPError as error:
            with error:
                status, text = error.code, error.read()
        except (URLError, TimeoutError, ConnectionError, HTTPException):
            return 0, {}
        try:
            answer = json.loads(text)
        except ValueError:
            return status, {}
        return status, answer if isinstance(answer, dict) else {}


def choose_port(preferred: int, *, but: int = 0) -> int:
    """Return the preferred loopback port if free, else one that the kernel chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen = int(probe.getsockname()[1])
            if chosen != but:
                return chosen
    raise CommandError("no free port on 127.0.0.1")
