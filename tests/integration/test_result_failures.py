"""A result that cannot be made is a state: recorded with its reason, tried again, and gone once it is made."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.errors import UnknownRecordError
from db.domain.findings import NewFinding
from db.results import failures as result_failures
from db.results.objects import results_of_analysis
from dicom_node.results.objects import ReportSettings, ResultMaker, ResultsError
from dicom_node.storage.files import LocalFiles
from tests.support.databases import ManualClock
from tests.support.factories import SimpleNodule, answer_series, ct_series, index_series, sqlite_database

PAUSE_H = 24


def analysed(database: Database, folder: Path) -> str:
    series_id = index_series(database, ct_series(folder / "s", n=1, rows=16), folder / "store")
    return answer_series(database, series_id, AnalysisOutcome())


def test_attempts_are_counted_with_growing_pauses_until_they_end(
    database: Database, tmp_path: Path, clock: ManualClock
) -> None:
    analysis_id = analysed(database, tmp_path)
    pauses: list[float | None] = []
    for _ in range(result_failures.MAX_ATTEMPTS):
        with database.begin() as session:
            failure = result_failures.record_failure(session, analysis_id, "report", "structured report (TypeError)")
        due_at = failure.next_attempt_at
        pauses.append(None if due_at is None else (due_at - failure.updated_at).total_seconds())
    assert pauses[0] == 30.0
    assert pauses[2] == 120.0  # after the attempts of the workflow
    assert pauses[-1] is None
    timed = [pause for pause in pauses if pause is not None]
    assert all(later >= earlier for earlier, later in itertools.pairwise(timed))
    clock.advance(PAUSE_H * 3600)
    with database.read() as session:
        assert result_failures.due_failures(session) == ()
        assert result_failures.waiting_failures(session) == {(analysis_id, "report")}
        assert result_failures.failure_count(session) == 1


def test_somebody_can_have_it_tried_again_and_success_ends_it(database: Database, tmp_path: Path) -> None:
    analysis_id = analysed(database, tmp_path)
    with database.begin() as session:
        result_failures.record_failure(session, analysis_id, "report", "x")
        assert result_failures.due_failures(session) == ()
        (retried,) = result_failures.retry_failures(session, requested_by="ada", analysis_id=analysis_id)
        assert [one.analysis_id for one in result_failures.due_failures(session)] == [retried.analysis_id]
        assert result_failures.clear_failure(session, analysis_id, "report")
        assert not result_failures.clear_failure(session, analysis_id, "report")
        with pytest.raises(UnknownRecordError):
            result_failures.retry_failures(session, requested_by="ada", analysis_id=analysis_id)
    with database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, limit=10)]
    assert {"results:failed", "results:retried", "results:recovered"} <= set(actions)


def test_a_failed_report_is_on_record_and_made_once_the_cause_is_gone(tmp_path: Path) -> None:
    nodule = SimpleNodule((6.0, 20.0, 14.0), 14.0)
    series = ct_series(tmp_path / "series", n=12, rows=40, nodules=(nodule,))
    database = sqlite_database(tmp_path)
    series_id = index_series(database, series, tmp_path / "store")
    uid = series.sop_instance_uids[6]
    finding = NewFinding(uid, 1, 20.0, 14.0, series.position_mm(nodule.index), 14.0, 0.97, 0.67, (0.45, 0.82))
    analysis_id = answer_series(database, series_id, AnalysisOutcome(findings=(finding,)))
    files = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*.dcm")}
    for path in files:
        path.write_bytes(b"CANARY^PHI" * 40)
    maker = ResultMaker(database, LocalFiles(tmp_path / "store"), ReportSettings("LUNGNODE", "0.1.0", ("PACS",)))
    with pytest.raises(ResultsError):
        maker.make(analysis_id)
    with database.begin() as session:
        (failure,) = result_failures.result_failures(session)
        assert "structured report (InvalidDicomError)" in failure.reason
        assert "summary image (InvalidDicomError)" in failure.reason
        assert "CANARY" not in failure.reason
    maker.follow_up()
    with database.begin() as session:
        assert result_failures.result_failures(session)[0].attempts == 1  # it waits
        result_failures.retry_failures(session, requested_by="ada")
    for path, content in files.items():
        path.write_bytes(content)
    maker.follow_up()
    with database.read() as session:
        assert result_failures.failure_count(session) == 0
        assert {one.object.kind for one in results_of_analysis(session, analysis_id)} == {"sr", "sc", "pr"}
    database.dispose()


def test_one_object_that_cannot_be_made_keeps_no_other_back(tmp_path: Path) -> None:
    series = ct_series(tmp_path / "series", n=12, rows=40)
    database = sqlite_database(tmp_path)
    series_id = index_series(database, series, tmp_path / "store")
    finding = NewFinding(series.sop_instance_uids[6], 9, 20.0, 14.0, (0.0, 0.0, 0.0), 14.0, 0.9, 0.6, (0.4, 0.8))
    analysis_id = answer_series(database, series_id, AnalysisOutcome(findings=(finding,)))  # there is no frame 9
    maker = ResultMaker(database, LocalFiles(tmp_path / "store"), ReportSettings("LUNGNODE", "0.1.0", ("PACS",)))
    with pytest.raises(ResultsError):
        maker.make(analysis_id)
    with database.read() as session:
        assert {one.object.kind for one in results_of_analysis(session, analysis_id)} == {"sc"}
        (failure,) = result_failures.result_failures(session)
    assert failure.reason == "structured report (SourceUnreadableError), presentation state (SourceUnreadableError)"
    database.dispose()
