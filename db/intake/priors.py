"""Priors: searches for a patient's earlier studies in PACS, and their retrieval."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import and_, exists, null, or_, select, update
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.exchange import PriorSearch, PriorShortfall, PriorStatus, PriorStudy
from db.domain.reasons import Reason
from db.domain.studies import PatientAttributes, StudyState
from db.engine.due_times import is_due
from db.engine.session import free_text, insert_once, key_text, new_id, now, record_of, required
from db.studies.lifecycle import locked_study, refresh_study
from db.studies.patients import attributes
from db.tables.analyses import AnalysisRow
from db.tables.exchange import PriorSearchRow, PriorStudyRow
from db.tables.studies import PatientRow, SeriesRow, StudyRow

SET_ASIDE = Reason("prior", "A prior, retrieved for comparison; it is analysed on request.")
RECENT = timedelta(days=2)
"""Age of arrival beyond which no priors are searched for."""


def begin_searches(session: Session, pacs: str) -> int:
    """Schedule a search for priors in a PACS for each recent study; return the number of new searches."""
    is_known = exists().where(PriorSearchRow.study_id == StudyRow.id, PriorSearchRow.pacs == pacs)
    is_prior = exists().where(PriorStudyRow.study_instance_uid == StudyRow.study_instance_uid)
    moment = now(session)
    statement = select(StudyRow.id).where(StudyRow.received_at > moment - RECENT, ~is_known, ~is_prior)
    study_ids = session.scalars(statement.limit(100)).all()
    for study_id in study_ids:
        values = {
            "study_id": study_id,
            "pacs": pacs,
            "status": PriorStatus.PENDING,
            "attempts": 0,
            "reason": "",
            "next_attempt_at": moment,
            "created_at": moment,
            "updated_at": moment,
        }
        insert_once(session, PriorSearchRow, values)
    return len(study_ids)


def needs_searches(session: Session, pacs: str) -> bool:
    """Return whether a recent study has no search yet."""
    is_known = exists().where(PriorSearchRow.study_id == StudyRow.id, PriorSearchRow.pacs == pacs)
    is_prior = exists().where(PriorStudyRow.study_instance_uid == StudyRow.study_instance_uid)
    statement = select(StudyRow.id).where(StudyRow.received_at > now(session) - RECENT, ~is_known, ~is_prior)
    return session.scalars(statement.limit(1)).first() is not None


def due_searches(session: Session, pacs: str, *, now: datetime) -> tuple[PriorSearch, ...]:
    """List the due searches in a PACS, oldest first."""
    statement = (
        select(PriorSearchRow, StudyRow, PatientRow)
        .join(StudyRow, PriorSearchRow.study_id == StudyRow.id)
        .join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
        .where(PriorSearchRow.pacs == pacs, PriorSearchRow.status == PriorStatus.PENDING)
        .where(is_due(PriorSearchRow.next_attempt_at, now))
        .order_by(PriorSearchRow.created_at, PriorSearchRow.study_id)
    )
    return tuple(
        PriorSearch(
            study_id=study.id,
            study_instance_uid=study.study_instance_uid,
            pacs=row.pacs,
            status=row.status,
            attempts=row.attempts,
            patient_id=patient.patient_id,
            birth_date=patient.birth_date,
            study_date=study.study_date,
            issuer=patient.issuer,
        )
        for row, study, patient in session.execute(statement)
    )


def record_search(
    session: Session, study_id: str, pacs: str, status: PriorStatus, reason: str = "", retry_at: datetime | None = None
) -> None:
    """Record the outcome of a search; a pending one is retried at ``retry_at``."""
    row = required(
        session.get(PriorSearchRow, (study_id, pacs), with_for_update=True, populate_existing=True), "search"
    )
    row.status, row.reason, row.next_attempt_at = status, free_text(reason), retry_at
    row.attempts += 1
    row.updated_at = now(session)
    if status is not PriorStatus.PENDING:
        outcome = "success" if status is PriorStatus.DONE else "failure"
        details: dict[str, object] = {"pacs": pacs, "reason": row.reason}
        audit.append(session, AuditEvent("priors:searched", "system", study_id, outcome, details))


def request_prior(session: Session, study_id: str, pacs: str, study_instance_uid: str, expected_count: int) -> bool:
    """Schedule the retrieval of a prior; False if it is stored or scheduled already."""
    uid = key_text("study_instance_uid", study_instance_uid, limit=64)
    if session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).first() is not None:
        return False
    moment = now(session)
    values = {
        "id": new_id(),
        "study_id": study_id,
        "pacs": pacs,
        "study_instance_uid": uid,
        "status": PriorStatus.PENDING,
        "expected_count": expected_count,
        "received_count": 0,
        "attempts": 0,
        "reason": "",
        "next_attempt_at": moment,
        "created_at": moment,
        "updated_at": moment,
    }
    return insert_once(session, PriorStudyRow, values)


def due_priors(session: Session, pacs: str, *, now: datetime) -> tuple[PriorStudy, ...]:
    """List the priors due for retrieval from a PACS, oldest request first."""
    statement = (
        select(PriorStudyRow)
        .where(PriorStudyRow.pacs == pacs, PriorStudyRow.status == PriorStatus.PENDING)
        .where(is_due(PriorStudyRow.next_attempt_at, now))
        .order_by(PriorStudyRow.created_at, PriorStudyRow.id)
    )
    return tuple(_prior(row) for row in session.scalars(statement))


def patient_of(session: Session, study_id: str) -> PatientAttributes:
    """Return the patient of a study."""
    statement = select(PatientRow).join(StudyRow, StudyRow.patient_row_id == PatientRow.id)
    return attributes(session.scalars(statement.where(StudyRow.id == study_id)).one())


def record_prior(
    session: Session,
    prior_id: str,
    status: PriorStatus,
    *,
    counts: tuple[int, int],
    reason: str = "",
    retry_at: datetime | None = None,
) -> None:
    """Record the outcome of a retrieval; ``counts`` are the PACS's number of instances and the received one."""
    row = required(session.get(PriorStudyRow, prior_id, with_for_update=True, populate_existing=True), "earlier study")
    row.status, row.reason, row.next_attempt_at = status, free_text(reason), retry_at
    row.expected_count, row.received_count = counts
    row.attempts += 1
    row.updated_at = now(session)
    if status is not PriorStatus.PENDING:
        outcome = "success" if status is PriorStatus.DONE else "failure"
        details: dict[str, object] = {"pacs": row.pacs, "expected": counts[0], "received": counts[1]}
        if row.reason:
            details["reason"] = row.reason
        audit.append(session, AuditEvent("prior:fetched", "system", row.id, outcome, details))


