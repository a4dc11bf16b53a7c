"""Storage commitment requests of peers (as SCP), until reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.exchange import CommitmentRecord, CommitmentStatus
from db.domain.studies import InstanceRecord
from db.engine.due_times import is_due
from db.engine.session import free_text, insert_once, key_text, new_id, now, record_of, required
from db.studies.instances import instance_of_row
from db.tables.exchange import CommitmentRow
from db.tables.studies import InstanceRow

BATCH_SIZE = 500


def record_request(
    session: Session,
    *,
    ae_title: str,
    peer_address: str,
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    report_at: datetime,
) -> str | None:
    """Record a request, to be reported on a separate association from ``report_at`` on; return its id.

    None if the peer has used that Transaction UID before.
    """
    moment = now(session)
    values = {
        "id": new_id(),
        "ae_title": ae_title,
        "transaction_uid": key_text("transaction_uid", transaction_uid, limit=64),
        "peer_address": peer_address,
        "sop_references": [list(pair) for pair in references],
        "status": CommitmentStatus.PENDING,
        "attempts": 0,
        "reason": "",
        "next_attempt_at": report_at,
        "created_at": moment,
        "updated_at": moment,
    }
    if not insert_once(session, CommitmentRow, values):
        return None
    details: dict[str, object] = {"peer_address": peer_address, "objects": len(references)}
    audit.append(session, AuditEvent("commitment:requested", ae_title, str(values["id"]), details=details))
    return str(values["id"])


def due_requests(session: Session, *, now: datetime) -> tuple[CommitmentRecord, ...]:
    """List the requests whose report is due at ``now``, longest due first."""
    statement = (
        select(CommitmentRow)
        .where(CommitmentRow.status == CommitmentStatus.PENDING, is_due(CommitmentRow.next_attempt_at, now))
        .order_by(CommitmentRow.next_attempt_at, CommitmentRow.id)
    )
    return tuple(_record(row) for row in session.scalars(statement))


def request_record(session: Session, request_id: str) -> CommitmentRecord | None:
    """Return the request of that id, or None."""
    row = session.get(CommitmentRow, request_id)
    return _record(row) if row else None


def record_report(session: Session, request_id: str, *, committed: int, failed: int) -> None:
    """Record that the peer accepted the report."""
    row = _locked(session, request_id)
    row.status, row.next_attempt_at, row.updated_at = CommitmentStatus.REPORTED, None, now(session)
    details: dict[str, object] = {"committed": committed, "failed": failed}
    audit.append(session, AuditEvent("commitment:reported", row.ae_title, row.id, details=details))


def record_failure(session: Session, request_id: str, reason: str, retry_at: datetime | None) -> None:
    """Record that the report failed; it is retried at ``retry_at``, or never if that is None."""
    row = _locked(session, request_id)
    row.attempts += 1
    row.reason, row.next_attempt_at, row.updated_at = free_text(reason), retry_at, now(session)
    if retry_at is None:
        row.status = CommitmentStatus.FAILED
        details: dict[str, object] = {"attempts": row.attempts, "reason": row.reason}
        audit.append(session, AuditEvent("commitment:failed", row.ae_title, row.id, "failure", details))


def known_instances(session: Session, sop_instance_uids: Iterable[str]) -> dict[str, InstanceRecord]:
    """Return received instances by SOP Instance UID; unknown UIDs are left out."""
    uids = list(dict.fromkeys(sop_instance_uids))
    instances: dict[str, InstanceRecord] = {}
    for start in range(0, len(uids), BATCH_SIZE):
        statement = select(InstanceRow).where(InstanceRow.sop_instance_uid.in_(uids[start : start + BATCH_SIZE]))
        instances |= {row.sop_instance_uid: instance_of_row(row) for row in session.scalars(statement)}
    return instances


def _locked(session: Session, request_id: str) -> CommitmentRow:
    row = session.get(CommitmentRow, request_id, with_for_update=True, populate_existing=True)
    return required(row, "commitment request")


def _record(row: CommitmentRow) -> CommitmentRecord:
    return record_of(
        CommitmentRecord, row, references=tuple((str(pair[0]), str(pair[1])) for pair in row.sop_references)
    )
