"""Follow-up of results: an unanswered study is reported once, verdicts are reported, stale results withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from db.analyses import findings
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.exchange import RetractionCode
from db.domain.findings import NewFinding, Verdict
from db.domain.reasons import Reason
from db.results import objects as results
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.results.objects import ReportSettings, ResultMaker
from dicom_node.storage.files import LocalFiles
from tests.support.factories import CtSeries, answer_series, ct_series, index_series, sqlite_database
from tests.support.records import delivery_record

SITTING = timedelta(minutes=1)


@dataclass
class FollowUpSetup:
    """An analysed series on a node with a clock that is moved by hand."""

    database: Database
    store: Path
    series: CtSeries
    series_id: str
    ahead: list[timedelta]
    maker: ResultMaker

    def answer(self, *probabilities: float, force: bool = False) -> str:
        uid = self.series.sop_instance_uids[1]
        new_findings = tuple(
            NewFinding(uid, 1, 5.0, 5.0, (0.0, 0.0, 0.0), 9.0, 0.9, p, (0.0, 1.0)) for p in probabilities
        )
        return answer_series(self.database, self.series_id, AnalysisOutcome(findings=new_findings), force=force)

    def judge(self, analysis_id: str, verdict: Verdict) -> None:
        with self.database.begin() as session:
            for record in findings.findings_of_analysis(session, analysis_id):
                findings.record_assessment(session, record.id, verdict, "", "", reader="ada")
        self.ahead[0] += SITTING

    def follow_up(self) -> None:
        self.maker.follow_up()
        self.ahead[0] += SITTING

    def result_datasets(self, analysis_id: str) -> list[Dataset]:
        with self.database.read() as session:
            records = results.results_of_analysis(session, analysis_id)
        return [dcmread(self.store / record.object.path) for record in records]

    def kinds(self, analysis_id: str) -> list[str]:
        with self.database.read() as session:
            return [record.object.kind for record in results.results_of_analysis(session, analysis_id)]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[FollowUpSetup]:
    series = ct_series(tmp_path / "series", n=3, rows=16)
    ahead = [timedelta(0)]
    database = sqlite_database(tmp_path, clock=lambda: datetime.now(UTC) + ahead[0])
    series_id = index_series(database, series, tmp_path / "store")
    maker = ResultMaker(database, LocalFiles(tmp_path / "store"), ReportSettings("LUNGNODE", "0.1.0", ("PACS",)))
    yield FollowUpSetup(database, tmp_path / "store", series, series_id, ahead, maker)
    database.dispose()


def test_verdicts_make_one_verified_report_for_each_sitting(setup: FollowUpSetup) -> None:
    analysis_id = setup.answer(0.7)
    setup.maker.make(analysis_id)
    setup.follow_up()
    assert setup.kinds(analysis_id) == ["sr", "sc", "pr"]
    setup.judge(analysis_id, Verdict.ACCEPT)
    setup.follow_up()
    setup.follow_up()
    first, *_, verified = setup.result_datasets(analysis_id)
    assert setup.kinds(analysis_id) == ["sr", "sc", "pr", "verified"]
    assert verified.VerificationFlag == "VERIFIED"
    before = verified.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == first.SOPInstanceUID
    setup.judge(analysis_id, Verdict.UNSURE)
    setup.follow_up()
    again = setup.result_datasets(analysis_id)[-1]
    before = again.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == verified.SOPInstanceUID


def test_a_result_whose_findings_are_all_rejected_is_withdrawn(setup: FollowUpSetup) -> None:
    analysis_id = setup.answer(0.7, 0.2)
    requested = setup.maker.make(analysis_id)
    setup.judge(analysis_id, Verdict.REJECT)
    setup.follow_up()
    setup.follow_up()
    assert setup.kinds(analysis_id) == ["sr", "sc", "pr", "verified", "ko"]
    rejection = setup.result_datasets(analysis_id)[-1]
    assert rejection.ConceptNameCodeSequence[0].CodeValue == RetractionCode.QUALITY
    named = rejection.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    rejected = {item.ReferencedSOPInstanceUID for one in named for item in one.ReferencedSOPSequence}
    assert rejected == {delivery.sop_instance_uid for delivery in requested}
    with setup.database.read() as session:
        records = [delivery_record(session, delivery.id) for delivery in requested]
    assert {one.status.value for one in records if one} == {"declined"}


def test_a_result_that_a_newer_one_replaces_is_withdrawn_once_that_is_made(setup: FollowUpSetup) -> None:
    old = setup.answer(0.7)
    setup.maker.make(old)
    new = setup.answer(0.4, force=True)
    setup.follow_up()
    assert "ko" not in setup.kinds(old)
    setup.maker.make(new)
    setup.follow_up()
    setup.follow_up()
    assert setup.kinds(old)[-1] == "ko"
    assert "ko" not in setup.kinds(new)


def test_the_same_answer_again_is_not_withdrawn(setup: FollowUpSetup) -> None:
    old = setup.answer(0.7)
    setup.maker.make(old)
    new = setup.answer(0.7, force=True)
    setup.maker.make(new)
    setup.follow_up()
    assert (setup.kinds(old), setup.kinds(new)) == ([], ["sr", "sc", "pr"])


def test_an_unanswered_study_is_reported_by_its_largest_series_once_all_are_settled(setup: FollowUpSetup) -> None:
    identity = SeriesIdentity(patient_name="TEST^CHEST", patient_id="TEST-1", uid_seed="localizer").resolved("")
    small = ct_series(setup.store.parent / "small", n=1, rows=16, identity=identity)
    localizer = place_in_study(setup, small)
    why = AnalysisOutcome(reasons=(Reason("localizer", "A localizer."),))
    first = answer_series(setup.database, localizer, why)
    assert setup.maker.make(first) == ()
    main = answer_series(setup.database, setup.series_id, AnalysisOutcome(reasons=(Reason("few", "Too few slices."),)))
    setup.follow_up()
    assert setup.kinds(main) == []  # for now that is left to its own workflow
    setup.follow_up()
    assert setup.kinds(first) == []
    assert setup.kinds(main) == ["sr", "sc"]
    assert "Too few slices." in str(setup.result_datasets(main)[0])


def place_in_study(setup: FollowUpSetup, series: CtSeries) -> str:
    """Index another series as one of the same study."""
    moved = replace(series, study_instance_uid=setup.series.study_instance_uid)
    return index_series(setup.database, moved, setup.store)
