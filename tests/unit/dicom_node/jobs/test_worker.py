"""A series is complete after a quiet time on the monotonic clock; then its analysis is requested, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.analyses import analyses
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.errors import DatabaseUnavailableError
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance, SeriesRecord, StudyState
from db.studies.completion import force_complete
from db.studies.instances import series_record
from dicom_node.jobs.worker import QuietWatch, Worker, WorkerConfig
from tests.support.migrated import migrate_sqlite
from tests.support.records import record_instance

MODEL = ModelIdentity("fast", "0", "f" * 64)
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Queue:
    """Remembers what was submitted."""

    submitted: list[str] = field(default_factory=list)

    def __call__(self, analysis: AnalysisRecord, due: datetime) -> str:
        self.submitted.append(analysis.id)
        return analysis.id


def series(identifier: str = "s1", count: int = 1, last: datetime = START, *, forced: bool = False) -> SeriesRecord:
    return SeriesRecord(identifier, "1.2", "1", 1, "", "CT", count, StudyState.RECEIVING, (), last, forced)


def test_a_series_is_quiet_after_the_quiet_time_and_not_before() -> None:
    clock = Clock(100.0)
    watch = QuietWatch(10.0, clock)
    assert watch.quiet([series()]) == ()
    clock.now_s += 9.9
    assert watch.quiet([series()]) == ()
    clock.now_s += 0.2
    assert watch.quiet([series()]) == (series(),)


def test_news_start_the_quiet_time_again() -> None:
    clock = Clock()
    watch = QuietWatch(10.0, clock)
    watch.quiet([series(count=1)])
    clock.now_s += 9.0
    watch.quiet([series(count=2)])
    clock.now_s += 9.0
    assert watch.quiet([series(count=2)]) == ()


def test_a_forced_series_is_not_waited_for() -> None:
    assert len(QuietWatch(10.0, Clock()).quiet([series(forced=True)])) == 1


def test_what_is_no_longer_received_is_forgotten() -> None:
    clock = Clock()
    watch = QuietWatch(10.0, clock)
    watch.quiet([series()])
    watch.quiet([])
    clock.now_s += 11.0
    assert watch.quiet([series()]) == ()


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 3)), min_size=1, max_size=30))
def test_no_series_is_complete_early_nor_forgotten(steps: list[tuple[float, int]]) -> None:
    """Whatever the rhythm of looks and news, completion comes with the first look after ten quiet seconds."""
    clock, count, changed_s = Clock(), 1, 0.0
    watch = QuietWatch(10.0, clock)
    watch.quiet([series(count=count)])
    for pause_s, news in steps:
        clock.now_s += pause_s
        count += news
        if news:
            changed_s = clock.now_s
        assert bool(watch.quiet([series(count=count)])) == (clock.now_s - changed_s >= 10.0)


@given(st.integers(-(10**7), 10**7))
def test_a_wall_clock_that_is_set_changes_nothing(jump_s: int) -> None:
    clock = Clock()
    watch = QuietWatch(10.0, clock)
    stamped = series(last=START + timedelta(seconds=jump_s))
    watch.quiet([stamped])
    clock.now_s += 10.0
    assert watch.quiet([stamped]) == (stamped,)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(migrate_sqlite(tmp_path / "lungnode.db"), bytes(range(32)))
    yield database
    database.dispose()


def receive(database: Database, number: int, series_uid: str = "1.2.3.1") -> None:
    instance = ReceivedInstance(
        sop_instance_uid=f"{series_uid}.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_instance_uid="1.2.3",
        series_instance_uid=series_uid,
        patient=PatientAttributes("P1"),
        path=f"{series_uid}-{number}",
        size_bytes=1,
        sha256=f"{number:064x}",
        modality="CT",
    )
    with database.begin() as session:
        record_instance(session, instance)


def only_series(database: Database) -> SeriesRecord:
    with database.read() as session:
        record = series_record(session, series_instance_uid="1.2.3.1")
    assert record is not None
    return record


def pending(database: Database) -> tuple[AnalysisRecord, ...]:
    with database.read() as session:
        return analyses.pending_analyses(session)


@dataclass
class Rig:
    worker: Worker
    clock: Clock
    queue: Queue


@pytest.fixture
def rig(database: Database) -> Rig:
    clock, queue = Clock(), Queue()
    config = WorkerConfig(quiet_s=10.0, resubmit_s=60.0)
    return Rig(Worker(database, MODEL, queue, deliver_due=lambda: None, config=config, clock=clock), clock, queue)


def test_a_quiet_series_is_asked_for_and_queued_once(database: Database, rig: Rig) -> None:
    receive(database, 1)
    for _ in range(4):
        rig.worker.poll()
        rig.clock.now_s += 6.0
    assert [record.status for record in pending(database)] == [AnalysisStatus.QUEUED]
    assert rig.queue.submitted == [pending(database)[0].id]
    assert only_series(database).state is StudyState.QUEUED


def test_late_slices_make_a_second_analysis(database: Database, rig: Rig) -> None:
    receive(database, 1)
    rig.worker.poll()
    rig.clock.now_s += 10.0
    rig.worker.poll()
    (first,) = pending(database)
    with database.begin() as session:
        analyses.start_analysis(session, first.id)
        analyses.complete_analysis(session, first.id, AnalysisOutcome())
    receive(database, 2)
    rig.worker.poll()
    assert pending(database) == ()
    rig.clock.now_s += 10.0
    rig.worker.poll()
    (second,) = pending(database)
    assert second.instance_count == 2
    assert rig.queue.submitted == [first.id, second.id]


def test_an_instance_that_arrives_in_the_very_moment_is_waited_for(database: Database, rig: Rig) -> None:
    receive(database, 1)
    rig.worker.poll()
    observed = only_series(database)
    receive(database, 2)
    rig.worker._request([observed])
    assert only_series(database).state is StudyState.RECEIVING


def states(database: Database) -> dict[str, StudyState]:
    with database.read() as session:
        records = (series_record(session, series_instance_uid=f"1.2.3.{number}") for number in (1, 2))
        return {record.series_instance_uid: record.state for record in records if record is not None}


def test_series_of_a_study_are_requested_together_once_all_are_quiet(database: Database, rig: Rig) -> None:
    receive(database, 1)
    rig.worker.poll()
    rig.clock.now_s += 6.0
    receive(database, 1, "1.2.3.2")
    rig.worker.poll()
    rig.clock.now_s += 6.0  # the first is quiet, the second is not
    rig.worker.poll()
    assert set(states(database).values()) == {StudyState.RECEIVING}
    rig.clock.now_s += 4.0
    rig.worker.poll()
    assert set(states(database).values()) == {StudyState.QUEUED}


def test_a_series_marked_as_complete_does_not_wait_for_a_later_one(database: Database, rig: Rig) -> None:
    receive(database, 1)
    with database.begin() as session:
        force_complete(session, "1.2.3", requested_by="reader")
    receive(database, 1, "1.2.3.2")
    rig.worker.poll()
    assert states(database) == {"1.2.3.1": StudyState.QUEUED, "1.2.3.2": StudyState.RECEIVING}


def test_a_series_that_begins_in_the_very_moment_is_waited_for(database: Database, rig: Rig) -> None:
    receive(database, 1)
    observed = only_series(database)
    receive(database, 1, "1.2.3.2")
    rig.worker._request([observed])
    assert set(states(database).values()) == {StudyState.RECEIVING}


def test_what_another_worker_has_requested_is_not_requested_again(database: Database, rig: Rig) -> None:
    receive(database, 1)
    observed = only_series(database)
    rig.worker._request([observed])
    rig.worker._request([observed])
    assert len(pending(database)) == 1


def test_a_request_from_elsewhere_is_queued(database: Database, rig: Rig) -> None:
    receive(database, 1)
    with database.begin() as session:
        record = analyses.request_analysis(session, only_series(database).id, MODEL, requested_by="reader")
    rig.worker.poll()
    assert rig.queue.submitted == [record.id]


def test_a_pending_analysis_is_submitted_again_after_a_while(database: Database, rig: Rig) -> None:
    receive(database, 1)
    with database.begin() as session:
        analyses.request_analysis(session, only_series(database).id, MODEL, requested_by="reader")
    for seconds in (0.0, 30.0, 31.0):
        rig.clock.now_s += seconds
        rig.worker.poll()
    assert len(rig.queue.submitted) == 2


def test_the_loop_survives_whatever_a_look_raises(database: Database) -> None:
    stop = threading.Event()
    raised: list[Exception] = []

    def submit(analysis: AnalysisRecord, due: datetime) -> str:
        raised.append(DatabaseUnavailableError() if not raised else ValueError("CANARY^PHI"))
        if len(raised) == 3:
            stop.set()
        raise raised[-1]

    receive(database, 1)
    with database.begin() as session:
        analyses.request_analysis(session, only_series(database).id, MODEL, requested_by="reader")
    config = WorkerConfig(quiet_s=10.0, poll_s=0.01)
    worker = Worker(database, MODEL, submit, deliver_due=lambda: None, config=config)
    worker.run(stop)
    assert len(raised) == 3


def test_deliveries_are_made_beside_the_looks(database: Database) -> None:
    stop = threading.Event()
    rounds: list[None] = []

    def deliver() -> None:
        rounds.append(None)
        if len(rounds) == 2:
            stop.set()
        raise ValueError("a destination is away")

    config = WorkerConfig(quiet_s=10.0, poll_s=0.01, deliver_s=0.01)
    Worker(database, MODEL, Queue(), deliver_due=deliver, config=config).run(stop)
    assert len(rounds) == 2


def test_what_was_made_is_delivered_at_once_and_nothing_before(database: Database) -> None:
    stop, results_ready = threading.Event(), threading.Event()
    config = WorkerConfig(quiet_s=10.0, poll_s=0.01, deliver_s=3600.0)
    results_ready.set()
    Worker(database, MODEL, Queue(), deliver_due=stop.set, config=config, results_ready=results_ready).run(stop)
    assert stop.is_set()
    rounds: list[None] = []
    Worker(database, MODEL, Queue(), deliver_due=lambda: rounds.append(None), config=config).run(stop)
    assert rounds == []
