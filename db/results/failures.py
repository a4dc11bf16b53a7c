"""Failures to create result objects, with attempts and retries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.errors import UnknownRecordError
from db.domain.exchange import ResultFailure
from db.domain.reasons import Reason
from db.engine.session import free_text, new_id, now, record_of, required
from db.results.objects import RETRACTION, VERIFIED
from db.tables.analyses import AnalysisRow
from db.tables.exchange import ResultFailureRow, ResultRow
from db.tables.studies import SeriesRow, StudyRow

FIRST_PAUSE = timedelta(seconds=30)
"""Pause after a first failure; each further one doubles it. A workflow makes three attempts at once, so a cause that
passes, such as a machine out of memory, delays results by half a minute."""
LONGEST_PAUSE = timedelta(hours=4)
MAX_ATTEMPTS = 14
"""Automatic attempts; further ones have to be requested."""


def record_failure(session: Session, analysis_id: str, purpose: str, reason: str) -> ResultFailure:
    """Record a failure to create objects of an analysis for one purpose; delays between attempts grow.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    required(session.get(AnalysisRow, analysis_id), "analysis")
    row, moment = _row(session, analysis_id, purpose), now(session)
    if row is None:
        row = ResultFailureRow(id=new_id(), analysis_id=analysis_id, purpose=purpose, attempts=0, created_at=moment)
        session.add(row)
    row.attempts += 1
    row.reason, row.updated_at = free_text(reason), moment
    pause = min(FIRST_PAUSE * 2 ** min(row.attempts - 1, 10), LONGEST_PAUSE)
    row.next_attempt_at = moment + pause if row.attempts < MAX_ATTEMPTS else None
    session.flush()
    details: dict[str, object] = {"purpose": purpose, "reason": row.reason, "attempts": row.attempts}
    audit.append(session, AuditEvent("results:failed", "system", analysis_id, "failure", details))
    return _record(row, *_study_of(session, analysis_id))


def request_remake(session: Session, path: str) -> bool:
    """Have a damaged or missing result file made again by a worker; False if the path is not that of a result."""
    result = session.scalars(select(ResultRow).where(ResultRow.path == path)).first()
    if result is None:
        return False
    purpose = {VERIFIED: "verified", RETRACTION: "retraction"}.get(result.kind, "report")
    record_failure(session, result.analysis_id, purpose, "a stored object is damaged")
    row = _row(session, result.analysis_id, purpose)
    if row is not None:
        row.next_attempt_at = now(session)
    session.flush()
    return True


def clear_failure(session: Session, analysis_id: str, purpose: str) -> bool:
    """Delete the failure after success; False if none was on record."""
    row = _row(session, analysis_id, purpose)
    if row is None:
        return False
    session.delete(row)
    audit.append(session, AuditEvent("results:recovered", "system", analysis_id, details={"purpose": purpose}))
    return True


def result_failures(session: Session, *, limit: int = 200) -> tuple[ResultFailure, ...]:
    """List the failures, latest first."""
    rows = session.execute(_statement().order_by(ResultFailureRow.updated_at.desc(), ResultFailureRow.id).limit(limit))
    return tuple(_record(*row) for row in rows)


def failure_count(session: Session) -> int:
    """Return the number of failures."""
    return session.scalars(select(func.count()).select_from(ResultFailureRow)).one()


def failures_of_studies(session: Session, study_ids: Iterable[str]) -> dict[str, tuple[ResultFailure, ...]]:
    """Return the failures of studies by our own study ids; studies without any are left out."""
    rows = session.execute(_statement().where(StudyRow.id.in_(list(study_ids))).order_by(ResultFailureRow.created_at))
    listed: dict[str, tuple[ResultFailure, ...]] = {}
    for row, study_id, study_uid in rows:
        listed[study_id] = (*listed.get(study_id, ()), _record(row, study_id, study_uid))
    return listed


def reasons_of(failures: Iterable[ResultFailure]) -> tuple[Reason, ...]:
    """Return failures as reasons for display."""
    return tuple(
        Reason(
            "results_failed",
            "Result objects for the PACS could not be created: {reason}.".format(reason=failure.reason),
        )
        for failure in failures
    )


def due_failures(session: Session) -> tuple[ResultFailure, ...]:
    """List the failures whose retry is due, longest due first."""
    due = _statement().where(ResultFailureRow.next_attempt_at <= now(session))
    return tuple(_record(*row) for row in session.execute(due.order_by(ResultFailureRow.next_attempt_at)))


def waiting_failures(session: Session) -> frozenset[tuple[str, str]]:
    """Return the failures not due now, as ``(analysis, purpose)``."""
    later = or_(ResultFailureRow.next_attempt_at.is_(None), ResultFailureRow.next_attempt_at > now(session))
    rows = session.execute(select(ResultFailureRow.analysis_id, ResultFailureRow.purpose).where(later))
    return frozenset((analysis_id, purpose) for analysis_id, purpose in rows)


def retry_failures(session: Session, *, requested_by: str, analysis_id: str | None = None) -> tuple[ResultFailure, ...]:
    """Schedule a retry of the failures of one analysis or of all; a worker takes them within seconds.

    Raises
    ------
    UnknownRecordError
        If that analysis has no failure.
    """
    statement = _statement()
    if analysis_id is not None:
        statement = statement.where(ResultFailureRow.analysis_id == analysis_id)
    rows = session.execute(statement.order_by(ResultFailureRow.created_at, ResultFailureRow.id)).all()
    if analysis_id is not None and not rows:
        raise UnknownRecordError("result")
    for row, _, _ in rows:
        row.next_attempt_at = now(session)
        row.attempts = min(row.attempts, MAX_ATTEMPTS - 1)
        details: dict[str, object] = {"purpose": row.purpose}
        audit.append(session, AuditEvent("results:retried", requested_by, row.analysis_id, details=details))
    session.flush()
    return tuple(_record(*row) for row in rows)


def _statement() -> Select[ResultFailureRow, str, str]:
    return (
        select(ResultFailureRow, StudyRow.id, StudyRow.study_instance_uid)
        .join(AnalysisRow, ResultFailureRow.analysis_id == AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
    )


def _row(session: Session, analysis_id: str, purpose: str) -> ResultFailureRow | None:
    statement = select(ResultFailureRow).where(
        ResultFailureRow.analysis_id == analysis_id, ResultFailureRow.purpose == purpose
    )
    return session.scalars(statement).one_or_none()


def _study_of(session: Session, analysis_id: str) -> tuple[str, str]:
    statement = select(StudyRow.id, StudyRow.study_instance_uid).join(SeriesRow, SeriesRow.study_id == StudyRow.id)
    study_id, study_uid = session.execute(
        statement.join(AnalysisRow, AnalysisRow.series_id == SeriesRow.id).where(AnalysisRow.id == analysis_id)
    ).one()
    return study_id, study_uid


def _record(row: ResultFailureRow, _study_id: str, study_uid: str) -> ResultFailure:
    return record_of(ResultFailure, row, study_instance_uid=study_uid)
