"""Deliveries, predictions by upload, and what the audit trail may hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db.accounts import users
from db.analyses import analyses, findings, predictions
from db.audit import trail as audit
from db.audit.verification import verify
from db.database import Database
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome, AnalysisRecord
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.studies import ReceivedInstance
from db.domain.uploads import UploadAnswer, UploadPatient, UploadPrediction
from db.read_models import studies
from db.results import deliveries
from db.studies.completion import force_complete
from db.studies.instances import receiving_series
from tests.support.databases import ManualClock
from tests.support.records import delivery_record, record_instance

Received = Callable[..., ReceivedInstance]
SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture
def analysis(database: Database, received: Received, model: ModelIdentity) -> AnalysisRecord:
    with database.begin() as session:
        record_instance(session, received(1))
        (series,) = receiving_series(session)
        record = analyses.request_analysis(session, series.id, model, requested_by="node")
        analyses.complete_analysis(session, record.id, AnalysisOutcome())
    return record


def deliver(database: Database, analysis: AnalysisRecord, uid: str = "2.25.1", to: str = "PACS") -> DeliveryRecord:
    with database.begin() as session:
        return deliveries.request_delivery(
            session,
            analysis_id=analysis.id,
            sop_instance_uid=uid,
            sop_class_uid=SR,
            kind="report",
            destination=to,
            path=f"results/{uid}",
        )


def report(database: Database, delivery: DeliveryRecord, status: DeliveryStatus, **other: object) -> DeliveryRecord:
    with database.begin() as session:
        return deliveries.record_delivery(session, delivery.id, status, **other)  # type: ignore[arg-type]


def due(database: Database, now: datetime) -> list[str]:
    with database.read() as session:
        return [record.id for record in deliveries.pending_deliveries(session, now=now)]


def actions(database: Database) -> list[str]:
    with database.read() as session:
        return [entry.event.action for entry in reversed(audit.recent(session))]


def test_a_delivery_is_asked_for_once(database: Database, analysis: AnalysisRecord) -> None:
    first = deliver(database, analysis)
    assert (first.status, first.attempts, first.path) == (DeliveryStatus.PENDING, 0, "results/2.25.1")
    assert deliver(database, analysis) == first
    assert deliver(database, analysis, to="OTHER").id != first.id
    assert actions(database).count("delivery:requested") == 2
    with database.read() as session:
        assert deliveries.sent_delivery(session, "2.25.1", "PACS") == first
        assert deliveries.sent_delivery(session, "2.25.1", "NOWHERE") is None
        assert delivery_record(session, first.id) == first


def test_deliveries_asked_for_at_once_are_one(database: Database, analysis: AnalysisRecord) -> None:
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda _: deliver(database, analysis), range(8)))
    assert len({record.id for record in records}) == 1


def test_a_failed_attempt_is_due_again_when_it_was_put_off_to(
    database: Database, analysis: AnalysisRecord, clock: ManualClock
) -> None:
    delivery = deliver(database, analysis)
    assert due(database, clock()) == [delivery.id]
    later = clock() + timedelta(minutes=5)
    again = report(database, delivery, DeliveryStatus.PENDING, reason="no association", retry_at=later)
    assert (again.attempts, again.reason, again.next_attempt_at) == (1, "no association", later)
    assert due(database, later - timedelta(seconds=1)) == []
    assert due(database, later) == [delivery.id]
    sent = report(database, delivery, DeliveryStatus.SENT)
    assert (sent.attempts, sent.reason, sent.next_attempt_at) == (2, "", None)
    assert due(database, later) == []
    assert actions(database)[-3:] == ["delivery:requested", "delivery:retried", "delivery:sent"]


def test_what_is_committed_stays_so(database: Database, analysis: AnalysisRecord) -> None:
    delivery = deliver(database, analysis)
    report(database, delivery, DeliveryStatus.SENT)
    committed = report(database, delivery, DeliveryStatus.COMMITTED)
    assert (committed.status, committed.attempts) == (DeliveryStatus.COMMITTED, 1)
    assert report(database, delivery, DeliveryStatus.FAILED, reason="late") == committed
    assert actions(database)[-1] == "delivery:committed"


def test_deliveries_stand_with_their_study(database: Database, analysis: AnalysisRecord) -> None:
    records = [deliver(database, analysis, uid=f"2.25.{n}") for n in range(3)]
    with database.read() as session:
        detail = studies.study_detail(session, "1.2.3")
    assert detail is not None
    assert list(detail.deliveries) == records


def test_deliveries_of_nothing_are_refused(database: Database, analysis: AnalysisRecord) -> None:
    with pytest.raises(UnknownRecordError, match="analysis"):
        deliver(database, replace(analysis, id="absent"))
    with pytest.raises(UnknownRecordError, match="delivery"), database.begin() as session:
        deliveries.record_delivery(session, "absent", DeliveryStatus.SENT)


@pytest.fixture
def prediction(model: ModelIdentity) -> UploadPrediction:
    return UploadPrediction(
        id="f" * 32,
        input_sha256="a" * 64,
        answer=UploadAnswer("slice", {"benign": 0.1234, "malignant": 0.8766}, ("malignant",), (), model, 1.1),
        patient=UploadPatient(61, "F", 30.5, True, "CANARY cough"),
        created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    )


def test_a_prediction_reads_back_as_it_was_answered(database: Database, prediction: UploadPrediction) -> None:
    shares, reasons = {"benign": 0.6, "malignant": 0.4}, (Reason("not_ct", "This is no CT slice."),)
    abstained = replace(
        prediction,
        id="e" * 32,
        answer=replace(prediction.answer, probabilities=shares, prediction_set=(), reasons=reasons),
        patient=UploadPatient(),
    )
    with database.begin() as session:
        predictions.record_prediction(session, prediction, actor="anonymous")
        predictions.record_prediction(session, abstained, actor="ann")
    with database.read() as session:
        assert predictions.prediction_record(session, prediction.id) == prediction
        assert predictions.prediction_record(session, abstained.id) == abstained
        assert predictions.prediction_record(session, "absent") is None
        assert predictions.prediction_count(session) == 2
    assert actions(database) == ["prediction:answered"] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"probabilities": {"benign": 1.5}},
        {"probabilities": {"benign": float("nan")}},
        {"probabilities": {"benign": 1.5}, "reasons": (Reason("not_ct", "This is no CT slice."),)},
        {"displayed": {"text": object()}},
        {"temperature": float("inf")},
    ],
)
def test_a_prediction_that_is_none_is_refused(
    database: Database, prediction: UploadPrediction, wrong: dict[str, Any]
) -> None:
    answer = replace(prediction.answer, **wrong)
    with pytest.raises(InvalidRecordError), database.begin() as session:
        predictions.record_prediction(session, replace(prediction, answer=answer), actor="ann")


def test_a_patient_with_impossible_numbers_is_refused(database: Database, prediction: UploadPrediction) -> None:
    patient = UploadPatient(smoking_pack_years=float("nan"))
    with pytest.raises(InvalidRecordError), database.begin() as session:
        predictions.record_prediction(session, replace(prediction, patient=patient), actor="ann")


def test_no_identity_reaches_the_audit_trail(
    database: Database,
    received: Received,
    model: ModelIdentity,
    new_finding: Callable[..., NewFinding],
    prediction: UploadPrediction,
) -> None:
    """Every event of the whole flow, refusals too, holds opaque ids only."""
    other_patient = replace(received().patient, patient_id="CANARY-2", name="CANARY^OTHER")
    with database.begin() as session:
        for instance in (
            received(1),
            replace(received(1), sha256="f" * 64),
            received(2, patient=other_patient),
            replace(received(3, study="1.2.4"), series_instance_uid="1.2.3.1"),
            received(1, study="1.2.5", patient=replace(other_patient, patient_id="PID-1")),
        ):
            record_instance(session, instance)
        force_complete(session, "1.2.3", requested_by="ann")
        first, second = receiving_series(session)
        done = analyses.request_analysis(session, first.id, model, requested_by="node")
        analyses.start_analysis(session, done.id)
        analyses.complete_analysis(session, done.id, AnalysisOutcome(findings=(new_finding(),)))
        failed = analyses.request_analysis(session, second.id, model, requested_by="node")
        analyses.fail_analysis(session, failed.id, Reason("timeout", "Took too long."))
        marked = findings.add_reader_finding(session, "1.2.3", "1.2.3.1", new_finding(), model, reader="ann")
        findings.record_assessment(session, marked.id, Verdict.REJECT, "CANARY", "CANARY said so", reader="ann")
        predictions.record_prediction(session, prediction, actor="anonymous")
        users.add_user(session, "ann", "correct horse battery", Role.RADIOLOGIST)
    assert users.sign_in(database, "CANARY", "CANARY") is None
    assert users.sign_in(database, "ann", "CANARY") is None
    delivery = deliver(database, done)
    report(database, delivery, DeliveryStatus.SENT)
    with database.read() as session:
        rows = session.execute(text("SELECT action, actor, subject, outcome, details FROM audit_events")).all()
    assert len(rows) > 15
    written = "\n".join("|".join(row) for row in rows)
    for secret in ("CANARY", "PID-1", "1.2.3", "1.2.4", "1.2.5", "2.25", "ACC-7", "19580203"):
        assert secret not in written, secret
    assert verify(database).is_intact


def test_dead_letters_are_listed_and_sent_again(database: Database, analysis: AnalysisRecord) -> None:
    dead, other = deliver(database, analysis), deliver(database, analysis, "2.25.2", "RIS")
    for one in (dead, other):
        report(database, one, DeliveryStatus.FAILED, reason="no answer")
    with database.read() as session:
        assert {one.id for one in deliveries.dead_letters(session)} == {dead.id, other.id}
        assert deliveries.dead_letter_count(session) == 2
    with database.begin() as session:
        again = deliveries.resend(session, dead.id, requested_by="ada")
    assert (again.status, again.attempts, again.reason) == (DeliveryStatus.PENDING, 0, "")
    with database.read() as session:
        assert [event.event.actor for event in audit.recent(session, limit=1)] == ["ada"]
        assert [one.id for one in deliveries.dead_letters(session)] == [other.id]
    with database.begin() as session:
        (last,) = deliveries.resend_dead_letters(session, requested_by="ada", destination="RIS")
        assert deliveries.resend_dead_letters(session, requested_by="ada") == ()
    assert last.id == other.id


def test_a_committed_object_is_not_sent_again(database: Database, analysis: AnalysisRecord) -> None:
    delivery = deliver(database, analysis)
    report(database, delivery, DeliveryStatus.COMMITTED)
    with database.begin() as session:
        assert deliveries.resend(session, delivery.id, requested_by="ada").status is DeliveryStatus.COMMITTED


def test_what_was_sent_is_looked_after_until_it_is_committed(database: Database, analysis: AnalysisRecord) -> None:
    delivery = deliver(database, analysis)
    later = datetime(2027, 1, 1, tzinfo=UTC)
    report(database, delivery, DeliveryStatus.SENT, retry_at=later)
    with database.read() as session:
        assert deliveries.unconfirmed_deliveries(session, now=later - timedelta(seconds=1)) == ()
        assert [one.id for one in deliveries.unconfirmed_deliveries(session, now=later)] == [delivery.id]
    with database.begin() as session:
        deliveries.schedule_check(session, delivery.id, None, "not there yet")
    with database.read() as session:
        assert deliveries.unconfirmed_deliveries(session, now=later) == ()


def test_a_retracted_analysis_sends_nothing_more(database: Database, analysis: AnalysisRecord) -> None:
    waiting, gone = deliver(database, analysis), deliver(database, analysis, "2.25.2")
    report(database, gone, DeliveryStatus.SENT)
    with database.begin() as session:
        assert deliveries.decline_pending(session, analysis.id, "withdrawn") == 1
        result = {one.id: one.status for one in (delivery_record(session, d.id) for d in (waiting, gone)) if one}
    assert result == {waiting.id: DeliveryStatus.DECLINED, gone.id: DeliveryStatus.SENT}


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(days=-400), True),
        (timedelta(0), True),
        (timedelta(seconds=1), False),
        (timedelta(hours=6), False),
        (timedelta(hours=25), True),
        (timedelta(days=370), True),
    ],
)
def test_what_a_clock_that_ran_ahead_put_off_is_due(
    database: Database, analysis: AnalysisRecord, ahead: timedelta, expected: bool
) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    delivery = deliver(database, analysis)
    report(database, delivery, DeliveryStatus.PENDING, reason="busy", retry_at=now + ahead)
    assert due(database, now) == ([delivery.id] if expected else [])
    report(database, delivery, DeliveryStatus.SENT, retry_at=now + ahead)
    with database.read() as session:
        assert bool(deliveries.unconfirmed_deliveries(session, now=now)) == expected
