"""Comparison of instances with the index before any is stored, by the rules of ``db.intake.ingest``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.archive.index import batched
from db.domain.studies import ReceivedInstance, StoreVerdict
from db.studies import patients
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow


def expected_verdicts(session: Session, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
    """Return the verdict that indexing each instance would give; nothing is written.

    Raises
    ------
    InvalidRecordError
        If a patient's id cannot be stored unchanged.
    """
    digests = dict(_sha256(session, [instance.sop_instance_uid for instance in instances]))
    owners = dict(_owners(session, {instance.study_instance_uid for instance in instances}))
    holders = dict(_holders(session, {instance.series_instance_uid for instance in instances}))
    return [
        _verdict(instance, digests, owners.get(instance.study_instance_uid), holders.get(instance.series_instance_uid))
        for instance in instances
    ]


def _verdict(
    instance: ReceivedInstance, digests: dict[str, str], owner: PatientRow | None, holder: str | None
) -> StoreVerdict:
    patient = patients.normalised(instance.patient)
    if sha256 := digests.get(instance.sop_instance_uid):
        return StoreVerdict.DUPLICATE if sha256 == instance.sha256 else StoreVerdict.CONFLICT
    if owner is not None and not patients.is_same_within_study(patients.attributes(owner), patient):
        return StoreVerdict.PATIENT_CONFLICT
    if holder not in (None, instance.study_instance_uid):
        return StoreVerdict.STUDY_CONFLICT
    return StoreVerdict.STORED


def _sha256(session: Session, uids: Sequence[str]) -> Iterator[tuple[str, str]]:
    for batch in batched(uids):
        statement = select(InstanceRow.sop_instance_uid, InstanceRow.sha256)
        yield from (
            (uid, value) for uid, value in session.execute(statement.where(InstanceRow.sop_instance_uid.in_(batch)))
        )


def _owners(session: Session, uids: set[str]) -> Iterator[tuple[str, PatientRow]]:
    statement = select(StudyRow.study_instance_uid, PatientRow).join(
        PatientRow, StudyRow.patient_row_id == PatientRow.id
    )
    for batch in batched(sorted(uids)):
        yield from (
            (uid, value) for uid, value in session.execute(statement.where(StudyRow.study_instance_uid.in_(batch)))
        )


def _holders(session: Session, uids: set[str]) -> Iterator[tuple[str, str]]:
    statement = select(SeriesRow.series_instance_uid, StudyRow.study_instance_uid).join(StudyRow)
    for batch in batched(sorted(uids)):
        yield from (
            (uid, value) for uid, value in session.execute(statement.where(SeriesRow.series_instance_uid.in_(batch)))
        )
