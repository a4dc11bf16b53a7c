"""Review status and assignment of studies."""

from __future__ import annotations

from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.engine.session import now
from db.studies.lifecycle import locked_study, study_id_of
from db.tables.studies import StudyRow


def review_study(session: Session, study_uid: str, *, reviewed_by: str) -> None:
    """Mark a study as reviewed; images and results that arrive later reopen it.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study = _study(session, study_uid)
    if study.reviewed_at is None:
        study.reviewed_at, study.reviewed_by = now(session), reviewed_by
        audit.append(session, AuditEvent("study:reviewed", reviewed_by, study.id, details=_details(study)))


def reopen_study(session: Session, study_uid: str, *, reopened_by: str) -> None:
    """Mark a study as unread.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study = _study(session, study_uid)
    if study.reviewed_at is not None:
        study.reviewed_at = study.reviewed_by = None
        audit.append(session, AuditEvent("study:reopened", reopened_by, study.id, details=_details(study)))


def assign_study(session: Session, study_uid: str, *, reader: str) -> None:
    """Assign a study to a reader, who replaces an earlier one. It hinders no one else from reading.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study = _study(session, study_uid)
    if study.assigned_to != reader:
        details: dict[str, object] = {"before": study.assigned_to}
        study.assigned_to = reader
        audit.append(session, AuditEvent("study:assigned", reader, study.id, details=details))


def unassign_study(session: Session, study_uid: str, *, unassigned_by: str) -> None:
    """End the assignment of a study.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study = _study(session, study_uid)
    if study.assigned_to is not None:
        details: dict[str, object] = {"before": study.assigned_to}
        study.assigned_to = None
        audit.append(session, AuditEvent("study:unassigned", unassigned_by, study.id, details=details))


def _study(session: Session, study_uid: str) -> StudyRow:
    return locked_study(session, study_id_of(session, study_uid))


def _details(study: StudyRow) -> dict[str, object]:
    """Return the audit details: state, instances and findings at that time."""
    return {"state": study.state.value, "instances": study.instance_count, "findings": study.finding_count}
