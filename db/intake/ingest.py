"""Indexing of received instances, in batches; instances that contradict the index are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.reasons import Reason
from db.domain.studies import PatientAttributes, ReceivedInstance, StoreVerdict, StudyState
from db.engine.session import free_text, key_text, lock_names, new_id, now
from db.intake.bulk_append import append_instances, instance_row, is_one_of, names_to_lock, uid_parameters
from db.studies import patients
from db.studies.lifecycle import locked_study, refresh_study, unique
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow

PATIENT_CONFLICT = Reason(
    "patient_conflict", "Images under this Study Instance UID arrived for another patient; they were refused."
)
STUDY_CONFLICT = Reason(
    "study_conflict", "Images of one of these series arrived under another Study Instance UID; they were refused."
)
INSTANCE_CONFLICT = Reason(
    "instance_conflict", "An image arrived again with different content under the same UID; the first one was retained."
)
SHARED_PATIENT_ID = Reason(
    "shared_patient_id", "Another patient is known under the same Patient ID, with a different name, birth date or sex."
)
UID_LIMIT = 64

_INSTANCES, _SERIES, _STUDIES = (row.__table__ for row in (InstanceRow, SeriesRow, StudyRow))
assert isinstance(_INSTANCES, Table)  # noqa: S101 (what the declarative base makes of a class)
assert isinstance(_SERIES, Table)  # noqa: S101
assert isinstance(_STUDIES, Table)  # noqa: S101
_OWNER = (
    StudyRow.study_instance_uid,
    StudyRow.id,
    StudyRow.is_stat,
    PatientRow.patient_id,
    PatientRow.issuer,
    PatientRow.name,
    PatientRow.birth_date,
    PatientRow.sex,
)


@cache
def _known_instances(count: int) -> Select[*tuple[Any, ...]]:
    return select(InstanceRow.sop_instance_uid, InstanceRow.sha256).where(
        is_one_of(InstanceRow.sop_instance_uid, count)
    )


@cache
def _series_with_owner(count: int) -> Select[*tuple[Any, ...]]:
    return (
        select(SeriesRow.series_instance_uid, SeriesRow.id, SeriesRow.instance_count, *_OWNER)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
        .where(is_one_of(SeriesRow.series_instance_uid, count))
        .order_by(StudyRow.id)
        .with_for_update(of=StudyRow)
    )


@cache
def _study_with_owner(count: int) -> Select[*tuple[Any, ...]]:
    return (
        select(*_OWNER)
        .join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
        .where(is_one_of(StudyRow.study_instance_uid, count))
        .order_by(StudyRow.id)
        .with_for_update(of=StudyRow)
    )


_INSERT = insert(_INSTANCES)
_SERIES_GREW = (
    update(_SERIES)
    .where(_SERIES.c.id == bindparam("key"))
    .values(
        instance_count=bindparam("count"),
        state=StudyState.RECEIVING,
        reasons=(),
        is_forced=False,
        last_received_at=bindparam("moment"),
    )
)
_STUDY_GREW = (  # as lifecycle.refresh_study would find it
    update(_STUDIES)
    .where(_STUDIES.c.id == bindparam("key"))
    .values(
        instance_count=_STUDIES.c.instance_count + bindparam("instances"),
        series_count=_STUDIES.c.series_count + bindparam("series"),
        is_stat=bindparam("stat"),
        state=StudyState.RECEIVING,
        reasons=_STUDIES.c.flags,
        analysed_at=None,
        settled_at=None,
        reviewed_at=None,
        reviewed_by=None,
    )
)


def record_arrivals(database: Database, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
    """Index instances in a transaction of their own; see ``record_instances``.

    Raises
    ------
    InvalidRecordError, DatabaseUnavailableError
    """
    if append_instances(database, [_checked(instance) for instance in instances]):
        return [StoreVerdict.STORED] * len(instances)
    with database.begin() as session:
        return record_instances(session, instances)


def record_instances(session: Session, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
    """Index instances whose files are stored already, in order; return a verdict for each.

    A re-send is harmless: ``DUPLICATE`` changes nothing. An instance that contradicts the index is not indexed (the
    caller refuses it and removes its file), the first one stays, and the study is flagged and audited.

    Raises
    ------
    InvalidRecordError
        If a UID or a Patient ID cannot be stored unchanged; then none is indexed.
    """
    checked = [_checked(instance) for instance in instances]
    lock_names(session, *names_to_lock(checked))
    batch = _Batch(session, checked)
    verdicts = [batch.record(instance) for instance in checked]
    batch.flush()
    return verdicts


def _checked(instance: ReceivedInstance) -> ReceivedInstance:
    for name in (
        "sop_instance_uid",
        "sop_class_uid",
        "transfer_syntax_uid",
        "study_instance_uid",
        "series_instance_uid",
    ):
        key_text(name, getattr(instance, name), limit=UID_LIMIT)
    patient = patients.normalised(instance.patient)
    return instance if patient == instance.patient else replace(instance, patient=patient)


@dataclass(slots=True)
class _Study:
    """A study as of this transaction, with its pending counts."""

    id: str
    is_stat: bool
    patient: PatientAttributes
    new_instances: int = 0
    new_series: int = 0


@dataclass(slots=True)
class _Series:
    """A series as of this transaction, with its pending rows."""

    id: str
    study_id: str
    instance_count: int
    rows: list[dict[str, Any]] = field(default_factory=list)


class _Batch:
    """Instances of one transaction: the index is read once, verdicts are given one by one, rows written together."""

    def __init__(self, session: Session, instances: Sequence[ReceivedInstance]) -> None:
        self._session, self._instances = session, instances
        self._connection = session.connection()
        self._moment = now(session)
        self._stored_digests: dict[str, str] = {}
        self._studies: dict[str, _Study] = {}
        self._series: dict[str, _Series] = {}
        self._load()

    def _load(self) -> None:
        for sop_instance_uid, sha256 in self._fetch(_known_instances, "sop_instance_uid"):
            self._stored_digests[sop_instance_uid] = sha256
        for series_uid, series_id, count, study_uid, study_id, is_stat, *patient in self._fetch(
            _series_with_owner, "series_instance_uid"
        ):
            self._studies.setdefault(study_uid, _Study(study_id, is_stat, PatientAttributes(*patient)))
            self._series[series_uid] = _Series(series_id, study_id, count)
        if any(instance.study_instance_uid not in self._studies for instance in self._instances):
            for study_uid, study_id, is_stat, *patient in self._fetch(_study_with_owner, "study_instance_uid"):
                self._studies.setdefault(study_uid, _Study(study_id, is_stat, PatientAttributes(*patient)))

    def _fetch(self, statement: Callable[[int], Select[*tuple[Any, ...]]], name: str) -> Sequence[Any]:
        uids = list({getattr(instance, name) for instance in self._instances})
        parameters = uid_parameters(uids)
        return self._connection.execute(statement(len(parameters)), parameters).all()

    def record(self, instance: ReceivedInstance) -> StoreVerdict:
        """Return the verdict on one instance."""
        stored_sha256 = self._stored_digests.get(instance.sop_instance_uid)
        if stored_sha256 is not None:
            if stored_sha256 == instance.sha256:
                return StoreVerdict.DUPLICATE
            return self._refuse(instance, StoreVerdict.CONFLICT)
        study = self._studies.get(instance.study_instance_uid)
        if study and not patients.is_same_within_study(study.patient, instance.patient):
            return self._refuse(instance, StoreVerdict.PATIENT_CONFLICT)
        series = self._series.get(instance.series_instance_uid)
        if series and (study is None or series.study_id != study.id):
            return self._refuse(instance, StoreVerdict.STUDY_CONFLICT)
        study = study or self._add_study(instance)
        series = series or self._add_series(study, instance)
        self._add(study, series, instance)
        return StoreVerdict.STORED

    def _add_study(self, instance: ReceivedInstance) -> _Study:
        row, patient = _add_study(self._session, instance)
        study = self._studies[instance.study_instance_uid] = _Study(row.id, row.is_stat, patient)
        return study

    def _add_series(self, study: _Study, instance: ReceivedInstance) -> _Series:
        row = _add_series(self._session, study.id, instance)
        study.new_series += 1
        series = self._series[instance.series_instance_uid] = _Series(row.id, study.id, 0)
        return series

    def _add(self, study: _Study, series: _Series, instance: ReceivedInstance) -> None:
        series.instance_count += 1
        study.new_instances += 1
        if instance.is_stat and not study.is_stat:
            study.is_stat = True
            audit.append(self._session, AuditEvent("study:stat", _sender(instance), study.id))
        self._stored_digests[instance.sop_instance_uid] = instance.sha256
        row = instance_row(instance, series.id, series.instance_count)
        series.rows.append(row | {"received_at": self._moment})

    def flush(self) -> None:
        """Write the pending rows and counts."""
        grown_series = [series for series in self._series.values() if series.rows]
        if not grown_series:
            return
        connection = self._connection
        connection.execute(_INSERT, [row for series in grown_series for row in series.rows])
        counts = [{"key": series.id, "count": series.instance_count, "moment": self._moment} for series in grown_series]
        connection.execute(_SERIES_GREW, counts)
        grown_studies = [study for study in self._studies.values() if study.new_instances]
        growth = [
            {
                "key": study.id,
                "instances": study.new_instances,
                "series": study.new_series,
                "stat": study.is_stat,
            }
            for study in grown_studies
        ]
        connection.execute(_STUDY_GREW, growth)
        for series in grown_series:
            series.rows.clear()
        for study in grown_studies:
            study.new_instances = study.new_series = 0

    def _refuse(self, instance: ReceivedInstance, verdict: StoreVerdict) -> StoreVerdict:
        """Refuse an instance and flag the study that it contradicts."""
        self.flush()
        if verdict is StoreVerdict.CONFLICT:
            _flag_instance(self._session, instance)
        elif verdict is StoreVerdict.PATIENT_CONFLICT:
            row = locked_study(self._session, self._studies[instance.study_instance_uid].id)
            _flag(self._session, row, PATIENT_CONFLICT, instance)
        else:
            study = self._studies.get(instance.study_instance_uid)
            holder_id = self._series[instance.series_instance_uid].study_id
            _flag_both(self._session, {holder_id} | ({study.id} if study else set()), instance)
        return verdict


def _flag_instance(session: Session, instance: ReceivedInstance) -> None:
    """Flag the study that has an instance of the same UID with other content."""
    stored = session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid == instance.sop_instance_uid)).one()
    series = session.get_one(SeriesRow, stored.series_id)
    _flag(session, locked_study(session, series.study_id), INSTANCE_CONFLICT, instance, stored)


def _flag_both(session: Session, study_ids: Iterable[str], instance: ReceivedInstance) -> None:
    """Flag the study of the series and the one that the instance names, in a fixed order of locking."""
    for study_id in sorted(study_ids):
        _flag(session, locked_study(session, study_id), STUDY_CONFLICT, instance)


def _flag(
    session: Session, study: StudyRow, reason: Reason, instance: ReceivedInstance, stored: InstanceRow | None = None
) -> None:
    action, subject = ("instance:conflict", stored.id) if stored else ("study:identity_conflict", study.id)
    study.flags = unique((*study.flags, reason))
    refresh_study(session, study)
    details: dict[str, object] = {"reason": reason.code, "study": study.id}
    audit.append(session, AuditEvent(action, _sender(instance), subject, "refused", details))


def _sender(instance: ReceivedInstance) -> str:
    return instance.calling_ae_title or "unknown"


def _add_study(session: Session, instance: ReceivedInstance) -> tuple[StudyRow, PatientAttributes]:
    """Add a study; return its row and its patient's attributes."""
    patient, is_shared = patients.patient_of_new_study(session, instance.patient)
    flags = (SHARED_PATIENT_ID,) if is_shared else ()
    moment = now(session)
    study = StudyRow(
        id=new_id(),
        study_instance_uid=instance.study_instance_uid,
        patient_row_id=patient.id,
        study_date=free_text(instance.study_date),
        study_time=free_text(instance.study_time),
        study_description=free_text(instance.study_description),
        accession_number=free_text(instance.accession_number),
        local_study_id=free_text(instance.local_study_id),
        referring_physician=free_text(instance.referring_physician),
        search_text=search_text(instance),
        sort_name=patients.sort_name(patient.name),
        state=StudyState.RECEIVING,
        reasons=flags,
        flags=flags,
        is_stat=False,
        series_count=0,
        instance_count=0,
        finding_count=0,
        received_at=moment,
    )
    session.add(study)
    session.flush()
    details: dict[str, object] = {"patient": patient.id, "peer_address": instance.peer_address}
    audit.append(session, AuditEvent("study:received", _sender(instance), study.id, details=details))
    if is_shared:
        reason: dict[str, object] = {"reason": SHARED_PATIENT_ID.code, "study": study.id}
        audit.append(session, AuditEvent("study:identity_conflict", _sender(instance), study.id, "flagged", reason))
    return study, patients.attributes(patient)


def search_text(instance: ReceivedInstance) -> str:
    """Return the text of the worklist's search: folded name, id, accession number, description and study UID.

    Two spaces precede each word, so that a trigram index also finds prefixes of one or two letters.
    """
    patient: PatientAttributes = instance.patient
    parts = (
        patient.name,
        patient.patient_id,
        instance.accession_number,
        instance.study_description,
        instance.study_instance_uid,
    )
    return "".join(f"  {word}" for part in parts for word in patients.folded_text(free_text(part)).split())


def _add_series(session: Session, study_id: str, instance: ReceivedInstance) -> SeriesRow:
    moment = now(session)
    series = SeriesRow(
        id=new_id(),
        series_instance_uid=instance.series_instance_uid,
        study_id=study_id,
        series_number=instance.series_number,
        series_description=free_text(instance.series_description),
        modality=free_text(instance.modality),
        instance_count=0,
        state=StudyState.RECEIVING,
        reasons=(),
        is_forced=False,
        received_at=moment,
        last_received_at=moment,
    )
    session.add(series)
    session.flush()
    return series
