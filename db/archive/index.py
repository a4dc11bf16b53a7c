"""What is stored, as an archive is asked for it: received instances and the results that were made of them.

Whoever ``reads_first``, named where it is given, is shown the results of those studies alone that they are done with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, Subquery, func, literal, select, true, union_all
from sqlalchemy.orm import Session

from db.tables.arrivals import InstanceRow, SeriesRow, StudyRow
from db.tables.exchange import ResultRow

RESULT_SYNTAX = "1.2.840.10008.1.2.1"
"""Results are made in Explicit VR Little Endian."""
RESULT_DESCRIPTION = "lungnode second reader, not a diagnosis"
"""Series Description of results."""


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
    session: Session,
    study_instance_uids: Sequence[str],
    *,
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
    reads_first: str | None = None,
) -> tuple[ArchivedInstance, ...]:
    """List the instances of studies, of some of their series, or some of these alone; by series and image number."""
    named = select(StudyRow.id, StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(study_instance_uids))
    studies = {row.id: row.study_instance_uid for row in session.execute(named)}
    if not studies:
        return ()
    every = all_instances(list(studies), reads_first)
    statement = select(every)
    if series_instance_uids:
        statement = statement.where(every.c.series_instance_uid.in_(series_instance_uids))
    if sop_instance_uids:
        statement = statement.where(every.c.sop_instance_uid.in_(sop_instance_uids))
    order = (every.c.series_number, every.c.series_instance_uid, every.c.instance_number, every.c.sop_instance_uid)
    return tuple(
        ArchivedInstance(
            study_instance_uid=studies[row.study_id],
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            instance_number=row.instance_number,
            path=row.path,
        )
        for row in session.execute(statement.order_by(*order))
    )


def known_results(session: Session, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Find result objects of ours by their UIDs: class and path; those that are not ours are left out."""
    found: dict[str, tuple[str, str]] = {}
    statement = select(ResultRow.sop_instance_uid, ResultRow.sop_class_uid, ResultRow.path)
    for chosen in batched(sop_instance_uids):
        rows = session.execute(statement.where(ResultRow.sop_instance_uid.in_(chosen)))
        found |= {uid: (sop_class_uid, path) for uid, sop_class_uid, path in rows}
    return found


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file that a row names. ``sha256`` is that of its dataset, empty of results, of which none is known."""

    study_instance_uid: str
    sop_instance_uid: str
    path: str
    sha256: str


def indexed_files(session: Session, after: str = "", *, limit: int = 500) -> tuple[IndexedFile, ...]:
    """List the files of all instances and results, by SOP Instance UID, those behind ``after``."""
    received = (
        select(StudyRow.study_instance_uid, InstanceRow.sop_instance_uid, InstanceRow.path, InstanceRow.sha256)
        .join(SeriesRow, SeriesRow.study_id == StudyRow.id)
        .join(InstanceRow, InstanceRow.series_id == SeriesRow.id)
        .where(InstanceRow.sop_instance_uid > after)
        .order_by(InstanceRow.sop_instance_uid)
        .limit(limit)
    )
    made = (
        select(StudyRow.study_instance_uid, ResultRow.sop_instance_uid, ResultRow.path, literal("", String()))
        .join(ResultRow, ResultRow.study_id == StudyRow.id)
        .where(ResultRow.sop_instance_uid > after)
        .order_by(ResultRow.sop_instance_uid)
        .limit(limit)
    )
    rows = [*session.execute(received), *session.execute(made)]
    return tuple(IndexedFile(*row) for row in sorted(rows, key=lambda row: row.sop_instance_uid)[:limit])


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


def is_shown(reads_first: str | None) -> ColumnElement[bool]:
    """Whether a result is shown."""
    if reads_first is None:
        return true()
    return ResultRow.study_id.in_(select(StudyRow.id).where(StudyRow.reviewed_by == reads_first))


def all_series(study_ids: Sequence[str] | None = None, reads_first: str | None = None) -> Subquery:
    """Select the series of some studies, or of all: those received, and those of results."""
    received = select(
        SeriesRow.study_id,
        SeriesRow.series_instance_uid,
        SeriesRow.series_number,
        SeriesRow.series_description,
        SeriesRow.modality,
        SeriesRow.instance_count,
    )
    made = (
        select(
            ResultRow.study_id,
            ResultRow.series_instance_uid,
            func.min(ResultRow.series_number),
            literal(RESULT_DESCRIPTION, String()),
            func.min(ResultRow.modality),
            func.count(),
        )
        .where(is_shown(reads_first))
        .group_by(ResultRow.study_id, ResultRow.series_instance_uid)
    )
    if study_ids is not None:
        received, made = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            made.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, made).subquery("every_series")


def all_instances(study_ids: Sequence[str] | None = None, reads_first: str | None = None) -> Subquery:
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
    ).where(is_shown(reads_first))
    if study_ids is not None:
        received, made = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            made.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, made).subquery("every_instance")
