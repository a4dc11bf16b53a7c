"""Many hosts on one machine: process trees with state folders of their own, one database, one store."""

from __future__ import annotations

import random
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from sqlalchemy import create_engine, text

from db.domain.analyses import AnalysisStatus
from db.engine.session import new_id
from db.results import objects as results
from db.results.failures import result_failures
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.storage.instance_store import dataset_sha256
from dicom_node.storage.object_files import ObjectFiles, ObjectStoreAddress
from tests.support.factories import CtSeries, ct_series
from tests.support.object_store import object_store, settings
from tests.support.postgres_server import PostgresServer, running_server
from tests.support.service import ROOT, Sender, Service, until

HEARTBEAT_TIMEOUT_S = 15
SLICES = 24


@dataclass
class Cluster:
    """Listeners, workers and webs over one PostgreSQL and one object store."""

    folder: Path
    postgres: PostgresServer
    address: ObjectStoreAddress
    listeners: list[Service] = field(default_factory=list)
    workers: list[Service] = field(default_factory=list)
    webs: list[Service] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Remember what happened when."""
        self.log.append(f"{time.monotonic() - self.began_s:7.2f} s  {text}")

    def start(
        self, *, listeners: int = 2, workers: int = 3, webs: int = 2, delay_s: float = 0.0, root: Path = ROOT
    ) -> None:
        """Start that many more of each, all at once, of the release in ``root``."""
        counts = {"dicom": listeners, "worker": workers, "web": webs}
        kinds = {"dicom": self.listeners, "worker": self.workers, "web": self.webs}
        started = []
        for part, count in counts.items():
            for number in range(len(kinds[part]) + 1, len(kinds[part]) + count + 1):
                service = self._service(f"{part}-{number}", delay_s)
                service.root = root
                service.launch(part)
                kinds[part].append(service)
                started.append(service)
        for service in started:
            service.wait_ready()
            if "dicom" in service.addresses:
                service.ports = (service.addresses["dicom"]["port"], 0)
        self.note(f"{listeners} listeners, {workers} workers and {webs} webs are ready")

    def _service(self, name: str, delay_s: float) -> Service:
        environment = {
            **settings(self.address),
            "LUNGNODE_DATABASE__AUDIT_KEY_FILE": str(self.folder / "audit.key"),
            "LUNGNODE_WORKER__EXECUTOR_ID": name,
            "LUNGNODE_WORKER__HEARTBEAT_TIMEOUT_S": str(HEARTBEAT_TIMEOUT_S),
        }
        url = self.postgres.url.render_as_string(hide_password=False)
        return Service(self.folder / name, database_url=url, delay_s=delay_s, quiet_s=3.0, environment=environment)

    @property
    def services(self) -> list[Service]:
        """All that runs."""
        return [*self.listeners, *self.workers, *self.webs]

    def part(self, service: Service) -> str:
        """Name the part that a service is."""
        return service.home.name.partition("-")[0]

    def kill(self, service: Service) -> None:
        """SIGKILL a tree and start it again."""
        service.kill()
        self.note(f"killed {service.home.name}")
        service.launch(self.part(service))
        service.wait_ready()
        self.note(f"{service.home.name} is ready again")

    def kill_database(self) -> None:
        """SIGKILL the database and start it again."""
        self.postgres.kill()
        self.note("killed the database")
        self.postgres.start()
        self.note("the database is ready again")

    def close(self) -> None:
        """End whatever still runs."""
        for service in self.services:
            service.close()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Give a database, a store and a key that all hosts share; nothing runs on them yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audit.key").write_text(secrets.token_bytes(32).hex() + "\n")
    with ExitStack() as stack:
        postgres = stack.enter_context(running_server(Path(tempfile.mkdtemp(prefix="lnpg")), "-c max_connections=300"))
        hosts = Cluster(folder, postgres, stack.enter_context(object_store()))
        stack.callback(hosts.close)
        yield hosts


def make_series(folder: Path, number: int) -> CtSeries:
    """Make a small series of a patient of its own."""
    identity = SeriesIdentity(patient_id=f"P{number}", uid_seed=f"scale-out {number}")
    return ct_series(
        folder / f"series-{number}", n=SLICES, rows=64, spacing_mm=(2.5, 0.7, 0.7), identity=identity, seed=number
    )


@dataclass
class Push:
    """Sent and acknowledged instances."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    associations: int = 0