def shortfalls(session: Session, *, limit: int = 50) -> tuple[PriorShortfall, ...]:
    """List failed searches and incomplete priors, latest change first.

    Recent complete priors with a ``reason`` are included.
    """
    is_short = (PriorStatus.INCOMPLETE, PriorStatus.FAILED)
    items: list[PriorShortfall] = []
    for table, counts in (
        (PriorStudyRow, (PriorStudyRow.expected_count, PriorStudyRow.received_count)),
        (PriorSearchRow, (null(), null())),
    ):
        was_attempted = and_(table.status == PriorStatus.PENDING, table.attempts > 0)
        is_lately = table.updated_at > now(session) - RECENT
        is_noted = and_(table.status == PriorStatus.DONE, table.reason != "", is_lately)
        statement = (
            select(table, StudyRow.study_instance_uid, *counts)
            .join(StudyRow, table.study_id == StudyRow.id)
            .where(or_(table.status.in_(is_short), was_attempted, is_noted))
            .order_by(table.updated_at.desc())
            .limit(limit)
        )
        for row, study_instance_uid, expected, received in session.execute(statement):
            item = record_of(
                PriorShortfall,
                row,
                study_instance_uid=study_instance_uid,
                expected_count=expected,
                received_count=received,
            )
            items.append(item)
    return tuple(sorted(items, key=lambda item: item.updated_at, reverse=True)[:limit])


def retry_failed(session: Session, *, requested_by: str) -> int:
    """Reschedule every failed search and incomplete retrieval with all its attempts; return their number."""
    moment, count = now(session), 0
    fresh = {"status": PriorStatus.PENDING, "attempts": 0, "next_attempt_at": moment, "updated_at": moment}
    for table in (PriorStudyRow, PriorSearchRow):
        has_failed = table.status.in_((PriorStatus.INCOMPLETE, PriorStatus.FAILED))
        count += session.execute(update(table).where(has_failed).values(fresh)).rowcount  # type: ignore[attr-defined]
    if count:
        audit.append(session, AuditEvent("priors:requested", requested_by, details={"count": count}))
    return count


def set_aside(session: Session, series_id: str, study_instance_uid: str) -> bool:
    """Mark a complete series of a prior as not analysed, unless its analysis was requested; return whether it did."""
    is_prior = select(PriorStudyRow.id).where(PriorStudyRow.study_instance_uid == study_instance_uid)
    if session.scalars(is_prior).first() is None:
        return False
    series = session.get_one(SeriesRow, series_id)
    study = locked_study(session, series.study_id)
    if session.scalars(select(AnalysisRow.id).where(AnalysisRow.series_id == series_id)).first() is not None:
        return False
    series.state, series.reasons, series.is_forced = StudyState.NOT_ANALYSED, (SET_ASIDE,), False
    refresh_study(session, study)
    audit.append(session, AuditEvent("series:set_aside", "system", series.id, details={"study": study.id}))
    return True


def _prior(row: PriorStudyRow) -> PriorStudy:
    return record_of(PriorStudy, row)
