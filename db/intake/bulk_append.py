"""Fast path of indexing: new instances of series that are being received already.

Only counts change then, thousands of times an hour. So it is five statements on the driver's own cursor: SQLAlchemy's
overhead is several times their cost. Anything else (a new series, a re-send, another patient, a late slice) is left to
``db.intake.ingest``, whose rules apply here too.
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
from db.domain.studies import PatientAttributes, ReceivedInstance, StudyState
from db.engine.session import free_text, lock_key, new_id
from db.studies import patients
from db.tables.column_types import UtcDateTime
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow


class _Statement:
    """A compiled statement for the driver's cursor of one database."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text = str(compiled)
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def call(self, named: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the arguments of the cursor's ``execute``."""
        return self.text, self._values(named)

    def calls(self, named: Iterable[Mapping[str, Any]]) -> tuple[str, list[Any]]:
        """Return the arguments of the cursor's ``executemany``."""
        return self.text, [self._values(parameters) for parameters in named]

    def _values(self, named: Mapping[str, Any]) -> Any:
        """Return parameters in the form that the driver takes: in order, or by name."""
        return named if self._order is None else [named[name] for name in self._order]


@dataclass(frozen=True, slots=True)
class _Statements:
    existing: _Statement
    series: _Statement
    insert: _Statement
    series_grew: _Statement
    study_grew: _Statement


@lru_cache(maxsize=64)
def _statements(dialect: Dialect, count: int) -> _Statements:
    """Compile the statements for ``count`` UIDs."""
    series = (
        select(
            SeriesRow.series_instance_uid,
            SeriesRow.id,
            SeriesRow.instance_count,
            StudyRow.id,
            StudyRow.study_instance_uid,
            StudyRow.is_stat,
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
    existing = select(InstanceRow.sop_instance_uid).where(is_one_of(InstanceRow.sop_instance_uid, count))
    statements = (existing, series, insert(InstanceRow), series_grew, study_grew)
    return _Statements(*(_Statement(statement, dialect) for statement in statements))


def is_one_of(column: InstrumentedAttribute[str], count: int) -> ColumnElement[bool]:
    """Return an ``IN`` condition with ``count`` parameters, whose text is cached per count."""
    return column.in_([bindparam(f"uid{number}") for number in range(count)])


def uid_parameters(uids: Sequence[str]) -> dict[str, str]:
    """Return parameters of ``is_one_of``, padded with the last UID to a power of two, so that few texts exist."""
    count = 1 << (len(uids) - 1).bit_length()
    return {f"uid{number}": uids[min(number, len(uids) - 1)] for number in range(count)}


@dataclass(slots=True)
class _ReceivingSeries:
    """A series that is being received, as of this transaction."""

    id: str
    instance_count: int
    study_id: str
    study_instance_uid: str
    is_stat: bool
    patient: PatientAttributes

    def takes(self, instance: ReceivedInstance) -> bool:
        """Return whether the instance is of the same study and patient, and changes nothing but counts."""
        if instance.is_stat and not self.is_stat:
            return False
        return self.study_instance_uid == instance.study_instance_uid and patients.is_same_within_study(
            self.patient, instance.patient
        )


def append_instances(database: Database, instances: Sequence[ReceivedInstance]) -> bool:
    """Index new instances of series that are being received; else change nothing and return False.

    Parameters
    ----------
    database
        A transaction is opened on it.
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
        series = _receiving_series(cursor, dialect, instances)
        if series is not None:
            _write(cursor, dialect, series, instances, database.now())
    return series is not None


def names_to_lock(instances: Sequence[ReceivedInstance]) -> list[str]:
    """Return the lock names of a batch, by kind and sorted within each kind, which prevents deadlocks.

    Studies come first: concurrent senders of the same instances wait there, holding no instance lock.
    """
    kinds = (
        {f"study:{instance.study_instance_uid}" for instance in instances},
        {f"series:{instance.series_instance_uid}" for instance in instances},
        {f"instance:{instance.sop_instance_uid}" for instance in instances},
        {patients.lock_name(instance.patient) for instance in instances},
    )
    return [name for names in kinds for name in sorted(names)]


def _receiving_series(
    cursor: DBAPICursor, dialect: Dialect, instances: Sequence[ReceivedInstance]
) -> dict[str, _ReceivingSeries] | None:
    """Return (and lock) the series of all instances by UID, or None if one needs ``db.intake.ingest``."""
    uids = uid_parameters([instance.sop_instance_uid for instance in instances])
    statements = _statements(dialect, len(uids))
    if len(set(uids.values())) < len(instances):
        return None
    series_uids = uid_parameters([instance.series_instance_uid for instance in instances])
    cursor.execute(*statements.series.call(series_uids | {"state": StudyState.RECEIVING.value}))
    series = {
        uid: _ReceivingSeries(id, count, study_id, study_uid, bool(is_stat), PatientAttributes(*patient))
        for uid, id, count, study_id, study_uid, is_stat, *patient in cursor.fetchall()  # noqa: A001 (as its field)
    }
    if not all(
        instance.series_instance_uid in series and series[instance.series_instance_uid].takes(instance)
        for instance in instances
    ):
        return None
    cursor.execute(*statements.existing.call(uids))
    return None if cursor.fetchall() else series


def _write(
    cursor: DBAPICursor,
    dialect: Dialect,
    series: Mapping[str, _ReceivingSeries],
    instances: Sequence[ReceivedInstance],
    received_at: datetime,
) -> None:
    statements = _statements(dialect, 1)
    to_driver = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    moment = to_driver(received_at) if to_driver else received_at
    grown: Counter[str] = Counter()
    rows = []
    for instance in instances:
        own = series[instance.series_instance_uid]
        own.instance_count += 1
        grown[own.study_id] += 1
        rows.append(instance_row(instance, own.id, own.instance_count) | {"received_at": moment})
    cursor.executemany(*statements.insert.calls(rows))
    counts = [{"key": own.id, "count": own.instance_count, "moment": moment} for own in series.values()]
    cursor.executemany(*statements.series_grew.calls(counts))
    growth = [{"key": study_id, "count": count} for study_id, count in grown.items()]
    cursor.executemany(*statements.study_grew.calls(growth))


def instance_row(instance: ReceivedInstance, series_id: str, arrival: int) -> dict[str, Any]:
    """Return the values of an instance's row, without its time of receipt."""
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
