"""Accepted work is finished exactly once, whatever dies on the way; a bad series blocks no other."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pydicom
import pytest

from db.analyses import analyses
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance, SeriesRecord, StudyState
from db.intake.ingest import record_instance
from db.monitoring import workers
from db.read_models import studies
from db.studies.instances import series_record
from dicom_node.phantom.writer import SeriesIdentity
from tests.support.factories import ct_series
from tests.support.fast_analyzer import CRASHES, HANGS, RAISES
from tests.support.workflow_process import AUDIT_KEY

T = TypeVar("T")
FINISHED = (StudyState.ANALYSED, StudyState.NOT_ANALYSED, StudyState.FAILED)


@dataclass
class Node:
    """A database, a store and the worker process over them, which may be killed."""

    folder: Path
    url: str
    database: Database
    options: dict[str, object] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def system_url(self) -> str:
        """URL of the queue's database."""
        return f"sqlite:///{self.folder / 'dbos.db'}" if self.url.startswith("sqlite") else self.url

    def start(self) -> None:
        options = {"folder": str(self.folder), "url": self.url, "system_url": self.system_url, **self.options}
        command = [sys.executable, "-m", "tests.support.workflow_process", json.dumps(options)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, start_new_session=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "ready\n", self.log.read_text()[-3000:]

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def calls(self, slices: int) -> int:
        return len(list((self.folder / "calls").glob(f"{slices}-*")))

    def makings(self) -> list[str]:
        """Analyses whose results were made, or begun; each as often as that was."""
        return [mark.name.rpartition("-")[0] for mark in (self.folder / "makings").glob("*")]

    def results(self) -> list[str]:
        """Analyses whose results are made."""
        return sorted(path.name for path in (self.folder / "results").glob("*"))

    def failures(self) -> int:
        """Number of recorded failures to make results."""
        with self.database.read() as session:
            return sum(entry.event.action == "results:failed" for entry in audit.recent(session, limit=500))

    def receive(self, slices: int, number: int) -> str:
        """Put a series of so many slices into the store and the index, as the intake does."""
        identity = SeriesIdentity(patient_id=f"P{number}", uid_seed=f"series {number}")
        series = ct_series(
            self.folder / f"made-{number}", n=slices, rows=16, spacing_mm=(2.5, 0.7, 0.7), identity=identity
        )
        (self.folder / "store").mkdir(exist_ok=True)
        for path in series.paths:
            self._record(path, series.study_instance_uid, f"P{number}")
        return series.series_instance_uid

    def _record(self, path: Path, study_uid: str, patient: str) -> None:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        shutil.copy(path, self.folder / "store" / digest)
        instance = ReceivedInstance(
            sop_instance_uid=ds.SOPInstanceUID,
            sop_class_uid=ds.SOPClassUID,
            transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
            study_instance_uid=study_uid,
            series_instance_uid=ds.SeriesInstanceUID,
            patient=PatientAttributes(patient),
            path=digest,
            size_bytes=len(content),
            sha256=digest,
            modality="CT",
        )
        with self.database.begin() as session:
            record_instance(session, instance)

    def series(self, uid: str) -> SeriesRecord:
        with self.database.read() as session:
            record = series_record(session, series_instance_uid=uid)
        assert record is not None
        return record

    def analyses(self, series_uid: str) -> list[AnalysisRecord]:
        study_uid = self.series(series_uid).study_instance_uid
        with self.database.read() as session:
            detail = studies.study_detail(session, study_uid)
        assert detail is not None
        return [analysis for analysis in detail.analyses if analysis.series_instance_uid == series_uid]

    def wait(self, uid: str, timeout_s: float = 240.0) -> SeriesRecord:
        return until(lambda: self.series(uid), lambda record: record.state in FINISHED, timeout_s)


def until(observe: Callable[[], T], holds: Callable[[T], bool], timeout_s: float) -> T:
    """Observe until it holds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds(observed := observe()):
        assert time.monotonic() < deadline, f"still {observed} after {timeout_s} s"
        pause.wait(0.05)
    return observed


@pytest.fixture
def node(tmp_path: Path, migrated_url: str) -> Iterator[Node]:
    database = Database(migrated_url, AUDIT_KEY)
    node = Node(tmp_path, migrated_url, database)
    yield node
    node.kill()
    database.dispose()


def test_a_quiet_series_is_analysed_and_its_results_are_made(node: Node) -> None:
    uid = node.receive(20, 1)
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 1
    until(node.results, lambda results: len(results) == 1, 120)
    assert node.calls(20) == len(node.makings()) == 1


def test_the_next_series_is_analysed_while_results_are_made(node: Node) -> None:
    node.options = {"results": "hangs"}
    uids = [node.receive(20, number) for number in range(1, 4)]
    node.start()
    for uid in uids:
        assert node.wait(uid).state is StudyState.ANALYSED
    assert node.results() == []
    assert len(node.makings()) <= 1
    node.kill()
    node.options = {}
    node.start()
    until(node.results, lambda results: len(results) == 3, 120)
    assert all(analysis.attempts == 1 for uid in uids for analysis in node.analyses(uid))


def test_results_that_fail_are_tried_again_after_a_pause(node: Node) -> None:
    node.options = {"results": "fails"}
    uid = node.receive(20, 1)
    node.start()
    (results,) = until(node.results, lambda results: len(results) == 1, 120)
    assert node.makings() == [results, results]
    assert node.wait(uid).state is StudyState.ANALYSED
    assert node.failures() == 1


@pytest.mark.parametrize(
    ("options", "is_reached"),
    [
        ({"results": "hangs"}, lambda node: len(node.makings()) == 1),
        ({"results": "fails", "retry_s": 6.0}, lambda node: node.failures() == 1),
    ],
    ids=["the first try at results", "the pause after it"],
)
def test_results_are_made_after_a_kill(
    node: Node, options: dict[str, object], is_reached: Callable[[Node], bool]
) -> None:
    uid = node.receive(20, 1)
    node.options = options
    node.start()
    until(lambda: is_reached(node), bool, 120)
    node.kill()
    node.options = {}
    node.start()
    until(node.results, lambda results: len(results) == 1, 60)
    after = node.receive(20, 2)
    assert node.wait(after).state is StudyState.ANALYSED
    until(node.results, lambda results: len(results) == 2, 60)
    assert len(node.makings()) == 3
    assert [analysis.attempts for analysis in node.analyses(uid)] == [1]


def test_a_refused_series_is_not_analysed_and_says_why(node: Node) -> None:
    uid = node.receive(4, 1)
    node.start()
    record = node.wait(uid)
    assert record.state is StudyState.NOT_ANALYSED
    assert [reason.code for reason in record.reasons] == ["too_few_slices"]


@pytest.mark.parametrize("poison", [CRASHES, RAISES, HANGS])
def test_a_poison_series_fails_after_three_attempts_and_delays_no_other(node: Node, poison: int) -> None:
    node.options = {"timeout_s": 15 if poison == HANGS else 120}
    bad = node.receive(poison, 1)
    good = [node.receive(20, number) for number in (2, 3)]
    node.start()
    for uid in good:
        assert node.wait(uid).state is StudyState.ANALYSED
    record = node.wait(bad)
    assert record.state is StudyState.FAILED
    assert record.reasons[0].text.startswith("Failed after 3 attempts.")
    assert node.calls(poison) == 3
    assert "CANARY" not in node.log.read_text()


def test_what_a_dead_worker_left_is_finished_once(node: Node) -> None:
    """Killed in the middle of an analysis, four times: more often than a poisoned series is tried."""
    node.options = {"delay_s": 3600}
    uid = node.receive(20, 1)
    for calls in range(1, 5):
        node.start()
        until(lambda: node.calls(20), lambda call_count, least=calls: call_count >= least, 120)  # type: ignore[misc]
        node.kill()
    node.options = {"delay_s": 0}
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 5


def test_what_a_silent_worker_left_is_finished_by_another(node: Node) -> None:
    """The dead one never comes back; the other was busy with nothing and knows it by its heartbeats alone."""
    node.options = {"delay_s": 3600}
    other = Node(node.folder, node.url, node.database, {"executor_id": "worker-2", "heartbeat_timeout_s": 4.0})
    uid = node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 120)
    other.start()
    try:
        until(lambda: _beats(node), lambda beats: len(beats) == 2 and min(beats.values()) > 2, 60)
        node.kill()
        assert other.wait(uid).state is StudyState.ANALYSED
    finally:
        other.kill()
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 2


def test_a_worker_that_lives_keeps_its_work(node: Node) -> None:
    node.options = {"delay_s": 12}
    other = Node(node.folder, node.url, node.database, {"executor_id": "worker-2", "heartbeat_timeout_s": 4.0})
    uid = node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 120)
    other.start()
    try:
        assert node.wait(uid).state is StudyState.ANALYSED
    finally:
        other.kill()
    assert node.analyses(uid)[0].attempts == 1


def _beats(node: Node) -> dict[str, int]:
    with node.database.read() as session:
        return workers.beats(session)


def test_killed_at_any_moment_every_series_gets_exactly_one_analysis(node: Node) -> None:
    rng = random.Random(20260301)
    uids = [node.receive(20, number) for number in range(1, 6)]
    node.options = {"delay_s": 0.2}
    for _ in range(6):
        node.start()
        threading.Event().wait(rng.uniform(0.0, 1.5))
        node.kill()
    node.start()
    for uid in uids:
        assert node.wait(uid).state is StudyState.ANALYSED
        assert [analysis.status for analysis in node.analyses(uid)] == [AnalysisStatus.CURRENT]
    until(node.results, lambda results: len(results) == len(uids), 120)


def test_the_analysing_process_ends_with_its_worker(node: Node) -> None:
    node.options = {"delay_s": 3600}
    node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 60)
    (mark,) = (node.folder / "calls").iterdir()
    child = int(mark.name.split("-")[1])
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGKILL)
    until(lambda: _is_running(child), lambda running: not running, 20)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_model_that_was_replaced_answers_under_its_own_name(node: Node) -> None:
    uid = node.receive(20, 1)
    with node.database.begin() as session:
        stale = ModelIdentity("old", "0", "0" * 64)
        analyses.request_analysis(session, node.series(uid).id, stale, requested_by="reader")
    node.start()
    until(lambda: node.analyses(uid), lambda records: records[-1].status is AnalysisStatus.CURRENT, 60)
    old, new = node.analyses(uid)
    assert (old.status, old.reasons[0].code) == (AnalysisStatus.FAILED, "model_replaced")
    assert new.model.sha256 != old.model.sha256
    assert new.requested_by == "reader"


def test_lost_workflows_are_submitted_again(node: Node) -> None:
    """The queue's own database is gone (restored without it): the records alone bring the work back."""
    if not node.url.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps both in one database")
    node.options = {"delay_s": 3600}
    uid = node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 60)
    node.kill()
    for path in node.folder.glob("dbos.db*"):
        path.unlink()
    node.options = {"delay_s": 0}
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
