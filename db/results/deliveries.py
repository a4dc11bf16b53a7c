"""Deliveries of result objects to destinations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.engine.due_times import is_due
from db.engine.session import free_text, insert_once, key_text, new_id, now, record_of, required
from db.tables.analyses import AnalysisRow
from db.tables.exchange import DeliveryRow
from db.tables.studies import SeriesRow

SYSTEM = "system"
UNCOMMITTED = "no commitment report came"
"""Prefix of the reason of a delivery that was sent and not committed."""


def request_delivery(
    session: Session,
    *,
    analysis_id: str,
    sop_instance_uid: str,
    sop_class_uid: str,
    kind: str,
    destination: str,
    path: str,
) -> DeliveryRecord:
    """Schedule the delivery of an object, due at once; a repeated request returns the existing delivery.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    required(session.get(AnalysisRow, analysis_id), "analysis")
    moment = now(session)
    values = {
        "id": new_id(),
        "analysis_id": analysis_id,
        "sop_instance_uid": key_text("sop_instance_uid", sop_instance_uid, limit=64),
        "sop_class_uid": key_text("sop_class_uid", sop_class_uid, limit=64),
        "kind": kind,
        "destination": destination,
        "path": path,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "reason": "",
        "next_attempt_at": moment,
        "created_at": moment,
        "updated_at": moment,
    }
    if insert_once(session, DeliveryRow, values):
        details: dict[str, object] = {"analysis": analysis_id, "kind": kind, "destination": destination}
        audit.append(session, AuditEvent("delivery:requested", SYSTEM, str(values["id"]), details=details))
    statement = select(DeliveryRow).where(
        DeliveryRow.sop_instance_uid == values["sop_instance_uid"], DeliveryRow.destination == destination
    )
    return delivery_of_row(session.scalars(statement).one())


def pending_deliveries(session: Session, *, now: datetime) -> tuple[DeliveryRecord, ...]:
    """List the deliveries due at ``now``, longest due first."""
    statement = (
        select(DeliveryRow)
        .where(DeliveryRow.status == DeliveryStatus.PENDING, is_due(DeliveryRow.next_attempt_at, now))
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.created_at, DeliveryRow.id)
    )
    return tuple(delivery_of_row(row) for row in session.scalars(statement))


def record_delivery(
    session: Session, delivery_id: str, status: DeliveryStatus, reason: str = "", retry_at: datetime | None = None
) -> DeliveryRecord:
    """Record the outcome of an attempt. A committed object stays committed, whatever is reported later.

    Parameters
    ----------
    status
        ``PENDING`` for a retry at ``retry_at`` (at once if that is None); ``SENT`` for one whose commitment is checked
        at ``retry_at`` (never if that is None).
    reason
        Description of the failure, without patient identity.

    Raises
    ------
    UnknownRecordError
        If the delivery does not exist.
    """
    row = _locked(session, delivery_id)
    if row.status is DeliveryStatus.COMMITTED:
        return delivery_of_row(row)
    moment = now(session)
    if status is not DeliveryStatus.COMMITTED:  # a commitment answers an attempt that was counted as sent
        row.attempts += 1
    row.status, row.reason, row.updated_at = status, free_text(reason), moment
    row.next_attempt_at = None
    if status is DeliveryStatus.PENDING:
        row.next_attempt_at = retry_at or moment
    elif status is DeliveryStatus.SENT:
        row.next_attempt_at = retry_at
    session.flush()
    _audit(session, row)
    return delivery_of_row(row)


def _locked(session: Session, delivery_id: str) -> DeliveryRow:
    row = session.get(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    return required(row, "delivery")


def _audit(session: Session, row: DeliveryRow) -> None:
    action = "delivery:retried" if row.status is DeliveryStatus.PENDING else f"delivery:{row.status.value}"
    went_well = {DeliveryStatus.SENT, DeliveryStatus.COMMITTED, DeliveryStatus.DECLINED}
    outcome = "success" if row.status in went_well else "failure"
    details: dict[str, object] = {"destination": row.destination, "attempts": row.attempts, "reason": row.reason}
    audit.append(session, AuditEvent(action, SYSTEM, row.id, outcome, details))


def unconfirmed_deliveries(session: Session, *, now: datetime) -> tuple[DeliveryRecord, ...]:
    """List sent, uncommitted deliveries whose check is due at ``now``."""
    statement = (
        select(DeliveryRow)
        .where(DeliveryRow.status == DeliveryStatus.SENT, is_due(DeliveryRow.next_attempt_at, now))
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.id)
    )
    return tuple(delivery_of_row(row) for row in session.scalars(statement))


