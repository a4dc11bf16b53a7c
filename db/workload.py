"""Counts for metrics and readiness."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.domain import DeliveryStatus, StudyState, Workload
from db.lifecycle import UNFINISHED
from db.session import now
from db.tables import AnalysisRow, DeliveryRow, StudyRow


def workload(session: Session) -> Workload:
    """Count studies by state, analyses to be done and how long they wait, deliveries by status."""
    studies = dict.fromkeys(StudyState, 0)
    for state, count in session.execute(select(StudyRow.state, func.count()).group_by(StudyRow.state)):
        studies[state] = count
    deliveries = dict.fromkeys(DeliveryStatus, 0)
    for status, count in session.execute(select(DeliveryRow.status, func.count()).group_by(DeliveryRow.status)):
        deliveries[status] = count
    unfinished = AnalysisRow.status.in_(UNFINISHED)
    depth, oldest = session.execute(
        select(func.count(AnalysisRow.id), func.min(AnalysisRow.requested_at)).where(unfinished)
    ).one()
    age_s = max(0.0, (now(session) - oldest).total_seconds()) if oldest else 0.0
    return Workload(studies=studies, deliveries=deliveries, queue_depth=depth, oldest_queued_s=age_s)
