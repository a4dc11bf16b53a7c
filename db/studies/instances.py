"""Records of series and instances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db.domain.studies import InstanceRecord, SeriesRecord, StudyState
from db.engine.session import record_of
from db.tables.studies import InstanceRow, SeriesRow, StudyRow


def receiving_series(session: Session, study_instance_uid: str | None = None) -> tuple[SeriesRecord, ...]:
    """List the series still being received, of one study or of all, longest quiet first."""
    statement = series_statement().where(SeriesRow.state == StudyState.RECEIVING)
    if study_instance_uid is not None:
        statement = statement.where(StudyRow.study_instance_uid == study_instance_uid)
    rows = session.execute(statement.order_by(SeriesRow.last_received_at, SeriesRow.id))
    return tuple(series_of_row(row, uid) for row, uid in rows)


def series_record(
    session: Session,
    *,
    series_instance_uid: str | None = None,
    id: str | None = None,  # noqa: A002 (as records name it)
) -> SeriesRecord | None:
    """Return the series of that UID or opaque id, or None."""
    statement = series_statement()
    if id is not None:
        statement = statement.where(SeriesRow.id == id)
    if series_instance_uid is not None:
        statement = statement.where(SeriesRow.series_instance_uid == series_instance_uid)
    if id is None and series_instance_uid is None:
        raise TypeError("series_record needs a UID or an id")
    row = session.execute(statement).one_or_none()
    return series_of_row(row[0], row[1]) if row else None


def series_of_study(session: Session, study_id: str) -> tuple[SeriesRecord, ...]:
    """List the study's series, by series number."""
    statement = series_statement().where(SeriesRow.study_id == study_id)
    rows = session.execute(statement.order_by(SeriesRow.series_number, SeriesRow.received_at, SeriesRow.id))
    return tuple(series_of_row(row, uid) for row, uid in rows)


def series_instances(session: Session, series_id: str, *, first: int | None = None) -> tuple[InstanceRecord, ...]:
    """List the series' instances by UID; with ``first``, only that many in order of arrival."""
    statement = select(InstanceRow).where(InstanceRow.series_id == series_id).order_by(InstanceRow.sop_instance_uid)
    if first is not None:
        statement = statement.where(InstanceRow.arrival <= first)
    return tuple(instance_of_row(row) for row in session.scalars(statement))


def input_digest(instances: Iterable[InstanceRecord]) -> str:
    """Return the SHA-256 of the UIDs and digests of instances, independent of their order."""
    digest = hashlib.sha256()
    for uid, sha256 in sorted((instance.sop_instance_uid, instance.sha256) for instance in instances):
        digest.update(f"{uid}\0{sha256}\n".encode())
    return digest.hexdigest()


def series_statement() -> Select[SeriesRow, str]:
    """Select series with the UID of their study."""
    return select(SeriesRow, StudyRow.study_instance_uid).join(StudyRow, SeriesRow.study_id == StudyRow.id)


def series_of_row(row: SeriesRow, study_instance_uid: str) -> SeriesRecord:
    """Build the record of a series' row."""
    return record_of(SeriesRecord, row, study_instance_uid=study_instance_uid)


def instance_of_row(row: InstanceRow) -> InstanceRecord:
    """Build the record of an instance's row."""
    return record_of(InstanceRecord, row)
