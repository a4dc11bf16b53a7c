"""What is stored, as an archive is asked for it: received instances and the results that were made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import String, Subquery, func, literal, select, union_all
from sqlalchemy.orm import Session

from db.tables import InstanceRow, ResultRow, SeriesRow, StudyRow

RESULT_SYNTAX = "1.2.840.10008.1.2.1"
"""Results are made in Explicit VR Little Endian."""


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


def instances(
    session: Session, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> tuple[ArchivedInstance, ...]:
    """List the instances of a study, of one of its series, or one of them; by series and image number."""
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == study_uid)).one_or_none()
    if study_id is None:
        return ()
    every = all_instances([study_id])
    statement = select(every)
    if series_uid is not None:
        statement = statement.where(every.c.series_instance_uid == series_uid)
    if sop_uid is not None:
        statement = statement.where(every.c.sop_instance_uid == sop_uid)
    order = (every.c.series_number, every.c.series_instance_uid, every.c.instance_number, every.c.sop_instance_uid)
    return tuple(
        ArchivedInstance(
            study_instance_uid=study_uid,
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            instance_number=row.instance_number,
            path=row.path,
        )
        for row in session.execute(statement.order_by(*order))
    )


def places(session: Session, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Tell study and series of received instances, by SOP Instance UID; those that are not here are left out."""
    statement = (
        select(InstanceRow.sop_instance_uid, StudyRow.study_instance_uid, SeriesRow.series_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
    )
    found: dict[str, tuple[str, str]] = {}
    for chosen in batched(sop_instance_uids):
        rows = session.execute(statement.where(InstanceRow.sop_instance_uid.in_(chosen)))
        found |= {instance: (study, series) for instance, study, series in rows}
    return found


def batched(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Cut a list into pieces that a statement can name."""
    return (values[at : at + size] for at in range(0, len(values), size))


def all_series(study_ids: Sequence[str] | None = None) -> Subquery:
    """Select the series of some studies, or of all: those received, and those of results."""
    received = select(
        SeriesRow.study_id,
        SeriesRow.series_instance_uid,
        SeriesRow.series_number,
        SeriesRow.series_description,
        SeriesRow.modality,
        SeriesRow.instance_count,
    )
    made = select(
        ResultRow.study_id,
        ResultRow.series_instance_uid,
        func.min(ResultRow.series_number),
        literal("", String()),
        func.min(ResultRow.modality),
        func.count(),
    ).group_by(ResultRow.study_id, ResultRow.series_instance_uid)
    if study_ids is not None:
        received, made = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            made.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, made).subquery("every_series")


def all_instances(study_ids: Sequence[str] | None = None) -> Subquery:
    """Select the instances of some studies, or of all: those received, and results."""
    received = select(
        SeriesRow.study_id,
        SeriesRow.series_instance_uid,
        SeriesRow.series_number,
        InstanceRow.sop_instance_uid,
        InstanceRow.sop_class_uid,
        InstanceRow.transfer_syntax_uid,
        InstanceRow.instance_number,
        InstanceRow.path,
    ).join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
    made = select(
        ResultRow.study_id,
        ResultRow.series_instance_uid,
        ResultRow.series_number,
        ResultRow.sop_instance_uid,
        ResultRow.sop_class_uid,
        literal(RESULT_SYNTAX, String()),
        ResultRow.instance_number,
        ResultRow.path,
    )
    if study_ids is not None:
        received, made = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            made.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, made).subquery("every_instance")
