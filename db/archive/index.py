"""Index of stored objects: received instances and our result objects.

``reads_first`` names a blinded reader, for whom only results of studies that they reviewed are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, Subquery, func, literal, select, true, union_all
from sqlalchemy.orm import Session

from db.domain.uids import EXPLICIT_VR_LITTLE_ENDIAN
from db.engine.session import record_of
from db.tables.exchange import ResultRow
from db.tables.studies import InstanceRow, SeriesRow, StudyRow

"""Transfer syntax of results: Explicit VR Little Endian."""
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
    """List the instances of studies, optionally of some series or UIDs, by series and instance number."""
    named = select(StudyRow.id, StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(study_instance_uids))
    studies = {row.id: row.study_instance_uid for row in session.execute(named)}
    if not studies:
        return ()
    candidates = all_instances(list(studies), reads_first)
    statement = select(candidates)
    if series_instance_uids:
        statement = statement.where(candidates.c.series_instance_uid.in_(series_instance_uids))
    if sop_instance_uids:
        statement = statement.where(candidates.c.sop_instance_uid.in_(sop_instance_uids))
    order = (
        candidates.c.series_number,
        candidates.c.series_instance_uid,
        candidates.c.instance_number,
        candidates.c.sop_instance_uid,
    )
    return tuple(
        record_of(ArchivedInstance, row, study_instance_uid=studies[row.study_id])
        for row in session.execute(statement.order_by(*order))
    )


def known_results(session: Session, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return SOP Class UID and path of our result objects by SOP Instance UID; unknown UIDs are left out."""
    results: dict[str, tuple[str, str]] = {}
    statement = select(ResultRow.sop_instance_uid, ResultRow.sop_class_uid, ResultRow.path)
    for batch in batched(sop_instance_uids):
        rows = session.execute(statement.where(ResultRow.sop_instance_uid.in_(batch)))
        results |= {uid: (sop_class_uid, path) for uid, sop_class_uid, path in rows}
    return results


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file named by the index. ``sha256`` is of the dataset of an instance, and of the file of a result."""

    study_instance_uid: str
    sop_instance_uid: str
    path: str
    sha256: str


def indexed_files(session: Session, after: str = "", *, limit: int = 500) -> tuple[IndexedFile, ...]:
    """List the files of all instances and results by SOP Instance UID, starting behind ``after``."""
    received = (
        select(StudyRow.study_instance_uid, InstanceRow.sop_instance_uid, InstanceRow.path, InstanceRow.sha256)
        .join(SeriesRow, SeriesRow.study_id == StudyRow.id)
        .join(InstanceRow, InstanceRow.series_id == SeriesRow.id)
        .where(InstanceRow.sop_instance_uid > after)
        .order_by(InstanceRow.sop_instance_uid)
        .limit(limit)
    )
    results = (
        select(StudyRow.study_instance_uid, ResultRow.sop_instance_uid, ResultRow.path, ResultRow.sha256)
        .join(ResultRow, ResultRow.study_id == StudyRow.id)
        .where(ResultRow.sop_instance_uid > after)
        .order_by(ResultRow.sop_instance_uid)
        .limit(limit)
    )
    rows = [*session.execute(received), *session.execute(results)]
    return tuple(IndexedFile(*row) for row in sorted(rows, key=lambda row: row.sop_instance_uid)[:limit])


def parent_uids(session: Session, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return Study and Series Instance UID of received instances by SOP Instance UID; unknown UIDs are left out."""
    statement = (
        select(InstanceRow.sop_instance_uid, StudyRow.study_instance_uid, SeriesRow.series_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
    )
    parents: dict[str, tuple[str, str]] = {}
    for batch in batched(sop_instance_uids):
        rows = session.execute(statement.where(InstanceRow.sop_instance_uid.in_(batch)))
        parents |= {instance: (study, series) for instance, study, series in rows}
    return parents


def batched(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Split values into batches that fit into one statement."""
    return (values[at : at + size] for at in range(0, len(values), size))


def is_shown(reads_first: str | None) -> ColumnElement[bool]:
    """Return the condition that a result is shown."""
    if reads_first is None:
        return true()
    return ResultRow.study_id.in_(select(StudyRow.id).where(StudyRow.reviewed_by == reads_first))


def all_series(study_ids: Sequence[str] | None = None, reads_first: str | None = None) -> Subquery:
    """Select received and result series, of some studies or of all."""
    received = select(
        SeriesRow.study_id,
        SeriesRow.series_instance_uid,
        SeriesRow.series_number,
        SeriesRow.series_description,
        SeriesRow.modality,
        SeriesRow.instance_count,
    )
    results = (
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
        received, results = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            results.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, results).subquery("every_series")


def all_instances(study_ids: Sequence[str] | None = None, reads_first: str | None = None) -> Subquery:
    """Select received instances and results, of some studies or of all."""
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
    results = select(
        ResultRow.study_id,
        ResultRow.series_instance_uid,
        ResultRow.series_number,
        ResultRow.sop_instance_uid,
        ResultRow.sop_class_uid,
        literal(EXPLICIT_VR_LITTLE_ENDIAN, String()),
        ResultRow.instance_number,
        ResultRow.path,
    ).where(is_shown(reads_first))
    if study_ids is not None:
        received, results = (
            received.where(SeriesRow.study_id.in_(study_ids)),
            results.where(ResultRow.study_id.in_(study_ids)),
        )
    return union_all(received, results).subquery("every_instance")
