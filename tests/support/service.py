"""A real service process tree in a HOME of its own, and a sender that remembers what was acknowledged."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pydicom

from db.database import Database, load_or_create_audit_key
from db.domain.analyses import AnalysisRecord
from db.domain.studies import InstanceRecord, SeriesRecord, StudyState
from db.read_models import studies
from db.studies.instances import series_instances, series_record
from dicom_node.client.peer import NodeConnection, NodeUnreachableError, RemoteNode, ScuTimeouts, StoreOutcome
from dicom_node.storage.instance_store import dataset_sha256
from tests.support.environment import clean_environment

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
TIMEOUTS = ScuTimeouts(connect_s=60.0, association_s=120.0, response_s=120.0)
FINISHED = (StudyState.ANALYSED, StudyState.NOT_ANALYSED, StudyState.FAILED)


def until(observe: Callable[[], T], holds: Callable[[T], bool], timeout_s: float = 120.0) -> T:
    """Observe until it holds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds(observed := observe()):
        assert time.monotonic() < deadline, f"still {observed!r} after {timeout_s} s"
        pause.wait(0.05)
    return observed


@contextmanager
def held_port() -> Iterator[int]:
    """Reserve a free port for a listener of the caller's; no other caller gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def is_running(pid: int) -> bool:
    """Return True if a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def tree_of(pid: int) -> list[int]:
    """A process and all its descendants."""
    pids = [pid]
    for one in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


@dataclass
class Service:
    """``serve`` as a process; kernel ports by default."""

    home: Path
    database_url: str = ""
    delay_s: float = 0.0
    quiet_s: float = 0.5
    ports: tuple[int, int] = (0, 0)
    environment: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    """The release that runs."""
    process: subprocess.Popen[str] | None = None
    addresses: dict[str, Any] = field(default_factory=dict)
    _database: Database | None = None

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'lungnode.db'}"

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    @property
    def calls(self) -> Path:
        return self.home.parent / f"{self.home.name}-calls"

    def start(self, part: str | None = None, *, timeout_s: float = 240.0) -> dict[str, Any]:
        """Start it and wait for its ready line."""
        self.launch(part)
        return self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 240.0) -> dict[str, Any]:
        """Wait for the ready line of a service that was launched."""
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if readable else ""
        assert line, f"not ready:\n{self.log.read_text()[-4000:]}"
        self.addresses = json.loads(line)
        return self.addresses

    def launch(self, part: str | None = None) -> None:
        """Start it and wait for nothing."""
        command = [sys.executable, "-m", "tests.support.serve_fast", str(self.calls), str(self.delay_s)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, *([part] if part else [])],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment(),
                cwd=self.root,
            )

    def _environment(self) -> dict[str, str]:
        clean = clean_environment()
        return clean | {
            "LUNGNODE_HOME": str(self.home),
            "LUNGNODE_DATABASE__URL": self.url,
            "LUNGNODE_DICOM__PORT": str(self.ports[0]),
            "LUNGNODE_WEB__PORT": str(self.ports[1]),
            "LUNGNODE_DICOM__QUIET_S": str(self.quiet_s),
            "LUNGNODE_DICOM__MIN_FREE_MB": "0",
            "LUNGNODE_LOG__LEVEL": "info",
            "PYTHONPATH": str(self.root),
            **self.environment,
        }

    def kill(self) -> None:
        """SIGKILL the supervisor alone and wait until every process of the tree is gone."""
        if self.process is None:
            return
        tree = tree_of(self.process.pid)
        self.process.kill()
        self.process.wait()
        self._close_pipe()
        until(lambda: [pid for pid in tree if is_running(pid)], lambda left: not left)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send SIGTERM; return the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(timeout=120)
        self._close_pipe()
        return status

    def _close_pipe(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    @property
    def database(self) -> Database:
        """The records, read from outside."""
        if self._database is None:
            key = self.environment.get("LUNGNODE_DATABASE__AUDIT_KEY_FILE", self.home / "audit.key")
            self._database = Database(self.url, load_or_create_audit_key(Path(key)))
        return self._database

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is not None:
            self.kill()
        if self._database is not None:
            self._database.dispose()

    def series(self, uid: str) -> SeriesRecord | None:
        with self.database.read() as session:
            return series_record(session, series_instance_uid=uid)

    def analyses(self, uid: str) -> list[AnalysisRecord]:
        record = self.series(uid)
        assert record is not None
        with self.database.read() as session:
            detail = studies.study_detail(session, record.study_instance_uid)
        assert detail is not None
        return [analysis for analysis in detail.analyses if analysis.series_instance_uid == uid]

    def instances(self, uid: str) -> tuple[InstanceRecord, ...]:
        record = self.series(uid)
        if record is None:
            return ()
        with self.database.read() as session:
            return series_instances(session, record.id)

    def wait_finished(self, uid: str, timeout_s: float = 180.0) -> SeriesRecord:
        observed = until(
            lambda: self.series(uid), lambda record: record is not None and record.state in FINISHED, timeout_s
        )
        assert observed is not None
        return observed

    def damaged(self, uid: str) -> list[str]:
        """Stored instances whose bytes are not those that were indexed."""
        root = self.home / "store"
        return [i.sop_instance_uid for i in self.instances(uid) if dataset_sha256(root / i.path) != i.sha256]


@dataclass
class Sender:
    """Pushes files over one association and remembers which were answered with success."""

    port: int
    acknowledged: set[str] = field(default_factory=set)

    def send(self, paths: Sequence[Path]) -> None:
        """Send until the end, or until the peer is gone."""
        first = pydicom.dcmread(paths[0], stop_before_pixels=True)
        node = RemoteNode("LUNGNODE", "127.0.0.1", self.port)
        contexts = [(str(first.SOPClassUID), [str(first.file_meta.TransferSyntaxUID)])]
        with contextlib.suppress(NodeUnreachableError), NodeConnection(node, "PACS", contexts, TIMEOUTS) as connection:
            for path in paths:
                ds = pydicom.dcmread(path)
                answer = connection.store(ds)
                if answer.outcome is StoreOutcome.STORED:
                    self.acknowledged.add(str(ds.SOPInstanceUID))
                if not connection.is_open:
                    return
