"""Studies: taking them in, and showing one with all that is known of it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.analyses import analyses_of_study
from db.arrivals import record_arrivals, record_instance, record_instances
from db.deliveries import deliveries_of_study
from db.domain import AuditEvent, OtherStudy, SeriesRecord, StudyDetail, StudyState
from db.errors import UnknownRecordError
from db.findings import findings_of_study
from db.instances import (
    input_digest,
    instance_record,
    receiving_series,
    resolve_instance,
    series_instances,
    series_of_row,
    series_of_study,
    series_record,
)
from db.lifecycle import locked_study
from db.result_failures import failures_of_studies
from db.tables import PatientRow, SeriesRow, StudyRow
from db.worklist import worklist_item

__all__ = [
    "force_complete",
    "input_digest",
    "instance_record",
    "receiving_series",
    "record_arrivals",
    "record_instance",
    "record_instances",
    "resolve_instance",
    "series_instances",
    "series_record",
    "study_detail",
]


def study_detail(session: Session, study_instance_uid: str) -> StudyDetail | None:
    """Return a study with all that belongs to it and the patient's other studies, or None."""
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    found = session.execute(statement.where(StudyRow.study_instance_uid == study_instance_uid)).one_or_none()
    if found is None:
        return None
    study, patient = found
    return StudyDetail(
        item=worklist_item(session, study, patient, failures_of_studies(session, [study.id]).get(study.id, ())),
        series=series_of_study(session, study.id),
        analyses=analyses_of_study(session, study.id),
        findings=findings_of_study(session, study.id),
        deliveries=deliveries_of_study(session, study.id),
        others=_others(session, study),
    )


def _others(session: Session, study: StudyRow) -> tuple[OtherStudy, ...]:
    """List the other studies of the same patient; whom ids or names tell apart are not the same (``db.patients``)."""
    statement = select(StudyRow).where(StudyRow.patient_row_id == study.patient_row_id, StudyRow.id != study.id)
    rows = session.scalars(statement.order_by(StudyRow.study_date.desc(), StudyRow.study_time.desc(), StudyRow.id))
    return tuple(
        OtherStudy(row.study_instance_uid, row.study_date, row.study_description, row.instance_count) for row in rows
    )


def force_complete(session: Session, study_uid: str, *, requested_by: str) -> tuple[SeriesRecord, ...]:
    """Stop waiting for further instances of a study: its receiving series count as complete now.

    Raises
    ------
    UnknownRecordError
        If there is no such study.
    """
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == study_uid)).one_or_none()
    if study_id is None:
        raise UnknownRecordError("study")
    locked_study(session, study_id)
    statement = select(SeriesRow).where(SeriesRow.study_id == study_id, SeriesRow.state == StudyState.RECEIVING)
    rows = session.scalars(statement.execution_options(populate_existing=True)).all()
    for row in rows:
        row.is_forced = True
        audit.append(session, AuditEvent("series:forced", requested_by, row.id, details={"study": study_id}))
    return tuple(series_of_row(row, study_uid) for row in rows)
