"""Which studies readers are done with."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.errors import UnknownRecordError
from db.domain.records import AuditEvent
from db.engine.session import now
from db.studies.lifecycle import locked_study
from db.tables.arrivals import StudyRow


def review_study(session: Session, study_uid: str, *, reviewed_by: str) -> None:
    """Say that a study is dealt with, as far as it has got; images and answers that come later reopen it.

    Raises
    ------
    UnknownRecordError
        If there is no such study.
    """
    study = _study(session, study_uid)
    if study.reviewed_at is None:
        study.reviewed_at, study.reviewed_by = now(session), reviewed_by
        audit.append(session, AuditEvent("study:reviewed", reviewed_by, study.id, details=_seen(study)))


def reopen_study(session: Session, study_uid: str, *, reopened_by: str) -> None:
    """Say that a study is to be read after all.

    Raises
    ------
    UnknownRecordError
        If there is no such study.
    """
    study = _study(session, study_uid)
    if study.reviewed_at is not None:
        study.reviewed_at = study.reviewed_by = None
        audit.append(session, AuditEvent("study:reopened", reopened_by, study.id, details=_seen(study)))


def _study(session: Session, study_uid: str) -> StudyRow:
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == study_uid)).one_or_none()
    if study_id is None:
        raise UnknownRecordError("study")
    return locked_study(session, study_id)


def _seen(study: StudyRow) -> dict[str, object]:
    """What the study had come to when this was said."""
    return {"state": study.state.value, "instances": study.instance_count, "findings": study.finding_count}
