"""Deliveries: result objects on their way to the PACS."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.domain import AuditEvent, DeliveryRecord, DeliveryStatus
from db.errors import UnknownRecordError
from db.session import free_text, insert_once, key_text, new_id, now
from db.tables import AnalysisRow, DeliveryRow, SeriesRow

SYSTEM = "system"


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
    """Ask for an object to be sent, due at once; asking again gives the delivery that exists.

    Raises
    ------
    UnknownRecordError
        If there is no such analysis.
    """
    if session.get(AnalysisRow, analysis_id) is None:
        raise UnknownRecordError("analysis")
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
    return _record(session.scalars(statement).one())


def pending_deliveries(session: Session, *, now: datetime) -> tuple[DeliveryRecord, ...]:
    """List the deliveries that are due at ``now``, longest due first."""
    statement = (
        select(DeliveryRow)
        .where(DeliveryRow.status == DeliveryStatus.PENDING, DeliveryRow.next_attempt_at <= now)
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.created_at, DeliveryRow.id)
    )
    return tuple(_record(row) for row in session.scalars(statement))


def record_delivery(
    session: Session, delivery_id: str, status: DeliveryStatus, reason: str = "", retry_at: datetime | None = None
) -> DeliveryRecord:
    """Record how an attempt ended. A committed object stays committed, whatever is reported late.

    Parameters
    ----------
    status
        ``PENDING`` for one to be tried again at ``retry_at`` (at once where that is None).
    reason
        What went wrong, in words without identity.

    Raises
    ------
    UnknownRecordError
        If there is no such delivery.
    """
    statement = select(DeliveryRow).where(DeliveryRow.id == delivery_id).with_for_update()
    row = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise UnknownRecordError("delivery")
    if row.status is DeliveryStatus.COMMITTED:
        return _record(row)
    moment = now(session)
    if status is not DeliveryStatus.COMMITTED:  # a commitment answers an attempt that was counted as sent
        row.attempts += 1
    row.status, row.reason, row.updated_at = status, free_text(reason), moment
    row.next_attempt_at = (retry_at or moment) if status is DeliveryStatus.PENDING else None
    session.flush()
    _audit(session, row)
    return _record(row)


def _audit(session: Session, row: DeliveryRow) -> None:
    action = "delivery:retried" if row.status is DeliveryStatus.PENDING else f"delivery:{row.status.value}"
    outcome = "success" if row.status in {DeliveryStatus.SENT, DeliveryStatus.COMMITTED} else "failure"
    details: dict[str, object] = {"destination": row.destination, "attempts": row.attempts, "reason": row.reason}
    audit.append(session, AuditEvent(action, SYSTEM, row.id, outcome, details))


def delivery_record(session: Session, delivery_id: str) -> DeliveryRecord | None:
    """Return the delivery of that id, or None."""
    row = session.get(DeliveryRow, delivery_id)
    return _record(row) if row else None


def sent_delivery(session: Session, sop_instance_uid: str, destination: str) -> DeliveryRecord | None:
    """Return the delivery of an object to a destination, or None (for storage commitment's reports)."""
    statement = select(DeliveryRow).where(
        DeliveryRow.sop_instance_uid == sop_instance_uid, DeliveryRow.destination == destination
    )
    row = session.scalars(statement).one_or_none()
    return _record(row) if row else None


def deliveries_of_study(session: Session, study_id: str) -> tuple[DeliveryRecord, ...]:
    """List all deliveries of results about a study, oldest first."""
    statement = (
        select(DeliveryRow)
        .join(AnalysisRow, DeliveryRow.analysis_id == AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(SeriesRow.study_id == study_id)
        .order_by(DeliveryRow.created_at, DeliveryRow.id)
    )
    return tuple(_record(row) for row in session.scalars(statement))


def _record(row: DeliveryRow) -> DeliveryRecord:
    return DeliveryRecord(
        id=row.id,
        analysis_id=row.analysis_id,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        kind=row.kind,
        destination=row.destination,
        status=row.status,
        path=row.path,
        attempts=row.attempts,
        reason=row.reason,
        updated_at=row.updated_at,
        next_attempt_at=row.next_attempt_at,
    )
