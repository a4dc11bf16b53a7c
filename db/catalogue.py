"""What is here, received and made, as Query/Retrieve asks for it: studies, their series, and objects to fetch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.archive import RESULT_SYNTAX
from db.exchange import CatalogueObject, CatalogueSeries, CatalogueStudy
from db.tables import InstanceRow, PatientRow, ResultRow, SeriesRow, StudyRow

RESULT_DESCRIPTION = "lungnode second reader, not a diagnosis"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class StudyKeys:
    """What narrows a search by index; empty means any. Dates are ``YYYYMMDD``, both ends included."""

    study_instance_uids: tuple[str, ...] = ()
    patient_id: str = ""
    accession_number: str = ""
    date_from: str = ""
    date_to: str = ""


def studies(session: Session, keys: StudyKeys) -> Iterator[CatalogueStudy]:
    """Find studies, latest first."""
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    if keys.study_instance_uids:
        statement = statement.where(StudyRow.study_instance_uid.in_(keys.study_instance_uids))
    if keys.patient_id:
        statement = statement.where(PatientRow.patient_id == keys.patient_id)
    if keys.accession_number:
        statement = statement.where(StudyRow.accession_number == keys.accession_number)
    if keys.date_from:
        statement = statement.where(StudyRow.study_date >= keys.date_from)
    if keys.date_to:
        statement = statement.where(StudyRow.study_date <= keys.date_to, StudyRow.study_date != "")
    found = session.execute(statement.order_by(StudyRow.received_at.desc(), StudyRow.id)).all()
    for start in range(0, len(found), _AT_ONCE):
        part = found[start : start + _AT_ONCE]
        content = _content(session, [study.id for study, _ in part])
        for study, patient in part:
            yield _study(study, patient, content[study.id])


def series(session: Session, study_instance_uid: str) -> tuple[CatalogueSeries, ...]:
    """List the series of a study, received ones first."""
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid)).first()
    return () if study_id is None else tuple(_content(session, [study_id])[study_id])


def objects(
    session: Session,
    study_instance_uids: Sequence[str],
    *,
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
) -> tuple[CatalogueObject, ...]:
    """List instances and result objects of studies, of some of their series, or some of these alone."""
    received = (
        select(InstanceRow, SeriesRow.series_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(StudyRow.study_instance_uid.in_(study_instance_uids))
        .order_by(SeriesRow.series_number, SeriesRow.id, InstanceRow.instance_number, InstanceRow.sop_instance_uid)
    )
    made = (
        select(ResultRow)
        .join(StudyRow, ResultRow.study_id == StudyRow.id)
        .where(StudyRow.study_instance_uid.in_(study_instance_uids))
        .order_by(ResultRow.series_number, ResultRow.instance_number, ResultRow.sop_instance_uid)
    )
    if series_instance_uids:
        received = received.where(SeriesRow.series_instance_uid.in_(series_instance_uids))
        made = made.where(ResultRow.series_instance_uid.in_(series_instance_uids))
    if sop_instance_uids:
        received = received.where(InstanceRow.sop_instance_uid.in_(sop_instance_uids))
        made = made.where(ResultRow.sop_instance_uid.in_(sop_instance_uids))
    return (*map(_received, session.execute(received)), *(_made(row) for row in session.scalars(made)))


def known_results(session: Session, sop_instance_uids: Iterable[str]) -> dict[str, CatalogueObject]:
    """Find result objects of ours by their UIDs; those that are not ours are left out."""
    wanted = list(dict.fromkeys(sop_instance_uids))
    found: dict[str, CatalogueObject] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        statement = select(ResultRow).where(ResultRow.sop_instance_uid.in_(wanted[start : start + _AT_ONCE]))
        found |= {row.sop_instance_uid: _made(row) for row in session.scalars(statement)}
    return found


def _content(session: Session, study_ids: Sequence[str]) -> dict[str, list[CatalogueSeries]]:
    """Series of studies by the study's id: received, then of results."""
    content: dict[str, list[CatalogueSeries]] = defaultdict(list)
    statement = select(SeriesRow).where(SeriesRow.study_id.in_(study_ids))
    for row in session.scalars(statement.order_by(SeriesRow.series_number, SeriesRow.id)):
        one = CatalogueSeries(
            row.series_instance_uid, row.modality, row.series_number, row.series_description, row.instance_count
        )
        content[row.study_id].append(one)
    uid, number = ResultRow.series_instance_uid, ResultRow.series_number
    results = (
        select(ResultRow.study_id, uid, ResultRow.modality, number, func.count())
        .where(ResultRow.study_id.in_(study_ids))
        .group_by(ResultRow.study_id, uid, ResultRow.modality, number)
        .order_by(number, uid)
    )
    for study_id, series_uid, modality, series_number, count in session.execute(results):
        content[study_id].append(CatalogueSeries(series_uid, modality, series_number, RESULT_DESCRIPTION, count))
    return content


def _study(study: StudyRow, patient: PatientRow, content: Sequence[CatalogueSeries]) -> CatalogueStudy:
    return CatalogueStudy(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_time=study.study_time,
        accession_number=study.accession_number,
        study_description=study.study_description,
        referring_physician=study.referring_physician,
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        patient_name=patient.name,
        birth_date=patient.birth_date,
        sex=patient.sex,
        modalities=tuple(sorted({one.modality for one in content if one.modality})),
        series_count=len(content),
        instance_count=sum(one.instance_count for one in content),
    )


def _received(found: tuple[InstanceRow, str]) -> CatalogueObject:
    row, series_instance_uid = found
    return CatalogueObject(
        series_instance_uid=series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        instance_number=row.instance_number,
        path=row.path,
    )


def _made(row: ResultRow) -> CatalogueObject:
    return CatalogueObject(
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=RESULT_SYNTAX,
        instance_number=row.instance_number,
        path=row.path,
    )
