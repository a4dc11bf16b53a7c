"""An attempt may be repeated, fail, or be interrupted; the records tell which, and no attempt is counted wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from db.analyses import analyses
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.errors import DatabaseUnavailableError
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.reconstructions import Reconstruction
from db.domain.studies import PatientAttributes, ReceivedInstance, StudyState
from db.studies.instances import series_record
from dicom_node.jobs.analysis_process import AnalysisCrashError, AnalysisInterruptedError, ModelUnavailableError
from dicom_node.jobs.attempts import MAX_BEGUN_ATTEMPTS, Attempt, Attempts
from dicom_node.series.types import StoredInstance
from dicom_node.storage.files import StoreUnreachableError
from tests.support.migrated import migrate_sqlite
from tests.support.records import record_instance

MODEL = ModelIdentity("fast", "0", "f" * 64)


@dataclass
class Analyzer:
    """Answers, or raises a given error."""

    error: Exception | None = None
    outcome: AnalysisOutcome = field(default_factory=AnalysisOutcome)
    analysed: list[list[StoredInstance]] = field(default_factory=list)
    measures: dict[str, Reconstruction] | Exception = field(default_factory=dict)
    """Measures by Series Instance UID, or the error of measuring."""
    measured: list[str] = field(default_factory=list)

    def analyse(self, instances: Sequence[StoredInstance], overruled: frozenset[str] = frozenset()) -> AnalysisOutcome:
        self.analysed.append(list(instances))
        if self.error is not None:
            raise self.error
        return self.outcome

    def measure(
        self, series: Mapping[str, Sequence[StoredInstance]], measured: Sequence[Reconstruction]
    ) -> dict[str, Reconstruction]:
        if isinstance(self.measures, Exception):
            raise self.measures
        uids = {name: files[0].sop_instance_uid.rpartition(".")[0] for name, files in series.items()}
        self.measured += uids.values()
        return {name: self.measures[uid] for name, uid in uids.items()}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(migrate_sqlite(tmp_path / "lungnode.db"), bytes(range(32)))
    yield database
    database.dispose()


@pytest.fixture
def analysis(database: Database) -> AnalysisRecord:
    receive(database, 1)
    with database.begin() as session:
        series = series_record(session, series_instance_uid="1.2.3.1")
        assert series is not None
        return analyses.request_analysis(session, series.id, MODEL, requested_by="reader")


def receive(database: Database, number: int, series: str = "1.2.3.1") -> None:
    instance = ReceivedInstance(
        f"{series}.{number}", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.3", series,
        PatientAttributes("P1"), f"path-{number}", 1, f"{number:064x}", modality="CT",
    )  # fmt: skip
    with database.begin() as session:
        record_instance(session, instance)


def attempts(database: Database, analyzer: Analyzer, **options: object) -> Attempts:
    given: dict[str, object] = {"model": MODEL, "make_results": lambda analysis_id: None, **options}
    return Attempts(database, lambda paths: [Path("/store") / path for path in paths], analyzer, **given)  # type: ignore[arg-type]


def record(database: Database, identifier: str) -> AnalysisRecord:
    with database.read() as session:
        analysis_record = analyses.analysis_record(session, identifier)
    assert analysis_record is not None
    return analysis_record


def test_a_store_that_does_not_answer_is_waited_for_as_long_as_it_takes(
    database: Database, analysis: AnalysisRecord
) -> None:
    def unreachable(paths: Sequence[str]) -> list[Path]:
        raise StoreUnreachableError("away")

    waiting = Attempts(database, unreachable, Analyzer(), MODEL, make_results=lambda analysis_id: None)
    for _ in range(MAX_BEGUN_ATTEMPTS + 5):
        assert waiting.run(analysis.id) == (Attempt.INTERRUPTED, None)
    assert record(database, analysis.id).attempts == 0
    assert attempts(database, Analyzer()).run(analysis.id) == (Attempt.ANSWERED, None)


def test_an_answer_is_recorded_once_however_often_it_is_attempted(database: Database, analysis: AnalysisRecord) -> None:
    analyzer = Analyzer()
    for _ in range(3):
        assert attempts(database, analyzer).run(analysis.id) == (Attempt.ANSWERED, None)
    assert len(analyzer.analysed) == 1
    assert record(database, analysis.id).attempts == 1
    with database.read() as session:
        done = [e for e in audit.recent(session, limit=50) if e.event.action == "analysis:completed"]
    assert len(done) == 1


def test_exactly_the_instances_that_were_asked_for_are_analysed(database: Database, analysis: AnalysisRecord) -> None:
    receive(database, 2)
    analyzer = Analyzer()
    attempts(database, analyzer).run(analysis.id)
    assert analyzer.analysed == [[StoredInstance("1.2.3.1.1", Path("/store/path-1"))]]


@pytest.mark.parametrize("error", [AnalysisCrashError(), ValueError("CANARY^PHI"), MemoryError()])
def test_what_the_analysis_raises_is_a_failed_attempt_without_its_message(
    database: Database, analysis: AnalysisRecord, error: Exception
) -> None:
    verdict, reason = attempts(database, Analyzer(error)).run(analysis.id)
    assert verdict is Attempt.FAILED
    assert reason is not None
    assert "CANARY" not in reason.text
    assert record(database, analysis.id).status is AnalysisStatus.RUNNING


@pytest.mark.parametrize("error", [AnalysisInterruptedError(), ModelUnavailableError(), DatabaseUnavailableError()])
def test_what_is_not_the_analysis_fault_does_not_count(
    database: Database, analysis: AnalysisRecord, error: Exception
) -> None:
    assert attempts(database, Analyzer(error)).run(analysis.id) == (Attempt.INTERRUPTED, None)


def test_a_failed_analysis_reads_failed_and_is_over(database: Database, analysis: AnalysisRecord) -> None:
    tried = attempts(database, Analyzer())
    tried.fail(analysis.id, Reason("analysis_crashed", "Given up."))
    assert tried.run(analysis.id) == (Attempt.OVER, None)
    with database.read() as session:
        series = series_record(session, series_instance_uid="1.2.3.1")
    assert series is not None
    assert (series.state, [reason.code for reason in series.reasons]) == (StudyState.FAILED, ["analysis_crashed"])


def test_an_analysis_that_ends_the_service_repeatedly_fails(database: Database, analysis: AnalysisRecord) -> None:
    with database.begin() as session:
        for _ in range(MAX_BEGUN_ATTEMPTS):
            analyses.start_analysis(session, analysis.id)
    analyzer = Analyzer()
    assert attempts(database, analyzer).run(analysis.id) == (Attempt.OVER, None)
    assert analyzer.analysed == []
    assert record(database, analysis.id).reasons[0].code == "interrupted"


def test_a_superseded_analysis_gets_no_results(database: Database, analysis: AnalysisRecord) -> None:
    receive(database, 2)
    with database.begin() as session:
        later = analyses.request_analysis(session, analysis.series_id, MODEL, requested_by="system")
    tried = attempts(database, Analyzer())
    assert tried.run(later.id) == (Attempt.ANSWERED, None)
    assert tried.run(analysis.id) == (Attempt.OVER, None)


def test_an_analysis_of_another_model_is_handed_over(database: Database, analysis: AnalysisRecord) -> None:
    other = ModelIdentity("newer", "1", "e" * 64)
    analyzer = Analyzer()
    assert attempts(database, analyzer, model=other).run(analysis.id) == (Attempt.OVER, None)
    assert analyzer.analysed == []
    with database.read() as session:
        (waiting,) = analyses.pending_analyses(session)
    assert (waiting.model, waiting.requested_by) == (other, "reader")


def test_results_that_cannot_be_made_are_audited(database: Database, analysis: AnalysisRecord) -> None:
    def fail(analysis_id: str) -> None:
        raise ValueError("CANARY^PHI")

    assert attempts(database, Analyzer()).results(analysis.id)
    assert not attempts(database, Analyzer(), make_results=fail).results(analysis.id)
    with database.read() as session:
        events = [entry.event for entry in audit.recent(session, limit=10)]
    assert events[0].action == "results:failed"
    assert "CANARY" not in str(events)


OTHER = ModelIdentity("other", "1", "e" * 64)


def series_state(database: Database) -> StudyState:
    with database.read() as session:
        series = series_record(session, series_instance_uid="1.2.3.1")
        assert series is not None
        return series.state


def ask_again(database: Database, analysis: AnalysisRecord, model: ModelIdentity) -> AnalysisRecord:
    with database.begin() as session:
        (again,) = analyses.request_reanalysis(session, analysis.study_instance_uid, model, requested_by="reader")
        return again


def pending(database: Database) -> list[str]:
    with database.read() as session:
        return [record.id for record in analyses.pending_analyses(session)]


def test_a_further_run_that_was_asked_of_another_model_is_answered_by_this_one(
    database: Database, analysis: AnalysisRecord
) -> None:
    """The series has an answer of this model already; it must not read ``failed`` for ever."""
    worker = attempts(database, Analyzer())
    worker.run(analysis.id)
    elsewhere = ask_again(database, analysis, OTHER)
    assert worker.run(elsewhere.id) == (Attempt.OVER, None)
    assert series_state(database) is StudyState.QUEUED
    (further,) = pending(database)
    assert worker.run(further) == (Attempt.ANSWERED, None)
    assert series_state(database) is StudyState.ANALYSED


def test_an_analysis_under_way_answers_for_one_that_was_asked_of_another_model_meanwhile(
    database: Database, analysis: AnalysisRecord
) -> None:
    elsewhere = ask_again(database, analysis, OTHER)
    worker = attempts(database, Analyzer())
    worker.run(elsewhere.id)
    assert pending(database) == [analysis.id]
    worker.run(analysis.id)
    assert series_state(database) is StudyState.ANALYSED


def test_a_series_with_a_damaged_file_is_refused_and_never_analysed(
    database: Database, analysis: AnalysisRecord
) -> None:
    analyzer = Analyzer()
    checked: list[Sequence[str]] = []

    def check(paths: Sequence[str]) -> Sequence[str]:
        checked.append(paths)
        return paths[:1]

    assert attempts(database, analyzer, check_files=check).run(analysis.id) == (Attempt.ANSWERED, None)
    assert (analyzer.analysed, checked) == ([], [["path-1"]])
    done = record(database, analysis.id)
    assert [reason.code for reason in done.reasons] == ["damaged_file"]
    assert done.status is AnalysisStatus.CURRENT


WORSE = Reconstruction(frame_of_reference_uid="1.2", coverage_mm=(0.0, 300.0), slice_mm=2.5, lung_ml=4000.0)
MEASURES = {"1.2.3.1": WORSE, "1.2.3.2": replace(WORSE, slice_mm=1.0)}


@pytest.fixture
def pair(database: Database) -> dict[str, AnalysisRecord]:
    """Analyses of a study of two reconstructions by Series Instance UID; the second one is better."""
    for series in MEASURES:
        receive(database, 1, series)
    with database.begin() as session:
        records = [series_record(session, series_instance_uid=series) for series in MEASURES]
        return {
            record.series_instance_uid: analyses.request_analysis(session, record.id, MODEL, requested_by="system")
            for record in records
            if record is not None
        }


def test_of_two_reconstructions_the_better_one_is_analysed(database: Database, pair: dict[str, AnalysisRecord]) -> None:
    analyzer = Analyzer(measures=MEASURES)
    assert attempts(database, analyzer).run(pair["1.2.3.1"].id) == (Attempt.OVER, None)
    assert attempts(database, analyzer).run(pair["1.2.3.2"].id) == (Attempt.ANSWERED, None)
    assert [files[0].sop_instance_uid for files in analyzer.analysed] == ["1.2.3.2.1"]
    assert sorted(analyzer.measured) == ["1.2.3.1", "1.2.3.2"]  # each once


@pytest.mark.parametrize("fails", [AnalysisOutcome(reasons=(Reason("no_lung", "No lung in view."),)), None])
def test_the_next_one_is_analysed_where_the_better_one_has_no_answer(
    database: Database, pair: dict[str, AnalysisRecord], fails: AnalysisOutcome | None
) -> None:
    if fails is None:
        attempts(database, Analyzer(AnalysisCrashError(), measures=MEASURES)).run(pair["1.2.3.2"].id)
        attempts(database, Analyzer()).fail(pair["1.2.3.2"].id, AnalysisCrashError.reason)
    else:
        attempts(database, Analyzer(outcome=fails, measures=MEASURES)).run(pair["1.2.3.2"].id)
    with database.read() as session:
        (pending,) = analyses.pending_analyses(session)
    assert pending.series_instance_uid == "1.2.3.1"
    assert attempts(database, Analyzer(measures=MEASURES)).run(pending.id) == (Attempt.ANSWERED, None)


def test_where_series_cannot_be_measured_each_is_analysed(database: Database, pair: dict[str, AnalysisRecord]) -> None:
    for analysis in pair.values():
        assert attempts(database, Analyzer(measures=AnalysisCrashError())).run(analysis.id) == (Attempt.ANSWERED, None)


@pytest.mark.parametrize("error", [AnalysisInterruptedError(), ModelUnavailableError()])
def test_measuring_that_is_interrupted_is_tried_again(
    database: Database, pair: dict[str, AnalysisRecord], error: Exception
) -> None:
    for analysis in pair.values():
        assert attempts(database, Analyzer(measures=error)).run(analysis.id) == (Attempt.INTERRUPTED, None)
    assert attempts(database, Analyzer(measures=MEASURES)).run(pair["1.2.3.2"].id) == (Attempt.ANSWERED, None)


def test_a_study_of_one_series_is_not_measured(database: Database, analysis: AnalysisRecord) -> None:
    assert attempts(database, Analyzer(measures=ValueError())).run(analysis.id) == (Attempt.ANSWERED, None)