def schedule_check(session: Session, delivery_id: str, at: datetime | None, reason: str) -> None:
    """Schedule the next check of a sent delivery's commitment (none if ``at`` is None), with its reason."""
    row = _locked(session, delivery_id)
    if row.status is DeliveryStatus.SENT:
        row.next_attempt_at, row.reason = at, free_text(reason)


def dead_letters(session: Session, *, limit: int = 200) -> tuple[DeliveryRecord, ...]:
    """List failed deliveries, latest first; ``resend`` retries one."""
    statement = select(DeliveryRow).where(DeliveryRow.status == DeliveryStatus.FAILED)
    rows = session.scalars(statement.order_by(DeliveryRow.updated_at.desc(), DeliveryRow.id).limit(limit))
    return tuple(delivery_of_row(row) for row in rows)


def dead_letter_count(session: Session) -> int:
    """Return the number of failed deliveries."""
    statement = select(func.count()).select_from(DeliveryRow).where(DeliveryRow.status == DeliveryStatus.FAILED)
    return int(session.scalars(statement).one())


def uncommitted_count(session: Session, since: datetime) -> int:
    """Return the number of deliveries sent since a time that were never committed and are no longer checked."""
    statement = (
        select(func.count())
        .select_from(DeliveryRow)
        .where(DeliveryRow.status == DeliveryStatus.SENT, DeliveryRow.next_attempt_at.is_(None))
        .where(DeliveryRow.reason.startswith(UNCOMMITTED, autoescape=True), DeliveryRow.updated_at >= since)
    )
    return int(session.scalars(statement).one())


def resend(session: Session, delivery_id: str, *, requested_by: str) -> DeliveryRecord:
    """Reschedule a delivery with all its attempts; no change if it is committed.

    Raises
    ------
    UnknownRecordError
        If the delivery does not exist.
    """
    row = _locked(session, delivery_id)
    if row.status is DeliveryStatus.COMMITTED:
        return delivery_of_row(row)
    before, moment = row.status.value, now(session)
    row.status, row.attempts, row.reason = DeliveryStatus.PENDING, 0, ""
    row.next_attempt_at = row.updated_at = moment
    session.flush()
    details: dict[str, object] = {"destination": row.destination, "before": before}
    audit.append(session, AuditEvent("delivery:resent", requested_by, row.id, details=details))
    return delivery_of_row(row)


def resend_dead_letters(
    session: Session, *, requested_by: str, destination: str | None = None
) -> tuple[DeliveryRecord, ...]:
    """Reschedule all failed deliveries, to one destination or to all."""
    statement = select(DeliveryRow.id).where(DeliveryRow.status == DeliveryStatus.FAILED)
    if destination is not None:
        statement = statement.where(DeliveryRow.destination == destination)
    delivery_ids: Sequence[str] = session.scalars(statement.order_by(DeliveryRow.id)).all()
    return tuple(resend(session, delivery_id, requested_by=requested_by) for delivery_id in delivery_ids)


def decline_pending(session: Session, analysis_id: str, reason: str, *, but_not: Sequence[str] = ()) -> int:
    """Decline the pending deliveries of an analysis, except some kinds; return their number."""
    statement = select(DeliveryRow.id).where(
        DeliveryRow.analysis_id == analysis_id, DeliveryRow.status == DeliveryStatus.PENDING
    )
    delivery_ids = session.scalars(statement.where(DeliveryRow.kind.not_in(but_not))).all()
    for delivery_id in delivery_ids:
        record_delivery(session, delivery_id, DeliveryStatus.DECLINED, reason)
    return len(delivery_ids)


def sent_delivery(session: Session, sop_instance_uid: str, destination: str) -> DeliveryRecord | None:
    """Return the delivery of an object to a destination, or None (for storage commitment reports)."""
    statement = select(DeliveryRow).where(
        DeliveryRow.sop_instance_uid == sop_instance_uid, DeliveryRow.destination == destination
    )
    row = session.scalars(statement).one_or_none()
    return delivery_of_row(row) if row else None


def deliveries_of_study(session: Session, study_id: str) -> tuple[DeliveryRecord, ...]:
    """List all deliveries of results about a study, oldest first."""
    statement = (
        select(DeliveryRow)
        .join(AnalysisRow, DeliveryRow.analysis_id == AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(SeriesRow.study_id == study_id)
        .order_by(DeliveryRow.created_at, DeliveryRow.id)
    )
    return tuple(delivery_of_row(row) for row in session.scalars(statement))


def delivery_of_row(row: DeliveryRow) -> DeliveryRecord:
    """Build the record of a delivery's row."""
    return record_of(DeliveryRecord, row)
