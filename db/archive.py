"""What is stored, as an archive is asked for it: instances by study, series and SOP Instance UID."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import InstanceRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class ArchivedInstance:
    """An instance that can be retrieved. ``path`` is relative to the store's root."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    path: str
    size_bytes: int


def instances(
    session: Session, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> tuple[ArchivedInstance, ...]:
    """List the instances of a study, of one of its series, or one of them; by series and image number."""
    statement = (
        select(InstanceRow, SeriesRow.series_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(StudyRow.study_instance_uid == study_uid)
        .order_by(SeriesRow.series_number, SeriesRow.id, InstanceRow.instance_number, InstanceRow.sop_instance_uid)
    )
    if series_uid is not None:
        statement = statement.where(SeriesRow.series_instance_uid == series_uid)
    if sop_uid is not None:
        statement = statement.where(InstanceRow.sop_instance_uid == sop_uid)
    return tuple(
        ArchivedInstance(
            study_instance_uid=study_uid,
            series_instance_uid=series,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            instance_number=row.instance_number,
            path=row.path,
            size_bytes=row.size_bytes,
        )
        for row, series in session.execute(statement)
    )
