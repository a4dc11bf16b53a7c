"""Append-only audit trail; each event is chained to the previous one by a keyed digest.

The key lies outside the database: a writer to the database without the key can neither alter
an event nor make a later one fit. Events are part of the transaction that they describe: ``append`` collects them
and the commit writes them last, so that the head of the chain is locked for the shortest time.

Verification detects an event edited, removed, inserted or moved; a truncated tail (the head's own digest needs the
key); a chain recomputed without the key; removed triggers. Only an anchor stored elsewhere (``write_anchor``) detects
a database rolled back to an earlier copy, or replaced by an empty one.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import event, insert, select, update
from sqlalchemy.orm import Session, SessionTransaction

from db.audit.chain import ChainKey, Head
from db.domain.audit import AuditEntry, AuditEvent
from db.domain.errors import AuditKeyError, UnfitDatabaseError
from db.engine.session import free_text, now
from db.tables.audit import AuditEventRow, AuditHeadRow

PENDING = "audit_pending"


@dataclass(frozen=True, slots=True)
class _Pending:
    occurred_at: datetime
    event: AuditEvent
    within: tuple[SessionTransaction, ...]
    """The transaction (or savepoint) of the event, and its parents."""


def append(session: Session, entry: AuditEvent) -> None:
    """Add an event to the trail, in the transaction of the change it describes.

    It is written at the commit, and dropped if the change is rolled back.
    """
    session.info.setdefault(PENDING, []).append(_Pending(now(session), entry, tuple(_open_transactions(session))))


class AuditedSession(Session):
    """Session that writes its audit events last in the transaction, and drops those of rolled back changes."""


def _open_transactions(session: Session) -> Iterator[SessionTransaction]:
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        yield transaction
        transaction = transaction.parent


@event.listens_for(AuditedSession, "after_soft_rollback")
def _forget(session: Session, previous: SessionTransaction) -> None:
    pending: list[_Pending] = session.info.get(PENDING, [])
    session.info[PENDING] = [entry for entry in pending if previous not in entry.within]


@event.listens_for(AuditedSession, "before_commit")
def _write(session: Session) -> None:
    if session.get_nested_transaction() is None:  # not where only a savepoint is released
        session.flush()
        write_pending(session)


def write_pending(session: Session) -> None:
    """Write the collected events after the head of the chain, which stays locked until the commit."""
    pending: list[_Pending] = session.info.pop(PENDING, [])
    if not pending:
        return
    key = ChainKey(session.info["audit_key"])
    head = _locked_head(session, key)
    rows = []
    for entry in pending:
        row = _values(head.sequence + 1, entry)
        head = Head(head.sequence + 1, key.event_mac(head.mac, row))
        rows.append(row | {"mac": head.mac})
    session.execute(insert(AuditEventRow), rows)
    session.execute(update(AuditHeadRow).values(sequence=head.sequence, mac=head.mac, head_mac=key.head_mac(head)))


def _values(sequence: int, entry: _Pending) -> dict[str, object]:
    recorded = entry.event
    details = json.dumps(recorded.details, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {
        "sequence": sequence,
        "occurred_at": entry.occurred_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": recorded.action,
        "actor": free_text(recorded.actor),
        "subject": recorded.subject,
        "outcome": recorded.outcome,
        "details": details,
    }


def _locked_head(session: Session, key: ChainKey) -> Head:
    statement = select(AuditHeadRow.sequence, AuditHeadRow.mac, AuditHeadRow.head_mac).with_for_update()
    row = session.execute(statement).one_or_none()
    if row is None:
        raise UnfitDatabaseError("the audit trail has no head: run `lungnode db upgrade`, then `lungnode audit verify`")
    head = Head(row.sequence, row.mac)
    if head.sequence and not hmac.compare_digest(row.head_mac, key.head_mac(head)):
        raise AuditKeyError(
            "the audit key does not fit the trail, or its head was altered: run `lungnode audit verify`"
        )
    return head


def recent(
    session: Session, *, limit: int = 100, before: int | None = None, subject: str | None = None
) -> tuple[AuditEntry, ...]:
    """List the latest events, newest first, optionally before a sequence number and about one subject."""
    statement = select(AuditEventRow).order_by(AuditEventRow.sequence.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEventRow.sequence < before)
    if subject is not None:
        statement = statement.where(AuditEventRow.subject == subject)
    return tuple(_entry(row) for row in session.scalars(statement))


def about(
    session: Session, subjects: Sequence[str], *, actions: Sequence[str] | None = None, limit: int = 500
) -> tuple[AuditEntry, ...]:
    """List the latest events about several subjects, oldest first."""
    statement = select(AuditEventRow).where(AuditEventRow.subject.in_(subjects))
    if actions is not None:
        statement = statement.where(AuditEventRow.action.in_(actions))
    rows = session.scalars(statement.order_by(AuditEventRow.sequence.desc()).limit(limit)).all()
    return tuple(_entry(row) for row in reversed(rows))


def _entry(row: AuditEventRow) -> AuditEntry:
    recorded = AuditEvent(row.action, row.actor, row.subject, row.outcome, json.loads(row.details))
    return AuditEntry(row.sequence, datetime.fromisoformat(row.occurred_at), recorded)