def push(all_series: Sequence[CtSeries], ports: Sequence[int], *, associations: int = 8) -> Push:
    """Push every series until all of it is acknowledged, over so many associations at once.

    As behind one address, each further association goes to the next listener.
    """
    waiting: SimpleQueue[CtSeries] = SimpleQueue()
    for series in all_series:
        waiting.put(series)
    done = Push()
    lock = threading.Lock()

    def next_port() -> int:
        with lock:
            done.associations += 1
            return ports[done.associations % len(ports)]

    def send_all() -> None:
        while True:
            try:
                series = waiting.get_nowait()
            except Empty:
                return
            acknowledged: set[str] = set()
            deadline_s = time.monotonic() + 300
            while len(acknowledged) < len(series.paths):
                sender = Sender(next_port())
                sender.send(series.paths)
                acknowledged |= sender.acknowledged
                assert time.monotonic() < deadline_s, "a series is not taken"
                if len(acknowledged) < len(series.paths):
                    threading.Event().wait(0.5)
            done.acknowledged[series.series_instance_uid] = acknowledged

    threads = [threading.Thread(target=send_all) for _ in range(associations)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def kill_at_random(hosts: Cluster, rounds: int, seed: int, stop: threading.Event) -> threading.Thread:
    """Kill hosts and the database in turn, at moments drawn at random, each started again before the next."""
    rng = random.Random(seed)

    def run() -> None:
        for number in range(rounds):
            if stop.wait(rng.uniform(0.2, 1.5)):
                return
            choice: Callable[[], None] = (
                lambda: hosts.kill(rng.choice(hosts.listeners)),
                lambda: hosts.kill(rng.choice(hosts.workers)),
                hosts.kill_database,
            )[number % 3]
            choice()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@dataclass(frozen=True)
class Outcome:
    """State after a run."""

    lost: int
    damaged: int
    current: list[int]
    """Number of instances that each current analysis covers, over all series."""
    reports: int
    """Structured reports of current analyses."""


def wait_for_results(hosts: Cluster, all_series: Sequence[CtSeries], timeout_s: float = 300.0) -> float:
    """Wait until every series has a whole current analysis with its report; gives the moment."""
    reader = hosts.webs[0] if hosts.webs else hosts.workers[0]

    def unreported() -> list[str]:
        return [one.series_instance_uid for one in all_series if not _is_reported(reader, one.series_instance_uid)]

    try:
        until(unreported, lambda left: not left, timeout_s)
    except AssertionError as error:
        for note in (*hosts.log, *_state_of(hosts, reader, unreported())):
            error.add_note(note)
        raise
    return time.monotonic()


def _state_of(hosts: Cluster, reader: Service, uids: Sequence[str]) -> Iterator[str]:
    """Describe the analyses of some series, failed results, workflows, and the last lines of the workers' logs."""
    with reader.database.read() as session:
        yield from (f"failure: {one}" for one in result_failures(session))
    for uid in uids:
        yield f"series: {reader.series(uid)}"
        yield from (f"analysis: {one}" for one in reader.analyses(uid))
    query = text(
        "SELECT workflow_uuid, status, executor_id, queue_name, application_version, recovery_attempts, error,"
        " created_at, updated_at FROM dbos.workflow_status ORDER BY created_at"
    )
    engine = create_engine(hosts.postgres.url)
    with engine.connect() as connection:
        yield from (f"workflow: {dict(row)}" for row in connection.execute(query).mappings())
    engine.dispose()
    for worker in hosts.workers:
        yield "\n".join([worker.home.name, *worker.log.read_text().splitlines()[-20:]])


def _is_reported(reader: Service, uid: str) -> bool:
    complete = [
        one for one in reader.analyses(uid) if one.status is AnalysisStatus.CURRENT and one.instance_count == SLICES
    ]
    with reader.database.read() as session:
        return bool(complete) and bool(results.results_of_analysis(session, complete[0].id))


def outcome(hosts: Cluster, pushed: Push, scratch: Path) -> Outcome:
    """Compare what was acknowledged with what is there, reading every byte from the object store."""
    reader = hosts.workers[0]
    files = ObjectFiles(scratch / new_id(), hosts.address)
    lost = damaged = reports = 0
    current: list[int] = []
    for uid, acknowledged in pushed.acknowledged.items():
        instances = reader.instances(uid)
        lost += len(acknowledged - {one.sop_instance_uid for one in instances})
        paths = files.fetch([one.path for one in instances])
        damaged += sum(
            not path.exists() or dataset_sha256(path) != one.sha256 for one, path in zip(instances, paths, strict=True)
        )
        current_analyses = [one for one in reader.analyses(uid) if one.status is AnalysisStatus.CURRENT]
        current += [one.instance_count for one in current_analyses]
        with reader.database.read() as session:
            objects = [record for one in current_analyses for record in results.results_of_analysis(session, one.id)]
        reports += sum(record.object.kind == "sr" for record in objects)
    shutil.rmtree(files.root, ignore_errors=True)
    return Outcome(lost, damaged, current, reports)
