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
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import end_process

AE_TITLE = "BENCH"
ANNOUNCEMENT = Path("run", "dicom.json")
"""File that ours writes when all its processes listen, in its folder."""
_UNSYNCED = "LUNGNODE_BENCHMARK_UNSYNCED"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver: how it is started, and what its acknowledgement means."""

    name: str
    promise: str
    """Durability of an instance when it answers 0x0000."""
    command: Callable[[int, Path], list[str]]
    is_there: Callable[[], bool] = lambda: True
    has_no_index: bool = False
    """True if its files may be removed between runs."""
    announces: bool = False
    """True if it writes its address once all of its processes listen."""
    is_nodelay: bool = True
    """True if DCMTK's TCP_NODELAY is set; it is not by default."""
    share: float = 1.0
    """Share of the instances that it is sent: as shipped, a peer needs 40 ms for each."""

    @property
    def folder_name(self) -> str:
        """Name of its folder."""
        return self.name.replace(" ", "-")


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
    """Return True if the storescp on the path is DCMTK's; pynetdicom installs a program of the same name."""
    program = shutil.which("storescp", path=path_without_ours())
    return program is not None


def path_without_ours() -> str:
    """Return the search path for DCMTK, without the folder of our Python, where pynetdicom's programs lie."""
    ours = sysconfig.get_path("scripts")
    return os.pathsep.join(folder for folder in os.get_exec_path() if folder.rstrip("/") != ours)


def _has_orthanc() -> bool:
    return _orthanc_program() is not None


RECEIVERS = (
    Receiver("lungnode", "file, folder and index synced, audited", _ours("lungnode"), announces=True),
    Receiver("lungnode 2 processes", "the same, by two processes", _ours("lungnode-two"), announces=True),
    Receiver("lungnode unsynced", "the same, nothing synced", _ours("lungnode-unsynced"), announces=True),
    Receiver("pynetdicom", "file written, not synced, no index", _ours("pynetdicom"), has_no_index=True),
    Receiver(
        "storescp as shipped",
        "file written, not synced, no index",
        _storescp,
        _is_dcmtk_storescp,
        has_no_index=True,
        is_nodelay=False,
        share=0.1,
    ),
    Receiver(
        "storescp TCP_NODELAY", "file written, not synced, no index", _storescp, _is_dcmtk_storescp, has_no_index=True
    ),
    Receiver(
        "orthanc as shipped", "file and index as its settings say", _orthanc, _has_orthanc, is_nodelay=False, share=0.1
    ),
    Receiver("orthanc TCP_NODELAY", "file and index as its settings say", _orthanc, _has_orthanc),
)


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a receiver in ``folder``; gives its port and process id. Stops it, and only it, at the end."""
    port = free_port()
    folder.mkdir(parents=True)
    command = receiver.command(port, folder)
    command[0] = shutil.which(command[0], path=path_without_ours()) or command[0]
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if receiver.is_nodelay:
        environment["TCP_NODELAY"] = "1"
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            wait_until_it_listens(process, port, folder / ANNOUNCEMENT if receiver.announces else None)
            yield port, process.pid
        finally:
            end_process(process, 15)


def free_port() -> int:
    """Find a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_listens(
    process: subprocess.Popen[bytes], port: int, announcement: Path | None = None, limit_s: float = 60.0
) -> None:
    """Wait for a receiver: for the file that it writes, or until it can be connected to.

    Raises
    ------
    SystemExit
        It ended, or does not listen in time.
    """
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            is_announced = announcement is None or announcement.exists()
            if is_announced and probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"a receiver did not start; see its log (status {process.returncode})")


def _serve_lungnode(port: int, folder: Path, *, processes: int = 1, is_synced: bool = True) -> None:
    """Run the service's listener."""
    from lungnode.commands.serve import serve
    from lungnode.settings.service import Settings

    if not is_synced:
        os.environ[_UNSYNCED] = "1"
    dicom = {"port": port, "ae_title": AE_TITLE, "processes": processes}
    serve(Settings.model_validate({"home": folder, "dicom": dicom}), "dicom")


def _leave_syncing_to_the_kernel() -> None:
    """Take syncs away, here alone: the service has no such switch. Writes stay direct, which costs less CPU."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    from dicom_node.storage import instance_store as store
    from dicom_node.storage import spool

    for module, name, instead in (
        (spool, "_sync_content", lambda _: None),
        (store, "_sync_folder", lambda _: None),
    ):
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__}.{name} is gone: this comparison would be void")
        setattr(module, name, instead)
    event.listen(Pool, "checkout", lambda link, *_: link.execute("PRAGMA synchronous=OFF"))


def _serve_pynetdicom(port: int, folder: Path) -> None:
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event: Any) -> int:
        path = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        path.write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE(AE_TITLE)
    ae.maximum_associations = 100
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    _wait_for_the_end()
    if server is not None:
        server.shutdown()


def _wait_for_the_end() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__mp_main__" and _UNSYNCED in os.environ:  # in the processes that the service starts
    _leave_syncing_to_the_kernel()
if __name__ == "__main__":
    serve: dict[str, Callable[[int, Path], None]] = {
        "lungnode": _serve_lungnode,
        "lungnode-two": partial(_serve_lungnode, processes=2),
        "lungnode-unsynced": partial(_serve_lungnode, is_synced=False),
        "pynetdicom": _serve_pynetdicom,
    }
    serve[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
