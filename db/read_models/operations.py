"""Administration overview: deliveries by destination, and pending or failed analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.analyses.analyses import analysis_record, pending_analyses
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.results.deliveries import delivery_of_row
from db.tables.analyses import AnalysisRow
from db.tables.exchange import DeliveryRow

LISTED = 50


@dataclass(frozen=True, slots=True)
class DestinationLoad:
    """Delivery counts and times of one destination."""

    destination: str
    counts: dict[DeliveryStatus, int]
    last_sent_at: datetime | None
    oldest_pending_at: datetime | None


def destination_loads(session: Session) -> tuple[DestinationLoad, ...]:
    """Return the delivery counts of each destination, by name."""
    statement = select(
        DeliveryRow.destination,
        DeliveryRow.status,
        func.count(),
        func.max(DeliveryRow.updated_at),
        func.min(DeliveryRow.created_at),
    ).group_by(DeliveryRow.destination, DeliveryRow.status)
    counts: dict[str, dict[DeliveryStatus, int]] = {}
    sent: dict[str, datetime] = {}
    pending: dict[str, datetime] = {}
    for destination, status, count, latest, oldest in session.execute(statement):
        counts.setdefault(destination, {})[status] = count
        if status in (DeliveryStatus.SENT, DeliveryStatus.COMMITTED):
            sent[destination] = max(latest, sent.get(destination, latest))
        if status is DeliveryStatus.PENDING:
            pending[destination] = oldest
    return tuple(DestinationLoad(name, counts[name], sent.get(name), pending.get(name)) for name in sorted(counts))


def recent_deliveries(
    session: Session, *, status: DeliveryStatus | None = None, limit: int = LISTED
) -> tuple[DeliveryRecord, ...]:
    """List the latest changed deliveries, optionally of one status."""
    statement = select(DeliveryRow).order_by(DeliveryRow.updated_at.desc(), DeliveryRow.id).limit(limit)
    if status is not None:
        statement = statement.where(DeliveryRow.status == status)
    return tuple(delivery_of_row(row) for row in session.scalars(statement))


def jobs(session: Session, *, limit: int = LISTED) -> tuple[AnalysisRecord, ...]:
    """List pending analyses, oldest first, then failed ones, latest first."""
    failed: Sequence[str] = session.scalars(
        select(AnalysisRow.id)
        .where(AnalysisRow.status == AnalysisStatus.FAILED)
        .order_by(AnalysisRow.finished_at.desc(), AnalysisRow.id)
        .limit(limit)
    ).all()
    records = (analysis_record(session, analysis_id) for analysis_id in failed)
    return (*pending_analyses(session)[:limit], *(record for record in records if record is not None))
