"""A study with its series, analyses, findings, deliveries and the patient's other studies."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.analyses.analyses import analyses_of_study
from db.analyses.findings import findings_of_study
from db.domain.studies import OtherStudy
from db.domain.worklist import StudyDetail
from db.results.deliveries import deliveries_of_study
from db.studies.instances import (
    series_of_study,
)
from db.tables.studies import PatientRow, StudyRow
from db.worklist.rows import worklist_item


def study_detail(session: Session, study_instance_uid: str) -> StudyDetail | None:
    """Return a study with its parts and the patient's other studies, or None."""
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    row = session.execute(statement.where(StudyRow.study_instance_uid == study_instance_uid)).one_or_none()
    if row is None:
        return None
    study, patient = row
    return StudyDetail(
        item=worklist_item(session, study, patient),
        series=series_of_study(session, study.id),
        analyses=analyses_of_study(session, study.id),
        findings=findings_of_study(session, study.id),
        deliveries=deliveries_of_study(session, study.id),
        others=_others(session, study),
    )


def _others(session: Session, study: StudyRow) -> tuple[OtherStudy, ...]:
    """List the other studies of the same patient, as identified by ``db.studies.patients``."""
    statement = select(StudyRow).where(StudyRow.patient_row_id == study.patient_row_id, StudyRow.id != study.id)
    rows = session.scalars(statement.order_by(StudyRow.study_date.desc(), StudyRow.study_time.desc(), StudyRow.id))
    return tuple(
        OtherStudy(row.study_instance_uid, row.study_date, row.study_description, row.instance_count) for row in rows
    )
