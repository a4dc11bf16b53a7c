"""Retention: deletes studies past retention with no pending work, and everything that identifies the patient.

The audit trail stays: it holds opaque ids and no identity, with an event for each deleted study.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Exists, Select, delete, exists, func, or_, select, text
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.deliveries import DeliveryStatus
from db.domain.exchange import CommitmentStatus, PriorStatus
from db.studies.lifecycle import SETTLED, UNFINISHED, locked_study
from db.tables.analyses import AnalysisRow, FindingMaskRow, FindingRow
from db.tables.exchange import (
    CommitmentRow,
    DeliveryRow,
    PriorSearchRow,
    PriorStudyRow,
    ResultFailureRow,
    ResultRow,
    RetractionRow,
)
from db.tables.ground_truth import AssessmentRow, PathologyRow
from db.tables.models import ShadowRunRow
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow

BATCH_SIZE = 500


def purgeable_studies(session: Session, before: datetime, *, limit: int = 100) -> tuple[str, ...]:
    """List studies (our own ids) without activity since ``before`` and without pending work.

    A study stays while a series is not settled, an analysis is pending, a delivery is pending or failed, a storage
    commitment is awaited, or priors are being fetched. A recent analysis, verdict or withdrawal retains it too, as
    result objects may follow.
    """
    order = (StudyRow.received_at, StudyRow.id)
    return tuple(session.scalars(_purgeable(before).order_by(*order).limit(limit)))


def purgeable_count(session: Session, before: datetime) -> int:
    """Count the studies that ``purgeable_studies`` lists without a limit."""
    return session.scalars(select(func.count()).select_from(_purgeable(before).subquery())).one()


def _purgeable(before: datetime) -> Select[str]:
    analyses = select(AnalysisRow.id).join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
    own = analyses.where(SeriesRow.study_id == StudyRow.id)
    unfinished = or_(AnalysisRow.status.in_(UNFINISHED), AnalysisRow.finished_at >= before)
    has_deliveries = or_(
        DeliveryRow.status.in_((DeliveryStatus.PENDING, DeliveryStatus.FAILED)),
        (DeliveryRow.status == DeliveryStatus.SENT) & DeliveryRow.next_attempt_at.is_not(None),
    )
    is_recent = exists().where(SeriesRow.study_id == StudyRow.id, SeriesRow.last_received_at >= before)
    is_recent_verdict = or_(AssessmentRow.created_at >= before, AssessmentRow.withdrawn_at >= before)
    is_judged = exists().where(
        AssessmentRow.finding_id == FindingRow.id, FindingRow.study_id == StudyRow.id, is_recent_verdict
    )
    withdrawn = exists().where(
        RetractionRow.analysis_id.in_(own.correlate(StudyRow)), RetractionRow.requested_at >= before
    )
    return (
        select(StudyRow.id)
        .where(StudyRow.received_at < before, StudyRow.state.in_(SETTLED), ~is_recent, ~is_judged, ~withdrawn)
        .where(~own.where(unfinished).correlate(StudyRow).exists())
        .where(~exists().where(DeliveryRow.analysis_id.in_(own.correlate(StudyRow)), has_deliveries))
        .where(~_under_way(PriorSearchRow), ~_under_way(PriorStudyRow))
    )


def _under_way(table: type[PriorSearchRow | PriorStudyRow]) -> Exists:
    return exists().where(table.study_id == StudyRow.id, table.status == PriorStatus.PENDING)


def purge_study(session: Session, study_id: str, before: datetime) -> tuple[str, ...]:
    """Delete a study unless it is no longer purgeable; return the paths of its files, which the caller removes."""
    forget_securely(session)
    locked_study(session, study_id)
    if session.scalars(_purgeable(before).where(StudyRow.id == study_id)).first() is None:
        return ()
    series = list(session.scalars(select(SeriesRow.id).where(SeriesRow.study_id == study_id)))
    analyses = list(session.scalars(select(AnalysisRow.id).where(AnalysisRow.series_id.in_(series))))
    findings = list(session.scalars(select(FindingRow.id).where(FindingRow.study_id == study_id)))
    instances = list(session.scalars(select(InstanceRow.path).where(InstanceRow.series_id.in_(series))))
    results = list(session.scalars(select(ResultRow.path).where(ResultRow.study_id == study_id)))
    patient = session.scalars(select(StudyRow.patient_row_id).where(StudyRow.id == study_id)).one()
    for table, column, values in (
        (AssessmentRow, AssessmentRow.finding_id, findings),
        (PathologyRow, PathologyRow.study_id, [study_id]),
        (FindingMaskRow, FindingMaskRow.finding_id, findings),
        (FindingRow, FindingRow.study_id, [study_id]),
        (DeliveryRow, DeliveryRow.analysis_id, analyses),
        (ResultRow, ResultRow.study_id, [study_id]),
        (ResultFailureRow, ResultFailureRow.analysis_id, analyses),
        (RetractionRow, RetractionRow.analysis_id, analyses),
        (ShadowRunRow, ShadowRunRow.analysis_id, analyses),
        (AnalysisRow, AnalysisRow.series_id, series),
        (InstanceRow, InstanceRow.series_id, series),
        (SeriesRow, SeriesRow.study_id, [study_id]),
        (PriorSearchRow, PriorSearchRow.study_id, [study_id]),
        (PriorStudyRow, PriorStudyRow.study_id, [study_id]),
        (StudyRow, StudyRow.id, [study_id]),
    ):
        for start in range(0, len(values), BATCH_SIZE):
            session.execute(delete(table).where(column.in_(values[start : start + BATCH_SIZE])))
    if not session.scalars(select(func.count()).where(StudyRow.patient_row_id == patient)).one():
        session.execute(delete(PatientRow).where(PatientRow.id == patient))
    details: dict[str, object] = {"instances": len(instances), "results": len(results), "analyses": len(analyses)}
    audit.append(session, AuditEvent("study:purged", "system", study_id, details=details))
    return (*instances, *results)


def purge_commitments(session: Session, before: datetime) -> None:
    """Delete commitment requests that ended before a moment: they name instances."""
    forget_securely(session)
    is_over = CommitmentRow.status != CommitmentStatus.PENDING
    session.execute(delete(CommitmentRow).where(is_over, CommitmentRow.updated_at < before))


def named_paths(session: Session, paths: Sequence[str]) -> set[str]:
    """Return which of these paths the index names."""
    named: set[str] = set()
    for start in range(0, len(paths), BATCH_SIZE):
        part = paths[start : start + BATCH_SIZE]
        for table in (InstanceRow, ResultRow):
            named |= set(session.scalars(select(table.path).where(table.path.in_(part))))
    return named


def forget_securely(session: Session) -> None:
    """Have SQLite overwrite deleted content; PostgreSQL relies on its vacuum."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("PRAGMA secure_delete=ON"))


def truncate_log(database: Database) -> None:
    """Truncate SQLite's write-ahead log, which holds earlier content, as far as readers allow."""
    if database.engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(str(database.engine.url.database), timeout=5)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
