"""Log of associations and rejections, counted per peer.

Equal events of a peer share a record, so that a flood costs one row, and the rejections of a scanner that calls once a
day stay listed next to a PACS that calls every second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.engine.session import insert_once, new_id, now
from db.tables.associations import AssociationRow

LIMIT = 500
LIMIT_PER_ADDRESS = 100
"""Records per address; a peer that varies its titles displaces only its own."""


@dataclass(frozen=True, slots=True, order=True)
class AssociationEvent:
    """Outcome of an association.

    Attributes
    ----------
    calling_ae_title, called_ae_title
        As sent: untrusted text.
    result
        ``accepted``, ``rejected`` (A-ASSOCIATE-RJ) or ``aborted``.
    reason
        Machine-readable, empty if accepted.
    """

    peer_address: str
    calling_ae_title: str
    called_ae_title: str
    result: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AssociationRecord:
    """Count of equal events of one peer."""

    event: AssociationEvent
    count: int
    first_at: datetime
    last_at: datetime


def record(session: Session, counts: Mapping[AssociationEvent, int]) -> None:
    """Count events; beyond ``LIMIT`` records, the oldest are deleted."""
    moment = now(session)
    for event, count in sorted(counts.items()):
        key = {
            "peer_address": event.peer_address,
            "calling_ae_title": event.calling_ae_title,
            "called_ae_title": event.called_ae_title,
            "result": event.result,
            "reason": event.reason,
        }
        values = {**key, "id": new_id(), "count": count, "first_at": moment, "last_at": moment}
        if not insert_once(session, AssociationRow, values):
            statement = update(AssociationRow).filter_by(**key)
            session.execute(statement.values(count=AssociationRow.count + count, last_at=moment))
    _prune(session, {event.peer_address for event in counts})


def _prune(session: Session, addresses: set[str]) -> None:
    latest = select(AssociationRow.id).order_by(AssociationRow.last_at.desc(), AssociationRow.id)
    for address in sorted(addresses):
        of_address = latest.where(AssociationRow.peer_address == address).offset(LIMIT_PER_ADDRESS)
        session.execute(delete(AssociationRow).where(AssociationRow.id.in_(session.scalars(of_address).all())))
    if (session.scalar(select(func.count()).select_from(AssociationRow)) or 0) > LIMIT:
        surplus = session.scalars(latest.offset(LIMIT)).all()
        session.execute(delete(AssociationRow).where(AssociationRow.id.in_(surplus)))


def recent(session: Session) -> tuple[AssociationRecord, ...]:
    """List the records, latest first."""
    rows = session.scalars(
        select(AssociationRow).order_by(AssociationRow.last_at.desc(), AssociationRow.id).limit(LIMIT)
    )
    return tuple(
        AssociationRecord(
            AssociationEvent(row.peer_address, row.calling_ae_title, row.called_ae_title, row.result, row.reason),
            row.count,
            row.first_at,
            row.last_at,
        )
        for row in rows
    )
