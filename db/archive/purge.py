"""Retention: studies that are old and owe nobody anything go, with everything that tells of a patient.

What stays is the audit trail, which holds opaque ids and no identity, with an event for each study that went.
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
from db.domain.exchange import CommitmentStatus, PriorStatus
from db.domain.records import AuditEvent, DeliveryStatus
from db.studies.lifecycle import SETTLED, UNFINISHED, locked_study
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.arrivals import InstanceRow, PatientRow, SeriesRow, StudyRow
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

_AT_ONCE = 500


def purgeable_studies(session: Session, before: datetime, *, limit: int = 100) -> tuple[str, ...]:
    """List studies, by our own ids, that nothing happened to since ``before`` and that owe nobody anything.

    A study stays while a series of it is not settled, an analysis is to be done, an object is to be sent or was given
    up (a dead letter), its commitment is still looked after, or earlier studies are fetched for it. An analysis,
    verdict or withdrawal of late keeps it too: something may yet be made of it.
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
    owed = or_(
        DeliveryRow.status.in_((DeliveryStatus.PENDING, DeliveryStatus.FAILED)),
        (DeliveryRow.status == DeliveryStatus.SENT) & DeliveryRow.next_attempt_at.is_not(None),
    )
    is_recent = exists().where(SeriesRow.study_id == StudyRow.id, SeriesRow.last_received_at >= before)
    told = or_(AssessmentRow.created_at >= before, AssessmentRow.withdrawn_at >= before)
    is_judged = exists().where(AssessmentRow.finding_id == FindingRow.id, FindingRow.study_id == StudyRow.id, told)
    withdrawn = exists().where(
        RetractionRow.analysis_id.in_(own.correlate(StudyRow)), RetractionRow.requested_at >= before
    )
    return (
        select(StudyRow.id)
        .where(StudyRow.received_at < before, StudyRow.state.in_(SETTLED), ~is_recent, ~is_judged, ~withdrawn)
        .where(~own.where(unfinished).correlate(StudyRow).exists())
        .where(~exists().where(DeliveryRow.analysis_id.in_(own.correlate(StudyRow)), owed))
        .where(~_under_way(PriorSearchRow), ~_under_way(PriorStudyRow))
    )


def _under_way(table: type[PriorSearchRow | PriorStudyRow]) -> Exists:
    return exists().where(table.study_id == StudyRow.id, table.status == PriorStatus.PENDING)


def purge_study(session: Session, study_id: str, before: datetime) -> tuple[str, ...]:
    """Delete a study, unless it is no longer purgeable; gives the paths of its files, which the caller removes."""
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
        for start in range(0, len(values), _AT_ONCE):
            session.execute(delete(table).where(column.in_(values[start : start + _AT_ONCE])))
    if not session.scalars(select(func.count()).where(StudyRow.patient_row_id == patient)).one():
        session.execute(delete(PatientRow).where(PatientRow.id == patient))
    details: dict[str, object] = {"instances": len(instances), "results": len(results), "analyses": len(analyses)}
    audit.append(session, AuditEvent("study:purged", "system", study_id, details=details))
    return (*instances, *results)


def purge_commitments(session: Session, before: datetime) -> None:
    """Delete commitment requests that were answered, or given up, before a moment: they name instances."""
    forget_securely(session)
    is_over = CommitmentRow.status != CommitmentStatus.PENDING
    session.execute(delete(CommitmentRow).where(is_over, CommitmentRow.updated_at < before))


def named_paths(session: Session, paths: Sequence[str]) -> set[str]:
    """Tell which of these files a row names."""
    found: set[str] = set()
    for start in range(0, len(paths), _AT_ONCE):
        part = paths[start : start + _AT_ONCE]
        for table in (InstanceRow, ResultRow):
            found |= set(session.scalars(select(table.path).where(table.path.in_(part))))
    return found


def forget_securely(session: Session) -> None:
    """Have SQLite overwrite what is deleted; PostgreSQL's own way is its vacuum."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("PRAGMA secure_delete=ON"))


def truncate_log(database: Database) -> None:
    """Have SQLite empty its write-ahead log, which holds what was before, as far as no reader is in the way."""
    if database.engine.dialect.name == "sqlite":
        with contextlib.closing(sqlite3.connect(str(database.engine.url.database), timeout=5)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
