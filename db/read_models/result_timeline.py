"""Timeline of one result: senders, analysis, findings, deliveries, views, verdicts and audit events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.analyses.analyses import analysis_record
from db.analyses.findings import assessments_of_finding, findings_of_analysis
from db.audit import trail as audit
from db.domain.analyses import AnalysisRecord
from db.domain.audit import AuditEntry
from db.domain.deliveries import DeliveryRecord
from db.domain.exchange import ResultObject
from db.domain.findings import AssessmentRecord, FindingRecord
from db.results.deliveries import delivery_of_row
from db.results.objects import object_of_row
from db.tables.exchange import DeliveryRow, ResultRow
from db.tables.studies import InstanceRow, SeriesRow

MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class SenderRecord:
    """A sender of the series, with its number of instances and times."""

    calling_ae_title: str
    peer_address: str
    instance_count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ResultTimeline:
    """All records about one analysis; ``events`` are oldest first."""

    analysis: AnalysisRecord
    senders: tuple[SenderRecord, ...]
    findings: tuple[FindingRecord, ...]
    assessments: tuple[AssessmentRecord, ...]
    results: tuple[ResultObject, ...]
    deliveries: tuple[DeliveryRecord, ...]
    views: tuple[AuditEntry, ...]
    events: tuple[AuditEntry, ...]


def result_timeline(session: Session, analysis_id: str) -> ResultTimeline | None:
    """Return the timeline of an analysis, or None if it does not exist."""
    analysis = analysis_record(session, analysis_id)
    if analysis is None:
        return None
    findings = findings_of_analysis(session, analysis_id)
    deliveries = session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.analysis_id == analysis_id)
        .order_by(DeliveryRow.destination, DeliveryRow.created_at, DeliveryRow.id)
    ).all()
    series = _series_of_study(session, analysis.series_id)
    subjects = (
        analysis_id,
        analysis.series_id,
        *(finding.id for finding in findings),
        *(delivery.id for delivery in deliveries),
    )
    return ResultTimeline(
        analysis=analysis,
        senders=_senders(session, analysis),
        findings=findings,
        assessments=_assessments(session, findings),
        results=_results(session, analysis_id),
        deliveries=tuple(delivery_of_row(row) for row in deliveries),
        views=audit.about(session, series, actions=("study:viewed",), limit=MAX_EVENTS),
        events=audit.about(session, subjects, limit=MAX_EVENTS),
    )


def _series_of_study(session: Session, series_id: str) -> tuple[str, ...]:
    study_id = select(SeriesRow.study_id).where(SeriesRow.id == series_id).scalar_subquery()
    return tuple(session.scalars(select(SeriesRow.id).where(SeriesRow.study_id == study_id)))


def _results(session: Session, analysis_id: str) -> tuple[ResultObject, ...]:
    statement = select(ResultRow).where(ResultRow.analysis_id == analysis_id)
    rows = session.scalars(statement.order_by(ResultRow.series_number, ResultRow.instance_number))
    return tuple(map(object_of_row, rows))


def _senders(session: Session, analysis: AnalysisRecord) -> tuple[SenderRecord, ...]:
    statement = (
        select(
            InstanceRow.calling_ae_title,
            InstanceRow.peer_address,
            func.count(),
            func.min(InstanceRow.received_at),
            func.max(InstanceRow.received_at),
        )
        .where(InstanceRow.series_id == analysis.series_id, InstanceRow.arrival <= analysis.instance_count)
        .group_by(InstanceRow.calling_ae_title, InstanceRow.peer_address)
        .order_by(func.min(InstanceRow.received_at))
    )
    return tuple(SenderRecord(*row) for row in session.execute(statement))


def _assessments(session: Session, findings: tuple[FindingRecord, ...]) -> tuple[AssessmentRecord, ...]:
    every = (record for finding in findings for record in assessments_of_finding(session, finding.id))
    return tuple(sorted(every, key=lambda record: record.created_at))
