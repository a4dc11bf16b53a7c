"""One result per series, input and model; later ones supersede, and all stay readable."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from db.analyses import analyses, findings
from db.audit import trail as audit
from db.audit.verification import verify
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.caveats import Caveat
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.findings import FindingOrigin, NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.studies import ReceivedInstance, StudyState
from db.domain.worklist import StudyDetail, WorklistQuery
from db.read_models import studies
from db.studies.instances import input_digest, series_record
from db.worklist import rows as worklist
from tests.support.databases import ManualClock
from tests.support.records import record_instance

Received = Callable[..., ReceivedInstance]
NewFindings = Callable[..., NewFinding]
NO_LUNG = Reason("no_lung", "No lung in view.")


def arrive(database: Database, *instances: ReceivedInstance) -> str:
    """Record instances of one series; gives the series' id."""
    with database.begin() as session:
        for instance in instances:
            record_instance(session, instance)
        record = series_record(session, series_instance_uid=instances[0].series_instance_uid)
    assert record is not None
    return record.id


def request(database: Database, series_id: str, model: ModelIdentity, *, force: bool = False) -> AnalysisRecord:
    with database.begin() as session:
        return analyses.request_analysis(session, series_id, model, requested_by="node", force=force)


def start(database: Database, analysis_id: str) -> AnalysisRecord:
    with database.begin() as session:
        return analyses.start_analysis(session, analysis_id)


def complete(database: Database, analysis_id: str, outcome: AnalysisOutcome) -> bool:
    with database.begin() as session:
        return analyses.complete_analysis(session, analysis_id, outcome)


def analyse(database: Database, series_id: str, model: ModelIdentity, outcome: AnalysisOutcome) -> AnalysisRecord:
    analysis = request(database, series_id, model)
    start(database, analysis.id)
    assert complete(database, analysis.id, outcome)
    return analysis


def detail(database: Database, study: str = "1.2.3") -> StudyDetail:
    with database.read() as session:
        result = studies.study_detail(session, study)
    assert result is not None
    return result


def status(database: Database, analysis_id: str) -> AnalysisStatus:
    with database.read() as session:
        record = analyses.analysis_record(session, analysis_id)
    assert record is not None
    return record.status


def actions(database: Database) -> list[str]:
    with database.read() as session:
        return [entry.event.action for entry in reversed(audit.recent(session))]


def test_a_series_goes_from_receiving_to_analysed(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1), received(2))
    analysis = request(database, series_id, model)
    assert (analysis.status, analysis.run_number, analysis.instance_count) == (AnalysisStatus.QUEUED, 1, 2)
    assert detail(database).item.state is StudyState.QUEUED
    running = start(database, analysis.id)
    assert (running.status, running.attempts) == (AnalysisStatus.RUNNING, 1)
    assert running.started_at is not None
    assert detail(database).item.state is StudyState.ANALYSING
    outcome = AnalysisOutcome(
        findings=(new_finding(probability=0.3), new_finding(probability=0.9)), measures={"duration_s": 1.5}
    )
    assert complete(database, analysis.id, outcome)
    result = detail(database)
    assert (result.item.state, result.item.reasons, result.item.finding_count) == (StudyState.ANALYSED, (), 2)
    assert result.item.malignancy_probability == 0.9
    assert result.item.interval == pytest.approx((0.8, 1.0))
    assert result.item.analysed_at is not None
    assert [finding.finding.malignancy_probability for finding in result.findings] == [0.9, 0.3]
    assert result.findings[0].finding == outcome.findings[1]
    assert result.findings[0].model == model
    (record,) = result.analyses
    assert (record.status, record.measures) == (AnalysisStatus.CURRENT, {"duration_s": 1.5})
    assert actions(database) == ["study:received", "analysis:requested", "analysis:started", "analysis:completed"]


