"""Checks of a retrieval: identity of the received study, and unrequested instances."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.domain.studies import PatientAttributes
from db.engine.session import now
from db.studies.patients import attributes
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow


def database_time(session: Session) -> datetime:
    """Return the time of the database's clock, by which arrivals are recorded."""
    return now(session)


def study_identity(session: Session, study_instance_uid: str) -> tuple[PatientAttributes, str] | None:
    """Return patient and Accession Number of a stored study, or None."""
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    row = session.execute(statement.where(StudyRow.study_instance_uid == study_instance_uid)).one_or_none()
    return (attributes(row[1]), row[0].accession_number) if row else None


def count_of_other_studies(
    session: Session, study_instance_uid: str, ae_titles: Collection[str], since: datetime
) -> int:
    """Return the number of instances of other studies that a node sent, under any of its AE titles, since a time."""
    statement = (
        select(func.count())
        .select_from(SeriesRow)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .join(InstanceRow, InstanceRow.series_id == SeriesRow.id)
        .where(SeriesRow.last_received_at >= since, StudyRow.study_instance_uid != study_instance_uid)
        .where(InstanceRow.received_at >= since, InstanceRow.calling_ae_title.in_(ae_titles))
    )
    return session.scalar(statement) or 0
