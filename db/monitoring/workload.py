"""Counts for metrics and readiness."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.domain.analyses import AnalysisStatus
from db.domain.deliveries import DeliveryStatus
from db.domain.reconstructions import OTHER_RECONSTRUCTION
from db.domain.studies import StudyState
from db.domain.workload import Workload
from db.engine.session import now
from db.results.failures import failure_count
from db.studies.lifecycle import UNFINISHED
from db.tables.analyses import AnalysisRow
from db.tables.exchange import DeliveryRow
from db.tables.studies import StudyRow

LATELY = timedelta(hours=24)


def workload(session: Session) -> Workload:
    """Count studies by state, pending analyses with their age, and deliveries by status."""
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
    return Workload(
        studies=studies,
        deliveries=deliveries,
        queue_depth=depth,
        oldest_queued_s=age_s,
        result_failures=failure_count(session),
    )


def latest_arrival(session: Session) -> datetime | None:
    """Return the time of the latest study's first arrival, or None."""
    return session.scalars(select(func.max(StudyRow.received_at))).one()


@dataclass(frozen=True, slots=True)
class LatelyDone:
    """Statistics of the last 24 hours: durations by stage in seconds, outcomes and reasons of analyses."""

    seconds: dict[str, list[float]]
    outcomes: Counter[str]
    reasons: Counter[str]


def lately_done(session: Session) -> LatelyDone:
    """Return statistics of the analyses finished and objects delivered in the last 24 hours.

    Stages: ``queue`` (request to start), ``load`` (reading and decoding), ``analyse`` (the attempt from start to end),
    and ``deliver`` (creation of an object to its acceptance by the destination).
    """
    since = now(session) - LATELY
    done = LatelyDone({"queue": [], "load": [], "analyse": [], "deliver": []}, Counter(), Counter())
    rows = select(AnalysisRow).where(AnalysisRow.finished_at > since)
    for row in session.scalars(rows):
        done.outcomes[_outcome(row)] += 1
        done.reasons.update(reason.code for reason in row.reasons if reason != OTHER_RECONSTRUCTION)
        if row.started_at is not None and row.finished_at is not None:
            done.seconds["queue"].append((row.started_at - row.requested_at).total_seconds())
            done.seconds["analyse"].append((row.finished_at - row.started_at).total_seconds())
        load_s = row.measures.get("load_s")
        if isinstance(load_s, int | float):
            done.seconds["load"].append(float(load_s))
    arrived = DeliveryRow.status.in_((DeliveryStatus.SENT, DeliveryStatus.COMMITTED))
    moments = select(DeliveryRow.created_at, DeliveryRow.updated_at).where(arrived, DeliveryRow.updated_at > since)
    done.seconds["deliver"] = [(ended - began).total_seconds() for began, ended in session.execute(moments)]
    return done


def _outcome(row: AnalysisRow) -> str:
    if row.status is AnalysisStatus.FAILED:
        return "failed"
    if row.status is AnalysisStatus.QUARANTINED:
        return "quarantined"
    return "not_analysed" if set(row.reasons) - {OTHER_RECONSTRUCTION} else "analysed"
