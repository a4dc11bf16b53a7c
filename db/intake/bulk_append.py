"""The ordinary arrival: more instances of series that are being received already.

Nothing but counts changes then, and it happens thousands of times an hour. So it is five statements on the driver's own
cursor: what SQLAlchemy does around a statement costs several times the statement. Whatever else arrives (a new series,
a re-send, another patient, a late slice) is left to ``db.intake.ingest``, whose rules hold here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Dialect, bindparam, insert, select, update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import ClauseElement

from db.database import Database
from db.domain.records import PatientAttributes, ReceivedInstance, StudyState
from db.engine.session import free_text, lock_key, new_id
from db.studies import patients
from db.tables.arrivals import InstanceRow, PatientRow, SeriesRow, StudyRow
from db.tables.column_types import UtcDateTime


class _Statement:
    """A statement's text for one database, for its driver's cursor."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def call(self, named: Mapping[str, Any]) -> tuple[str, Any]:
        """Arguments of the cursor's ``execute``."""
        return self.text, self._values(named)

    def calls(self, named: Iterable[Mapping[str, Any]]) -> tuple[str, list[Any]]:
        """Arguments of the cursor's ``executemany``."""
        return self.text, [self._values(one) for one in named]

    def _values(self, named: Mapping[str, Any]) -> Any:
        """Put parameters into the form that the driver takes: in order, or by name."""
        return named if self._order is None else [named[name] for name in self._order]


@dataclass(frozen=True, slots=True)
class _Statements:
    known: _Statement
    series: _Statement
    insert: _Statement
    series_grew: _Statement
    study_grew: _Statement


@lru_cache(maxsize=64)
def _statements(dialect: Dialect, count: int) -> _Statements:
    """Make the statements for ``count`` UIDs at once."""
    series = (
        select(
            SeriesRow.series_instance_uid,
            SeriesRow.id,
            SeriesRow.instance_count,
            StudyRow.id,
            StudyRow.study_instance_uid,
            PatientRow.patient_id,
            PatientRow.issuer,
            PatientRow.name,
            PatientRow.birth_date,
            PatientRow.sex,
        )
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
        .where(
            is_one_of(SeriesRow.series_instance_uid, count),
            SeriesRow.state == bindparam("state"),
            SeriesRow.is_forced.is_(False),
            StudyRow.state == bindparam("state"),
            StudyRow.reviewed_at.is_(None),
        )
        .order_by(StudyRow.id)
        .with_for_update(of=StudyRow)
    )
    series_grew = (
        update(SeriesRow)
        .where(SeriesRow.id == bindparam("key"))
        .values(instance_count=bindparam("count"), last_received_at=bindparam("moment"))
    )
    study_grew = (
        update(StudyRow)
        .where(StudyRow.id == bindparam("key"))
        .values(instance_count=StudyRow.instance_count + bindparam("count"))
    )
    known = select(InstanceRow.sop_instance_uid).where(is_one_of(InstanceRow.sop_instance_uid, count))
    statements = (known, series, insert(InstanceRow), series_grew, study_grew)
    return _Statements(*(_Statement(statement, dialect) for statement in statements))


def is_one_of(column: InstrumentedAttribute[str], count: int) -> ColumnElement[bool]:
    """``IN`` with so many parameters: one text for each count, which then need not be built at every call."""
    return column.in_([bindparam(f"uid{number}") for number in range(count)])


def uid_parameters(uids: Sequence[str]) -> dict[str, str]:
    """Parameters of ``is_one_of``: a power of two of them (the last UID fills up), so that there are few texts."""
    count = 1 << (len(uids) - 1).bit_length()
    return {f"uid{number}": uids[min(number, len(uids) - 1)] for number in range(count)}


@dataclass(slots=True)
class _Series:
    """A series that is being received, as it stands in this transaction."""

    id: str
    instance_count: int
    study_id: str
    study_instance_uid: str
    patient: PatientAttributes

    def takes(self, instance: ReceivedInstance) -> bool:
        """Whether the instance is of the same study and patient."""
        return self.study_instance_uid == instance.study_instance_uid and patients.is_same_within_study(
            self.patient, instance.patient
        )


