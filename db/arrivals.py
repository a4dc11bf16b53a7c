"""Arrivals: one instance at a time is indexed, or refused because it contradicts what is here."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit, patients
from db.domain import (
    AuditEvent,
    PatientAttributes,
    Reason,
    ReceivedInstance,
    StoreVerdict,
    StudyState,
)
from db.lifecycle import locked_study, refresh_study, unique
from db.session import free_text, key_text, lock_names, new_id, now
from db.tables import InstanceRow, PatientRow, SeriesRow, StudyRow

PATIENT_CONFLICT = Reason(
    "patient_conflict", "Images under this Study Instance UID arrived for another patient; they were refused."
)
STUDY_CONFLICT = Reason(
    "study_conflict", "Images of one of these series arrived under another Study Instance UID; they were refused."
)
INSTANCE_CONFLICT = Reason(
    "instance_conflict", "An image arrived again with different content under the same UID; the first was kept."
)
SHARED_PATIENT_ID = Reason(
    "shared_patient_id", "Another patient is known under the same Patient ID, with a different name, birth date or sex."
)
UID_LIMIT = 64


def record_instance(session: Session, instance: ReceivedInstance) -> StoreVerdict:
    """Index one instance whose bytes are on disk already.

    Sending again is harmless: ``DUPLICATE`` changes nothing. Whatever contradicts what is here already is not
    indexed (the caller refuses it and removes its file), the first stays, the study is flagged and audited.

    Raises
    ------
    InvalidRecordError
        If a UID or the patient's id cannot be stored unchanged.
    """
    told = patients.normalised(instance.patient)
    instance = replace(instance, patient=told)
    _check_uids(instance)
    lock_names(  # the study first: senders of the same instances in another order wait here, holding nothing
        session,
        f"study:{instance.study_instance_uid}",
        f"series:{instance.series_instance_uid}",
        f"instance:{instance.sop_instance_uid}",
    )
    known = _known_instance(session, instance.sop_instance_uid)
    if known is not None:
        return _known_again(session, known, instance)
    study, patient = _study_and_patient(session, instance.study_instance_uid)
    if study and patient and not patients.is_same_within_study(patients.attributes(patient), told):
        _flag(session, study, PATIENT_CONFLICT, instance)
        return StoreVerdict.PATIENT_CONFLICT
    series = _series_row(session, instance.series_instance_uid)
    if series is not None and (study is None or series.study_id != study.id):
        _flag_both(session, series.study_id, study, instance)
        return StoreVerdict.STUDY_CONFLICT
    study = study or _add_study(session, instance)
    series = series or _add_series(session, study, instance)
    _add_instance(session, study, series, instance)
    return StoreVerdict.STORED


def _check_uids(instance: ReceivedInstance) -> None:
    for name in (
        "sop_instance_uid",
        "sop_class_uid",
        "transfer_syntax_uid",
        "study_instance_uid",
        "series_instance_uid",
    ):
        key_text(name, getattr(instance, name), limit=UID_LIMIT)


def _known_instance(session: Session, sop_instance_uid: str) -> InstanceRow | None:
    return session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid == sop_instance_uid)).one_or_none()


def _study_and_patient(session: Session, uid: str) -> tuple[StudyRow, PatientRow] | tuple[None, None]:
    """Find the study, locked until the transaction ends, and whose it is."""
    statement = (
        select(StudyRow, PatientRow)
        .join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
        .where(StudyRow.study_instance_uid == uid)
        .with_for_update(of=StudyRow)
        .execution_options(populate_existing=True)
    )
    found = session.execute(statement).one_or_none()
    return (found[0], found[1]) if found else (None, None)


def _series_row(session: Session, uid: str) -> SeriesRow | None:
    statement = select(SeriesRow).where(SeriesRow.series_instance_uid == uid)
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def _known_again(session: Session, known: InstanceRow, instance: ReceivedInstance) -> StoreVerdict:
    if known.sha256 == instance.sha256:
        return StoreVerdict.DUPLICATE
    series = session.get_one(SeriesRow, known.series_id)
    _flag(session, locked_study(session, series.study_id), INSTANCE_CONFLICT, instance, known)
    return StoreVerdict.CONFLICT


def _flag_both(session: Session, holder_id: str, study: StudyRow | None, instance: ReceivedInstance) -> None:
    """Flag the study that holds the series, and the one that the instance named, in a fixed order of locking."""
    for study_id in sorted({holder_id} | ({study.id} if study else set())):
        _flag(session, locked_study(session, study_id), STUDY_CONFLICT, instance)


def _flag(
    session: Session, study: StudyRow, reason: Reason, instance: ReceivedInstance, known: InstanceRow | None = None
) -> None:
    action, subject = ("instance:conflict", known.id) if known else ("study:identity_conflict", study.id)
    study = locked_study(session, study.id)
    study.flags = unique((*study.flags, reason))
    refresh_study(session, study)
    details: dict[str, object] = {"reason": reason.code, "study": study.id}
    audit.append(session, AuditEvent(action, _sender(instance), subject, "refused", details))


def _sender(instance: ReceivedInstance) -> str:
    return instance.calling_ae_title or "unknown"


def _add_study(session: Session, instance: ReceivedInstance) -> StudyRow:
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
        referring_physician=free_text(instance.referring_physician),
        search_text=search_text(instance),
        state=StudyState.RECEIVING,
        reasons=flags,
        flags=flags,
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
    return study


def search_text(instance: ReceivedInstance) -> str:
    """Build what the worklist's text search looks through: folded name, id, accession number and description.

    Two spaces stand before each word, so that a trigram index also finds words that begin with one or two letters.
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


def _add_series(session: Session, study: StudyRow, instance: ReceivedInstance) -> SeriesRow:
    moment = now(session)
    series = SeriesRow(
        id=new_id(),
        series_instance_uid=instance.series_instance_uid,
        study_id=study.id,
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


def _add_instance(session: Session, study: StudyRow, series: SeriesRow, instance: ReceivedInstance) -> None:
    moment = now(session)
    series.instance_count += 1
    series.state, series.reasons, series.is_forced = StudyState.RECEIVING, (), False
    series.last_received_at = moment
    study.state, study.reasons = StudyState.RECEIVING, study.flags  # what lifecycle.refresh_study would find
    study.analysed_at = study.settled_at = study.reviewed_at = study.reviewed_by = None
    study.instance_count += 1
    study.series_count += int(series.instance_count == 1)
    session.add(
        InstanceRow(
            id=new_id(),
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            series_id=series.id,
            arrival=series.instance_count,
            instance_number=instance.instance_number,
            path=instance.path,
            size_bytes=instance.size_bytes,
            sha256=instance.sha256,
            calling_ae_title=free_text(instance.calling_ae_title),
            peer_address=instance.peer_address,
            received_at=moment,
        )
    )
    session.flush()
