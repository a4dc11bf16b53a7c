"""What a retrieval brought: the identity that a study arrived with, and instances that were not asked for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.domain.records import PatientAttributes
from db.engine.session import now
from db.studies.patients import attributes
from db.tables.arrivals import InstanceRow, PatientRow, SeriesRow, StudyRow


def database_time(session: Session) -> datetime:
    """Time by the database's clock, which arrivals are recorded with."""
    return now(session)


def study_identity(session: Session, study_instance_uid: str) -> tuple[PatientAttributes, str] | None:
    """Patient and Accession Number that a study arrived with; None where it is not here."""
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    row = session.execute(statement.where(StudyRow.study_instance_uid == study_instance_uid)).one_or_none()
    return (attributes(row[1]), row[0].accession_number) if row else None


def count_of_other_studies(
    session: Session, study_instance_uid: str, ae_titles: Collection[str], since: datetime
) -> int:
    """Count the instances of other studies that a node has sent, by any of its AE titles, since a moment."""
    statement = (
        select(func.count())
        .select_from(SeriesRow)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .join(InstanceRow, InstanceRow.series_id == SeriesRow.id)
        .where(SeriesRow.last_received_at >= since, StudyRow.study_instance_uid != study_instance_uid)
        .where(InstanceRow.received_at >= since, InstanceRow.calling_ae_title.in_(ae_titles))
    )
    return session.scalar(statement) or 0
