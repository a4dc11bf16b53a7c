"""Manual completion of studies, so that they are analysed as received."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.studies import SeriesRecord, StudyState
from db.studies.instances import series_of_row
from db.studies.lifecycle import locked_study, study_id_of
from db.tables.studies import SeriesRow


def force_complete(session: Session, study_uid: str, *, requested_by: str) -> tuple[SeriesRecord, ...]:
    """Mark the receiving series of a study as complete.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study_id = locked_study(session, study_id_of(session, study_uid)).id
    statement = select(SeriesRow).where(SeriesRow.study_id == study_id, SeriesRow.state == StudyState.RECEIVING)
    rows = session.scalars(statement.execution_options(populate_existing=True)).all()
    for row in rows:
        row.is_forced = True
        audit.append(session, AuditEvent("series:forced", requested_by, row.id, details={"study": study_id}))
    return tuple(series_of_row(row, study_uid) for row in rows)
