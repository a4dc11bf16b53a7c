"""Quarantined scanners: results are stored, and readers neither see nor judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from db.analyses import analyses, findings, quarantine
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import SCANNER_HELD, Reason
from db.domain.scanners import Scanner
from db.domain.studies import ReceivedInstance, StudyState
from db.domain.worklist import StudyDetail, WorklistQuery
from db.monitoring import drift_observations
from db.read_models import studies
from db.results import objects as results
from db.worklist.rows import worklist_page
from tests.integration.test_database_analyses import arrive, complete, request, start

Received = Callable[..., ReceivedInstance]
NewFindings = Callable[..., NewFinding]
SHARP, SMOOTH = Scanner("Maker One", "B60f", "1.0 mm"), Scanner("Maker One", "B30f", "1.0 mm")


def measures_of(scanner: Scanner) -> dict[str, object]:
    """Measures of an analysis of a series of that scanner."""
    acquisition = {"Manufacturer": "Maker", "ManufacturerModelName": "One", "ConvolutionKernel": scanner.kernel}
    return {"acquisition": acquisition, "spacing_mm": [1.0, 0.7, 0.7], "summary": {"lung_hu": -850.0}, "found": 3}


def answered(scanner: Scanner, *new_findings: NewFinding, reasons: tuple[Reason, ...] = ()) -> AnalysisOutcome:
    return AnalysisOutcome(new_findings, reasons, measures_of(scanner))


def hold(database: Database, scanner: Scanner = SHARP) -> quarantine.QuarantineRecord:
    with database.begin() as session:
        return quarantine.quarantine_scanner(session, scanner, "noise went up", held_by="chief")


def release(database: Database, scanner: Scanner = SHARP) -> None:
    with database.begin() as session:
        quarantine.release_scanner(session, scanner, "serviced", released_by="chief")


def analyse(database: Database, series_id: str, model: ModelIdentity, outcome: AnalysisOutcome) -> AnalysisRecord:
    analysis = request(database, series_id, model)
    start(database, analysis.id)
    assert complete(database, analysis.id, outcome)
    return record(database, analysis.id)


def record(database: Database, analysis_id: str) -> AnalysisRecord:
    with database.read() as session:
        analysis = analyses.analysis_record(session, analysis_id)
    assert analysis is not None
    return analysis


def detail(database: Database, study_uid: str) -> StudyDetail:
    with database.read() as session:
        study = studies.study_detail(session, study_uid)
    assert study is not None
    return study


def test_results_of_a_held_scanner_are_stored_and_not_shown(
    database: Database, received: Received, new_finding: NewFindings, model: ModelIdentity
) -> None:
    hold(database)
    instance = received()
    series_id = arrive(database, instance)
    outcome = answered(SHARP, new_finding(instance.sop_instance_uid, probability=0.91))
    analysis = analyse(database, series_id, model, outcome)
    assert analysis.status is AnalysisStatus.QUARANTINED
    with database.read() as session:
        (stored,) = findings.findings_of_analysis(session, analysis.id)  # for auditors
        assert stored.finding.malignancy_probability == 0.91
        assert findings.finding_record(session, stored.id) is None
        assert findings.findings_with_patients(session) == ()
        assert not results.speaks_for_study(session, analysis)
        assert results.unreported_analyses(session) == ()
        (item,) = worklist_page(session, WorklistQuery()).items
    with database.begin() as session:
        drift_observations.collect(session)
        (watched,) = drift_observations.watched_scanners(session)
    assert (watched.scanner, watched.series_count) == (SHARP, 1), "watched on, to see whether it is as before"
    observed = detail(database, instance.study_instance_uid)
    assert (observed.item.state, observed.item.reasons) == (StudyState.NOT_ANALYSED, (SCANNER_HELD,))
    assert observed.item == replace(item, waiting_s=observed.item.waiting_s)
    assert (item.finding_count, item.malignancy_probability, item.interval) == (0, None, None)
    assert observed.findings == ()
    assert [(one.status, one.reasons, one.measures) for one in observed.analyses] == [
        (AnalysisStatus.QUARANTINED, (SCANNER_HELD,), {})
    ]
    with pytest.raises(UnknownRecordError), database.begin() as session:
        findings.record_assessment(session, stored.id, Verdict.ACCEPT, "", "", reader="reader")


def test_only_the_kernel_and_spacing_that_are_held_are_not_shown(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    hold(database)
    assert analyse(database, arrive(database, received()), model, answered(SMOOTH)).status is AnalysisStatus.CURRENT


def test_a_study_states_its_quarantined_series(
    database: Database, received: Received, new_finding: NewFindings, model: ModelIdentity
) -> None:
    hold(database)
    sharp = received()
    smooth = received(series="2")
    series = [arrive(database, sharp), arrive(database, smooth)]
    strong = new_finding(sharp.sop_instance_uid, probability=0.97)
    weak = new_finding(smooth.sop_instance_uid, probability=0.12)
    analyse(database, series[0], model, answered(SHARP, strong))
    analyse(database, series[1], model, answered(SMOOTH, weak))
    observed = detail(database, sharp.study_instance_uid)
    assert (observed.item.state, observed.item.reasons) == (StudyState.ANALYSED, (SCANNER_HELD,))
    assert (observed.item.finding_count, observed.item.malignancy_probability) == (1, 0.12)


def test_a_refused_series_reports_nothing_for_a_quarantined_study(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    hold(database)
    sharp = received()
    other = received(series="2")
    series = [arrive(database, sharp), arrive(database, other)]
    analyse(database, series[0], model, answered(SHARP))
    refused = analyse(database, series[1], model, answered(SMOOTH, reasons=(Reason("no_lung", "No lung in view."),)))
    with database.read() as session:
        assert not results.speaks_for_study(session, refused)


def test_a_place_that_a_reader_marks_gets_no_number_while_the_scanner_is_held(
    database: Database, received: Received, new_finding: NewFindings, model: ModelIdentity
) -> None:
    hold(database)
    instance = received()
    arrive(database, instance)  # not analysed yet: the click's answer names the scanner
    described = new_finding(instance.sop_instance_uid, probability=0.77)
    uids = (instance.study_instance_uid, instance.series_instance_uid)
    with database.begin() as session:
        held = findings.add_reader_finding(session, *uids, described, model, reader="reader", scanner=SHARP)
        shown = findings.add_reader_finding(session, *uids, described, model, reader="reader", scanner=SMOOTH)
    assert (held.finding.malignancy_probability, held.finding.reasons) == (None, (SCANNER_HELD,))
    assert held.finding.position_mm == described.position_mm
    assert shown.finding.malignancy_probability == 0.77


def test_a_released_scanner_is_shown_again_and_what_was_held_only_after_a_further_run(
    database: Database, received: Received, new_finding: NewFindings, model: ModelIdentity
) -> None:
    hold(database)
    instance, later = received(), received(study="1.2.4")
    series_id = arrive(database, instance)
    outcome = answered(SHARP, new_finding(instance.sop_instance_uid, probability=0.91))
    held = analyse(database, series_id, model, outcome)
    release(database)
    assert analyse(database, arrive(database, later), model, answered(SHARP)).status is AnalysisStatus.CURRENT
    assert detail(database, instance.study_instance_uid).findings == ()
    with database.begin() as session:
        (again,) = analyses.rerun_quarantined(session, SHARP, requested_by="chief")
    start(database, again.id)
    complete(database, again.id, outcome)
    assert record(database, held.id).status is AnalysisStatus.QUARANTINED
    assert detail(database, instance.study_instance_uid).item.malignancy_probability == 0.91
    with database.read() as session:
        assert quarantine.quarantined_analyses(session) == ()


def test_asking_again_after_a_release_runs_again_and_during_a_hold_does_not(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    hold(database)
    series_id = arrive(database, received())
    held = analyse(database, series_id, model, answered(SHARP))
    assert request(database, series_id, model).id == held.id
    release(database)
    assert request(database, series_id, model).id != held.id


def test_holding_is_on_record_once_with_who_and_why(database: Database) -> None:
    first, second = hold(database), hold(database)
    assert first == second
    release(database)
    with pytest.raises(UnknownRecordError):
        release(database)
    with pytest.raises(InvalidRecordError), database.begin() as session:
        quarantine.quarantine_scanner(session, SHARP, "  ", held_by="chief")
    with database.read() as session:
        assert not quarantine.is_in_quarantine(session, SHARP)
        last = quarantine.latest_quarantine(session, SHARP)
        events = [(e.event.action, e.event.actor, e.event.details["reason"]) for e in audit.recent(session, limit=9)]
    assert last is not None
    assert (last.held_by, last.release_reason) == ("chief", "serviced")
    assert events == [("scanner:released", "chief", "serviced"), ("scanner:held", "chief", "noise went up")]


def test_scanners_are_listed_with_what_is_held_of_them(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    analyse(database, arrive(database, received()), model, answered(SMOOTH))
    hold(database)
    analyse(database, arrive(database, received(study="1.2.4")), model, answered(SHARP))
    with database.read() as session:
        listed = {state.scanner: state for state in quarantine.scanner_states(session)}
        assert quarantine.recent_scanners(session) == {SHARP: 1, SMOOTH: 1}
        assert quarantine.scanner_by_key(session, SHARP.key[:8]) == SHARP
        with pytest.raises(UnknownRecordError):
            quarantine.scanner_by_key(session, "")
    assert (listed[SHARP].quarantined_count, listed[SMOOTH].quarantined_count) == (1, 0)
    assert listed[SHARP].hold is not None
    assert listed[SMOOTH].hold is None
