"""A second model gets its turn after the live one, disturbs nothing, and fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.analyses import analyses
from db.analyses import shadow as shadow_runs
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisStatus
from db.domain.models import ModelIdentity
from dicom_node.jobs.analysis_process import AnalysisCrashError, AnalysisInterruptedError, ModelUnavailableError
from dicom_node.jobs.shadow import UNAVAILABLE_PAUSE_S, ShadowRuns
from dicom_node.series.types import StoredInstance
from tests.support.factories import MODEL, answer_series, ct_series, index_series, sqlite_database

SECOND = ModelIdentity("nodule", "2.0", "b" * 64)


@dataclass
class Process:
    """A process in memory that answers, or raises a given error."""

    fails: Exception | None = None
    cannot_load: bool = False
    calls: list[int] = field(default_factory=list)
    closed: int = 0

    def start(self) -> ModelIdentity:
        if self.cannot_load:
            raise ModelUnavailableError
        return SECOND

    def analyse(self, instances: Sequence[StoredInstance]) -> AnalysisOutcome:
        self.calls.append(len(instances))
        if self.fails:
            raise self.fails
        return AnalysisOutcome(measures={"duration_s": 1.0})

    def close(self) -> None:
        self.closed += 1


@dataclass
class Bench:
    """Shadow runs over a real database whose clock can be advanced."""

    database: Database
    process: Process
    shadow_runs: ShadowRuns
    analysis_id: str
    series_id: str
    ahead: list[timedelta]
    monotonic_s: list[float]

    def tried(self) -> list[str]:
        with self.database.read() as session:
            return [pair.failed_with for pair in shadow_runs.pairs(session, SECOND.sha256)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    ahead, monotonic_s, process = [timedelta(0)], [0.0], Process()
    database = sqlite_database(tmp_path, clock=lambda: datetime.now(UTC) + ahead[0])
    series_id = index_series(database, ct_series(tmp_path / "series", n=2, rows=16), tmp_path / "store")
    analysis_id = answer_series(database, series_id, AnalysisOutcome())
    ahead[0] = timedelta(minutes=1)
    runs = ShadowRuns(
        database, lambda paths: [Path(one) for one in paths], lambda: process, clock=lambda: monotonic_s[0]
    )
    return Bench(database, process, runs, analysis_id, series_id, ahead, monotonic_s)


def test_what_was_answered_is_tried_once_and_the_process_ends(bench: Bench) -> None:
    assert bench.shadow_runs.run_due() == 1
    assert bench.shadow_runs.run_due() == 0
    assert (bench.process.calls, bench.tried()) == ([2], [""])
    assert bench.process.closed >= 1


def test_the_live_answer_is_sent_first(bench: Bench) -> None:
    bench.ahead[0] = timedelta(0)
    assert bench.shadow_runs.run_due() == 0
    assert bench.tried() == []


def test_nothing_is_tried_while_the_live_model_has_work(bench: Bench) -> None:
    with bench.database.begin() as session:
        analyses.request_analysis(session, bench.series_id, MODEL, requested_by="reader", force=True)
    assert bench.shadow_runs.run_due() == 0
    assert bench.process.calls == []


def test_what_fails_is_put_down_and_touches_nothing_of_the_study(bench: Bench) -> None:
    bench.process.fails = AnalysisCrashError()
    assert bench.shadow_runs.run_due() == 1
    assert bench.tried() == ["analysis_crashed"]
    assert bench.shadow_runs.run_due() == 0
    with bench.database.read() as session:
        record = analyses.analysis_record(session, bench.analysis_id)
    assert record is not None
    assert (record.status, record.reasons) == (AnalysisStatus.CURRENT, ())


def test_an_interrupted_shadow_run_is_repeated(bench: Bench) -> None:
    bench.process.fails = AnalysisInterruptedError()
    assert bench.shadow_runs.run_due() == 0
    assert bench.tried() == []
    bench.process.fails = None
    assert bench.shadow_runs.run_due() == 1


def test_a_model_that_cannot_be_loaded_is_left_alone_for_a_while(bench: Bench) -> None:
    bench.process.cannot_load = True
    assert bench.shadow_runs.run_due() == 0
    bench.process.cannot_load = False
    assert bench.shadow_runs.run_due() == 0
    bench.monotonic_s[0] = UNAVAILABLE_PAUSE_S + 1
    assert bench.shadow_runs.run_due() == 1
