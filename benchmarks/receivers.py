"""The receivers that are compared: ours, and whichever peers are installed. Each listens on loopback until stopped.

Run as a module, it is one of those in Python: ``python -m benchmarks.receivers NAME PORT FOLDER``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

AE_TITLE = "BENCH"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver: how it is started, and what its acknowledgement means."""

    name: str
    promise: str
    """What is true when it answers 0x0000."""
    command: Callable[[int, Path], list[str]]
    is_there: Callable[[], bool] = lambda: True


def _ours(kind: str) -> Callable[[int, Path], list[str]]:
    return lambda port, folder: [sys.executable, "-m", "benchmarks.receivers", kind, str(port), str(folder)]


def _storescp(port: int, folder: Path) -> list[str]:
    return ["storescp", "--fork", "--aetitle", AE_TITLE, "--output-directory", str(folder), str(port)]


def _orthanc(port: int, folder: Path) -> list[str]:
    config = {
        "Name": AE_TITLE,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "HttpServerEnabled": False,
        "OverwriteInstances": False,
        "DicomAlwaysAllowStore": True,
        "StableAge": 3600,
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    return [_orthanc_program() or "Orthanc", str(folder / "orthanc.json")]


def _orthanc_program() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def _is_dcmtk_storescp() -> bool:
    """Whether the storescp on the path is DCMTK's; pynetdicom installs a program of the same name."""
    program = shutil.which("storescp", path=_path_without_ours())
    return program is not None


def _path_without_ours() -> str:
    return "/usr/local/bin:/usr/bin:/bin"


RECEIVERS = (
    Receiver("lungnode", "file, folder and index synced, audited", _ours("lungnode")),
    Receiver("pynetdicom", "file written, not synced, no index", _ours("pynetdicom")),
    Receiver("pynetdicom synced", "file and folder synced, no index", _ours("pynetdicom-synced")),
    Receiver("dcmtk storescp", "file written, not synced, no index", _storescp, _is_dcmtk_storescp),
    Receiver(
        "orthanc", "file and index written, as its settings say", _orthanc, lambda: _orthanc_program() is not None
    ),
)


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a receiver in ``folder``; gives its port and process id. Stops it, and only it, at the end."""
    port = _free_port()
    folder.mkdir(parents=True)
    command = receiver.command(port, folder)
    command[0] = shutil.which(command[0], path=_path_without_ours()) or command[0]
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_until_it_listens(process, port)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, limit_s: float = 30.0) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"a receiver did not start; see its log (status {process.returncode})")


def _serve_lungnode(port: int, folder: Path) -> None:
    from db.engine import Database, load_or_create_audit_key
    from db.schema import upgrade
    from dicom_node.intake import Intake
    from dicom_node.scp import ListenerSettings, start_listener
    from dicom_node.store import InstanceStore

    url = f"sqlite:///{folder / 'lungnode.db'}"
    upgrade(url)
    database = Database(url, load_or_create_audit_key(folder / "audit.key"))
    intake = Intake(InstanceStore(folder / "store"), database)
    listener = start_listener(ListenerSettings(port=port, ae_title=AE_TITLE), intake)
    _wait_for_the_end()
    listener.stop()


def _serve_pynetdicom(port: int, folder: Path, *, is_synced: bool = False) -> None:
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event: Any) -> int:
        path = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        if is_synced:
            _write_synced(path, event.encoded_dataset())
        else:
            path.write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE(AE_TITLE)
    ae.maximum_pdu_size = 0
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    _wait_for_the_end()
    if server is not None:
        server.shutdown()


def _write_synced(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def _wait_for_the_end() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    serve = {
        "lungnode": _serve_lungnode,
        "pynetdicom": _serve_pynetdicom,
        "pynetdicom-synced": partial(_serve_pynetdicom, is_synced=True),
    }
    serve[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