def append_instances(database: Database, instances: Sequence[ReceivedInstance]) -> bool:
    """Index instances that are all new, each of a series that is being received; else change nothing and say False.

    Parameters
    ----------
    database
        A transaction of its own is made of it.
    instances
        Checked and normalised, as ``db.intake.ingest`` does.

    Raises
    ------
    DatabaseUnavailableError
    """
    dialect = database.engine.dialect
    with database.raw_transaction() as cursor:
        if dialect.name == "postgresql":
            keys = [lock_key(name) for name in names_to_lock(instances)]
            cursor.execute("SELECT " + ", ".join(["pg_advisory_xact_lock(%s)"] * len(keys)), keys)
        series = _growing_series(cursor, dialect, instances)
        if series is not None:
            _write(cursor, dialect, series, instances, database.now())
    return series is not None


def names_to_lock(instances: Sequence[ReceivedInstance]) -> list[str]:
    """Name what arrivals lock, by kind and each kind in one order: no two batches wait for each other in a circle.

    The studies come first: senders of the same instances in another order wait there, holding no instance.
    """
    kinds = (
        {f"study:{one.study_instance_uid}" for one in instances},
        {f"series:{one.series_instance_uid}" for one in instances},
        {f"instance:{one.sop_instance_uid}" for one in instances},
        {patients.lock_name(one.patient) for one in instances},
    )
    return [name for names in kinds for name in sorted(names)]


def _growing_series(
    cursor: DBAPICursor, dialect: Dialect, instances: Sequence[ReceivedInstance]
) -> dict[str, _Series] | None:
    """Find (and lock) the series of all instances by UID, or None where one of them is not so ordinary."""
    uids = uid_parameters([one.sop_instance_uid for one in instances])
    statements = _statements(dialect, len(uids))
    if len(set(uids.values())) < len(instances):
        return None
    series_uids = uid_parameters([one.series_instance_uid for one in instances])
    cursor.execute(*statements.series.call(series_uids | {"state": StudyState.RECEIVING.value}))
    series = {
        uid: _Series(id, count, study_id, study_uid, PatientAttributes(*patient))
        for uid, id, count, study_id, study_uid, *patient in cursor.fetchall()  # noqa: A001 (as its field)
    }
    if not all(one.series_instance_uid in series and series[one.series_instance_uid].takes(one) for one in instances):
        return None
    cursor.execute(*statements.known.call(uids))
    return None if cursor.fetchall() else series


def _write(
    cursor: DBAPICursor,
    dialect: Dialect,
    series: Mapping[str, _Series],
    instances: Sequence[ReceivedInstance],
    received_at: datetime,
) -> None:
    statements = _statements(dialect, 1)
    to_driver = UtcDateTime().bind_processor(dialect)
    moment = to_driver(received_at) if to_driver else received_at
    grown: Counter[str] = Counter()
    rows = []
    for one in instances:
        own = series[one.series_instance_uid]
        own.instance_count += 1
        grown[own.study_id] += 1
        rows.append(instance_row(one, own.id, own.instance_count) | {"received_at": moment})
    cursor.executemany(*statements.insert.calls(rows))
    counts = [{"key": own.id, "count": own.instance_count, "moment": moment} for own in series.values()]
    cursor.executemany(*statements.series_grew.calls(counts))
    growth = [{"key": study_id, "count": count} for study_id, count in grown.items()]
    cursor.executemany(*statements.study_grew.calls(growth))


def instance_row(instance: ReceivedInstance, series_id: str, arrival: int) -> dict[str, Any]:
    """The row of an instance, but for the moment."""
    return {
        "id": new_id(),
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "series_id": series_id,
        "arrival": arrival,
        "instance_number": instance.instance_number,
        "path": instance.path,
        "size_bytes": instance.size_bytes,
        "sha256": instance.sha256,
        "calling_ae_title": free_text(instance.calling_ae_title),
        "peer_address": instance.peer_address,
    }