def test_caveats_are_stored_with_the_analysis_and_listed_with_the_study(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    partial, thick = Caveat.LUNGS_BEYOND_SLICES.stated(), Caveat.THICK_SLICES.stated(size="5.0")
    series_id = arrive(database, received(1))
    assert detail(database).item.caveats == ()
    analyse(database, series_id, model, AnalysisOutcome(caveats=(partial, thick, partial)))
    result = detail(database)
    assert result.analyses[0].caveats == result.item.caveats == (partial, thick)
    again = request(database, series_id, model, force=True)
    start(database, again.id)
    complete(database, again.id, AnalysisOutcome(caveats=(thick,)))
    assert detail(database).item.caveats == (thick,)
    with database.read() as session:
        assert worklist.worklist_page(session, WorklistQuery()).items[0].caveats == (thick,)


def test_waiting_ends_with_the_answer(
    database: Database, received: Received, model: ModelIdentity, clock: ManualClock
) -> None:
    series_id = arrive(database, received(1))
    clock.advance(30)
    assert detail(database).item.waiting_s == pytest.approx(30, abs=0.01)
    analyse(database, series_id, model, AnalysisOutcome())
    clock.advance(3600)
    assert detail(database).item.waiting_s == pytest.approx(30, abs=0.01)


def test_a_declined_series_says_why(database: Database, received: Received, model: ModelIdentity) -> None:
    series_id = arrive(database, received(1))
    analyse(database, series_id, model, AnalysisOutcome(reasons=(NO_LUNG,)))
    result = detail(database)
    assert (result.item.state, result.item.reasons) == (StudyState.NOT_ANALYSED, (NO_LUNG,))
    assert result.item.analysed_at is None
    assert result.analyses[0].status is AnalysisStatus.CURRENT
    assert actions(database)[-1] == "analysis:declined"


def test_asking_again_gives_the_analysis_that_exists(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    series_id = arrive(database, received(1))
    first = request(database, series_id, model)
    assert request(database, series_id, model) == first
    assert request(database, series_id, model, force=True) == first
    start(database, first.id)
    complete(database, first.id, AnalysisOutcome())
    again = request(database, series_id, model)
    assert (again.id, again.status) == (first.id, AnalysisStatus.CURRENT)
    assert detail(database).item.state is StudyState.ANALYSED


def test_a_forced_run_supersedes_the_first(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    first = analyse(database, series_id, model, AnalysisOutcome(findings=(new_finding(probability=0.2),)))
    second = request(database, series_id, model, force=True)
    assert (second.run_number, second.input_digest) == (2, first.input_digest)
    assert detail(database).item.malignancy_probability == 0.2
    start(database, second.id)
    complete(database, second.id, AnalysisOutcome(findings=(new_finding(probability=0.7),)))
    assert status(database, first.id) is AnalysisStatus.SUPERSEDED
    assert [finding.analysis_id for finding in detail(database).findings] == [second.id]
    with database.read() as session:
        (old,) = findings.findings_of_analysis(session, first.id)
    assert old.finding.malignancy_probability == 0.2
    assert "analysis:superseded" in actions(database)


def test_late_slices_make_a_new_analysis_and_keep_the_old_one(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1), received(2))
    first = analyse(database, series_id, model, AnalysisOutcome(findings=(new_finding(),)))
    arrive(database, received(3))
    assert detail(database).item.state is StudyState.RECEIVING
    assert len(detail(database).findings) == 1
    second = request(database, series_id, model)
    assert second.id != first.id
    assert second.input_digest != first.input_digest
    start(database, second.id)
    complete(database, second.id, AnalysisOutcome())
    assert [record.status for record in detail(database).analyses] == [
        AnalysisStatus.SUPERSEDED,
        AnalysisStatus.CURRENT,
    ]
    assert detail(database).findings == ()
    assert detail(database).item.finding_count == 0
    with database.read() as session:
        assert len(analyses.analysis_instances(session, first.id)) == 2
        assert len(analyses.analysis_instances(session, second.id)) == 3
        assert input_digest(analyses.analysis_instances(session, first.id)) == first.input_digest


def test_slices_that_come_during_the_analysis_leave_the_series_receiving(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    first = request(database, series_id, model)
    start(database, first.id)
    arrive(database, received(2))
    assert start(database, first.id).attempts == 2
    assert detail(database).item.state is StudyState.RECEIVING
    assert complete(database, first.id, AnalysisOutcome(findings=(new_finding(),)))
    result = detail(database)
    assert (result.item.state, result.item.finding_count) == (StudyState.RECEIVING, 1)
    assert result.analyses[0].status is AnalysisStatus.CURRENT


def test_an_analysis_that_had_not_begun_is_superseded_by_late_slices(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    series_id = arrive(database, received(1))
    first = request(database, series_id, model)
    arrive(database, received(2))
    second = request(database, series_id, model)
    with database.read() as session:
        assert [record.id for record in analyses.pending_analyses(session)] == [second.id]
    assert start(database, first.id).status is AnalysisStatus.SUPERSEDED
    assert not complete(database, first.id, AnalysisOutcome())
    assert detail(database).item.state is StudyState.QUEUED


def test_an_older_analysis_that_ends_last_does_not_supersede_the_newer(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    old = request(database, series_id, model)
    start(database, old.id)
    arrive(database, received(2))
    new = request(database, series_id, model)
    start(database, new.id)
    assert complete(database, new.id, AnalysisOutcome(findings=(new_finding(probability=0.6),)))
    assert complete(database, old.id, AnalysisOutcome(findings=(new_finding(probability=0.9),)))
    assert (status(database, old.id), status(database, new.id)) == (AnalysisStatus.SUPERSEDED, AnalysisStatus.CURRENT)
    assert detail(database).item.malignancy_probability == 0.6
    assert detail(database).item.state is StudyState.ANALYSED


def test_another_model_makes_another_analysis(database: Database, received: Received, model: ModelIdentity) -> None:
    series_id = arrive(database, received(1))
    analyse(database, series_id, model, AnalysisOutcome())
    other = request(database, series_id, replace(model, sha256="d" * 64))
    assert other.run_number == 1
    assert detail(database).item.state is StudyState.QUEUED


def test_a_failed_analysis_has_its_reason_and_is_not_pending(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    poisoned = arrive(database, received(1, series="1"))
    healthy = arrive(database, received(1, series="2"))
    analysis = request(database, poisoned, model)
    other = request(database, healthy, model)
    for _ in range(3):
        start(database, analysis.id)
    reason = Reason("poisoned", "Three attempts ended without an answer.")
    with database.begin() as session:
        assert analyses.fail_analysis(session, analysis.id, reason)
        assert not analyses.fail_analysis(session, analysis.id, reason)
    with database.read() as session:
        assert [record.id for record in analyses.pending_analyses(session)] == [other.id]
    assert not complete(database, analysis.id, AnalysisOutcome())
    record = request(database, poisoned, model)
    assert (record.status, record.attempts, record.reasons) == (AnalysisStatus.FAILED, 3, (reason,))
    start(database, other.id)
    complete(database, other.id, AnalysisOutcome())
    assert (detail(database).item.state, detail(database).item.reasons) == (StudyState.ANALYSED, (reason,))
    assert request(database, poisoned, model, force=True).run_number == 2


def test_a_failed_run_leaves_the_earlier_answer_current(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    analyse(database, series_id, model, AnalysisOutcome(findings=(new_finding(),)))
    rerun = request(database, series_id, model, force=True)
    with database.begin() as session:
        analyses.fail_analysis(session, rerun.id, Reason("timeout", "Took too long."))
    result = detail(database)
    assert result.item.state is StudyState.FAILED
    assert [record.status for record in result.analyses] == [AnalysisStatus.CURRENT, AnalysisStatus.FAILED]
    assert result.item.finding_count == len(result.findings) == 1


def test_many_who_finish_at_once_give_one_result(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    analysis = request(database, arrive(database, received(1)), model)
    start(database, analysis.id)
    outcome = AnalysisOutcome(findings=(new_finding(),))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: complete(database, analysis.id, outcome), range(8)))
    assert sorted(results) == [False] * 7 + [True]
    assert len(detail(database).findings) == 1
    assert actions(database).count("analysis:completed") == 1


def test_many_who_ask_at_once_get_one_analysis(database: Database, received: Received, model: ModelIdentity) -> None:
    series_id = arrive(database, received(1))
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda _: request(database, series_id, model), range(8)))
    assert len({record.id for record in records}) == 1
    assert actions(database).count("analysis:requested") == 1


def test_reruns_and_arrivals_at_once_keep_one_current(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    series_id = arrive(database, received(1))

    def work(number: int) -> None:
        arrive(database, received(number + 2))
        analysis = request(database, series_id, model, force=True)
        start(database, analysis.id)
        complete(database, analysis.id, AnalysisOutcome())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
    statuses = [record.status for record in detail(database).analyses]
    assert statuses.count(AnalysisStatus.CURRENT) == 1
    assert verify(database).is_intact


def test_a_rerun_covers_every_series_that_is_complete(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    first = arrive(database, received(1, series="1"))
    second = arrive(database, received(1, series="2"))
    arrive(database, received(1, series="3"))
    for series_id in (first, second):
        analyse(database, series_id, model, AnalysisOutcome())
    with database.begin() as session:
        records = analyses.request_reanalysis(session, "1.2.3", model, requested_by="ann")
    assert {record.series_id for record in records} == {first, second}
    assert {(record.run_number, record.requested_by) for record in records} == {(2, "ann")}
    with pytest.raises(UnknownRecordError, match="study"), database.begin() as session:
        analyses.request_reanalysis(session, "9.9", model, requested_by="ann")


def test_a_finding_on_an_instance_of_another_series_undoes_everything(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    analysis = request(database, arrive(database, received(1)), model)
    arrive(database, received(1, series="2"))
    with pytest.raises(UnknownRecordError, match="instance"):
        complete(database, analysis.id, AnalysisOutcome(findings=(new_finding(), new_finding("1.2.3.2.1"))))
    assert status(database, analysis.id) is AnalysisStatus.QUEUED
    assert detail(database).findings == ()
    assert "analysis:completed" not in actions(database)


@pytest.mark.parametrize(
    "wrong",
    [
        {"malignancy_probability": 1.2},
        {"malignancy_probability": float("nan")},
        {"nodule_probability": -0.1},
        {"interval": (0.9, 0.1)},
        {"interval": (0.1, float("inf"))},
        {"diameter_mm": float("nan")},
        {"position_mm": (0.0, 0.0, float("inf"))},
        {"frame_number": 0},
    ],
)
def test_numbers_that_are_none_are_never_recorded(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings, wrong: dict[str, object]
) -> None:
    analysis = request(database, arrive(database, received(1)), model)
    with pytest.raises(InvalidRecordError):
        complete(database, analysis.id, AnalysisOutcome(findings=(new_finding(**wrong),)))
    assert status(database, analysis.id) is AnalysisStatus.QUEUED


@pytest.mark.parametrize("measures", [{"seconds": float("nan")}, {"thing": object()}])
def test_measures_that_are_no_json_are_never_recorded(
    database: Database, received: Received, model: ModelIdentity, measures: dict[str, object]
) -> None:
    analysis = request(database, arrive(database, received(1)), model)
    with pytest.raises(InvalidRecordError, match="measures"):
        complete(database, analysis.id, AnalysisOutcome(measures=measures))


def test_unknown_ids_are_said_to_be_unknown(database: Database, model: ModelIdentity) -> None:
    with pytest.raises(UnknownRecordError, match="series"):
        request(database, "absent", model)
    with pytest.raises(UnknownRecordError, match="analysis"):
        start(database, "absent")
    with pytest.raises(UnknownRecordError, match="analysis"):
        complete(database, "absent", AnalysisOutcome())
    with pytest.raises(UnknownRecordError, match="finding"), database.begin() as session:
        findings.record_assessment(session, "absent", Verdict.ACCEPT, "", "", reader="ann")


def test_a_reader_points_at_a_nodule(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    first = analyse(database, series_id, model, AnalysisOutcome(findings=(new_finding(probability=0.4),)))
    with database.begin() as session:
        marked = findings.add_reader_finding(
            session, "1.2.3", "1.2.3.1", new_finding(probability=0.95), model, reader="ann"
        )
    assert (marked.origin, marked.analysis_id, marked.created_by) == (FindingOrigin.READER, None, "ann")
    assert detail(database).item.malignancy_probability == 0.95
    rerun = request(database, series_id, model, force=True)
    complete(database, rerun.id, AnalysisOutcome())
    assert [finding.id for finding in detail(database).findings] == [marked.id]
    with database.read() as session:
        assert findings.finding_record(session, marked.id) == marked
        assert len(findings.findings_of_analysis(session, first.id)) == 1
    assert "finding:marked" in actions(database)


@pytest.mark.parametrize(
    ("study", "series", "instance"),
    [("1.2.4", "1.2.3.1", "1.2.3.1.1"), ("1.2.3", "1.2.3.9", "1.2.3.1.1"), ("1.2.3", "1.2.3.1", "1.2.3.2.1")],
)
def test_a_reader_cannot_point_at_what_does_not_belong_together(
    database: Database,
    received: Received,
    model: ModelIdentity,
    new_finding: NewFindings,
    study: str,
    series: str,
    instance: str,
) -> None:
    arrive(database, received(1))
    arrive(database, received(1, series="2"))
    with pytest.raises(UnknownRecordError), database.begin() as session:
        findings.add_reader_finding(session, study, series, new_finding(instance), model, reader="ann")
    assert detail(database).item.finding_count == 0


def test_the_latest_verdict_counts_and_all_are_recorded(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings, clock: ManualClock
) -> None:
    analyse(database, arrive(database, received(1)), model, AnalysisOutcome(findings=(new_finding(),)))
    (finding,) = detail(database).findings
    assert finding.assessment is None
    for verdict, seconds in ((Verdict.UNSURE, 0), (Verdict.ACCEPT, -3600), (Verdict.REJECT, 0)):
        clock.advance(seconds)  # the clock may step back: the order is that of recording
        with database.begin() as session:
            findings.record_assessment(session, finding.id, verdict, "vessel", "a comment", reader="ann")
    (finding,) = detail(database).findings
    assert finding.assessment is not None
    assert (finding.assessment.verdict, finding.assessment.reader) == (Verdict.REJECT, "ann")
    with database.read() as session:
        every = findings.assessments_of_finding(session, finding.id)
    assert [assessment.verdict for assessment in every] == [Verdict.UNSURE, Verdict.ACCEPT, Verdict.REJECT]
    assert actions(database)[-3:] == ["finding:unsure", "finding:accepted", "finding:rejected"]


def test_concurrent_verdicts_are_all_recorded(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    analyse(database, arrive(database, received(1)), model, AnalysisOutcome(findings=(new_finding(),)))
    (finding,) = detail(database).findings

    def assess(_: int) -> None:
        with database.begin() as session:
            findings.record_assessment(session, finding.id, Verdict.ACCEPT, "", "", reader="ann")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(assess, range(12)))
    with database.read() as session:
        assert len(findings.assessments_of_finding(session, finding.id)) == 12
