"""Intake of ONE instance: validate, write, commit, verdict. Translates between the wire's and the index's terms.

Success means: the bytes are synced, their name is synced, and the row is committed. Whatever fails before that is
answered with a status of its own and leaves nothing that a second attempt could stumble over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from db.archive import index as archive
from db.audit.trail import append
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.errors import DbError, InvalidRecordError
from db.domain.studies import PatientAttributes, ReceivedInstance, StoreVerdict
from db.domain.uids import is_uid
from db.intake.arrival_check import expected_verdicts
from dicom_node.encoding.elements import WalkLimits
from dicom_node.encoding.errors import (
    InstanceError,
    InstanceMismatchError,
    InvalidAttributeError,
    NotAnImageError,
    NotAuthorizedError,
    OwnResultError,
    StorageUnavailableError,
    UnsupportedSopClassError,
    UnsupportedTransferSyntaxError,
)
from dicom_node.encoding.header import InstanceHeader, read_header
from dicom_node.encoding.part10 import FileMeta
from dicom_node.encoding.status import Status
from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_node.intake.counters import Counters
from dicom_node.intake.group_commit import Committer
from dicom_node.intake.throttle import Throttle
from dicom_node.storage.instance_store import InstanceStore, StoredFile
from dicom_node.storage.spool import Spool

_log = logging.getLogger(__name__)
_CHECK_FREE_EVERY = 8 << 20

_CONFLICTS: dict[StoreVerdict, tuple[Status, str, str]] = {
    StoreVerdict.CONFLICT: (Status.DUPLICATE_SOP_INSTANCE, "conflict", "known with other content; the first is kept"),
    StoreVerdict.PATIENT_CONFLICT: (
        Status.DOES_NOT_MATCH,
        "patient-conflict",
        "the study is known for another patient",
    ),
    StoreVerdict.STUDY_CONFLICT: (Status.DOES_NOT_MATCH, "study-conflict", "the series is known in another study"),
}


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Limits for one instance."""

    max_instance_bytes: int = 2 << 30
    """Largest dataset taken."""
    walk: WalkLimits = field(default_factory=WalkLimits)
    """Bounds of reading its header."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Origin of an instance: an AE on the network, or a user of the web interface."""

    calling_ae_title: str
    address: str
    may_store: bool = True
    may_query: bool = True

    @property
    def actor(self) -> str:
        """Name of the sender in the audit trail."""
        return f"{self.calling_ae_title}@{self.address}"


@dataclass(frozen=True, slots=True)
class Announced:
    """Identity that a command set or file meta information states for a dataset."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str = ""
    """The study that it has to belong to, where one was named."""
    is_stat: bool = False
    """The sender asked for high priority."""


@dataclass(frozen=True, slots=True)
class IntakeVerdict:
    """Outcome of the intake of one instance."""

    status: Status
    code: str
    """Stable and machine-readable; ``stored``, ``duplicate``, or why not."""
    text: str
    """For people; holds no value of the dataset."""

    @property
    def is_stored(self) -> bool:
        """Return True if the sender may delete its copy."""
        return self.status is Status.SUCCESS


class Reception:
    """One instance being received; fragments of a refused one are ignored. Ended by ``finish`` or ``abandon``."""

    def __init__(self, intake: Intake, announced: Announced, sender: Sender) -> None:
        self._intake, self._announced, self._sender = intake, announced, sender
        self._spool: Spool | None = None
        self._error: InstanceError | None = None
        self.received_bytes = 0
        self._checked_bytes = 0
        try:
            self._spool = intake.open_spool(announced, sender)
        except InstanceError as error:
            self._error = error

    def write(self, fragment: memoryview | bytes) -> None:
        """Append a fragment of the dataset."""
        self.received_bytes += len(fragment)
        if self._spool is None:
            return
        try:
            self._spool.write(fragment)
            if self.received_bytes >= self._checked_bytes + _CHECK_FREE_EVERY:
                self._checked_bytes = self.received_bytes
                self._intake.check_free()
        except InstanceError as error:
            self._error = error
            self.abandon()

    def finish(self) -> IntakeVerdict:
        """Make the instance durable and return the verdict; never raises an InstanceError."""
        try:
            if self._error is not None or self._spool is None:
                raise self._error or StorageClosedError
            verdict = self._intake.complete(self._spool, self._announced, self._sender)
        except OwnResultError as error:
            self._intake.counters.add("instances", error.code)
            verdict = IntakeVerdict(error.status, error.code, "")
        except InstanceError as error:
            verdict = self._intake.refuse(error, self._sender)
        finally:
            self.abandon()
        self._intake.counters.add("received_bytes", amount=self.received_bytes)
        return verdict

    def abandon(self) -> None:
        """Discard the received data; harmless after ``finish``."""
        if self._spool is not None:
            self._spool.discard()
            self._spool = None


class StorageClosedError(InstanceError):
    """A reception was finished twice: an internal error."""

    status = Status.INTERNAL_ERROR
    code = "internal"


class Intake:
    """Receives instances from the network and from uploads; thread-safe."""

    def __init__(
        self,
        store: InstanceStore,
        database: Database,
        limits: IntakeLimits | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.limits = limits or IntakeLimits()
        self.counters = counters or Counters()
        self._store, self._database = store, database
        self._committer = Committer(store, database)
        self._audit_throttle = Throttle(rate_per_s=1.0, burst=60)

    @property
    def scratch(self) -> Path:
        """Folder for temporary files on the file system of the store."""
        return self._store.incoming

    def begin(self, announced: Announced, sender: Sender) -> Reception:
        """Start the reception of an instance that arrives in fragments."""
        return Reception(self, announced, sender)

    def open_spool(self, announced: Announced, sender: Sender) -> Spool:
        """Check what is known before the dataset, and open a spool file for it.

        Raises
        ------
        InstanceError
        """
        if not sender.may_store:
            raise NotAuthorizedError
        self.check(announced)
        meta = FileMeta(
            announced.sop_class_uid,
            announced.sop_instance_uid,
            announced.transfer_syntax_uid,
            sender.calling_ae_title,
        )
        return self._store.open_spool(meta, self.limits.max_instance_bytes)

    def check(self, announced: Announced) -> None:
        """Check what is known before the dataset.

        Raises
        ------
        UnsupportedSopClassError, UnsupportedTransferSyntaxError, InvalidAttributeError
        OwnResultError
            A result of ours comes back: it is here already, and never analysed.
        """
        if announced.sop_class_uid in RESULT_CLASSES and self._is_ours(announced.sop_instance_uid):
            raise OwnResultError
        if announced.sop_class_uid not in STORAGE_CLASSES:
            raise UnsupportedSopClassError
        if announced.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise UnsupportedTransferSyntaxError
        if not is_uid(announced.sop_instance_uid):
            raise InvalidAttributeError("AffectedSOPInstanceUID", "is not a UID")

    def _is_ours(self, sop_instance_uid: str) -> bool:
        try:
            with self._database.read() as session:
                return bool(archive.known_results(session, [sop_instance_uid]))
        except DbError:
            raise StorageUnavailableError("the index") from None

    def check_free(self, needed_bytes: int = 0) -> None:
        """Refuse instances before the disk is full.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        self._store.check_free(needed_bytes)

    def expected_verdicts(self, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
        """Return the verdicts that the index would give instances now, before any is stored.

        Raises
        ------
        InvalidAttributeError, StorageUnavailableError
        """
        try:
            with self._database.read() as session:
                return expected_verdicts(session, instances)
        except InvalidRecordError as error:
            raise InvalidAttributeError(error.field, error.rule) from None
        except DbError:
            raise StorageUnavailableError("the index") from None

    def complete(self, spool: Spool, announced: Announced, sender: Sender) -> IntakeVerdict:
        """Validate and commit a completely received instance.

        Raises
        ------
        InstanceError
        """
        encoding = TRANSFER_SYNTAXES[announced.transfer_syntax_uid]
        header = read_header(spool.source(), encoding, self.limits.walk)
        self.check_header(header, announced)
        spool.sync()
        stored = self._store.assign_path(spool, header.series_instance_uid)
        verdict = self._committer.commit(spool, stored, received_instance(header, announced, sender, stored))
        self.counters.add("instances", verdict.value)
        if verdict in _CONFLICTS:
            status, code, text = _CONFLICTS[verdict]
            self.counters.add("refusals", code)
            self._store.remove(stored.path)
            return IntakeVerdict(status, code, text)
        return IntakeVerdict(Status.SUCCESS, verdict.value, "")

    def check_header(self, header: InstanceHeader, announced: Announced) -> None:
        """Compare a header with what was announced.

        Raises
        ------
        InstanceMismatchError, NotAnImageError
        """
        if header.sop_class_uid != announced.sop_class_uid:
            raise InstanceMismatchError("SOPClassUID", "command")
        if header.sop_instance_uid != announced.sop_instance_uid:
            raise InstanceMismatchError("SOPInstanceUID", "command")
        if announced.study_instance_uid not in ("", header.study_instance_uid):
            raise InstanceMismatchError("StudyInstanceUID", "request")
        if not header.has_pixel_data:
            raise NotAnImageError

    def refuse(self, error: InstanceError, sender: Sender) -> IntakeVerdict:
        """Count, log and audit a refusal, and return its verdict."""
        self.counters.add("refusals", error.code)
        extra = {"reason_code": error.code, "calling_ae_title": sender.calling_ae_title, "peer_address": sender.address}
        _log.warning("instance:refused", extra=extra)
        self.audit("instance:refused", sender, {"reason": error.code})
        return IntakeVerdict(error.status, error.code, str(error))

    @property
    def database(self) -> Database:
        """Database of the index."""
        return self._database

    def audit(self, action: str, sender: Sender, details: dict[str, object]) -> None:
        """Append a refusal to the audit trail; floods from one address are summarized."""
        passes, withheld = self._audit_throttle.admit(f"{action} {sender.address}")
        if not passes:
            return
        if withheld:
            details = {**details, "withheld_before": withheld}
        event = AuditEvent(action, sender.actor, outcome="failure", details=details)
        try:
            with self._database.begin() as session:
                append(session, event)
        except DbError:
            _log.error("audit:unavailable", extra={"action": action})


def received_instance(
    header: InstanceHeader, announced: Announced, sender: Sender, stored: StoredFile
) -> ReceivedInstance:
    """Return the index record of an instance."""
    patient = PatientAttributes(
        patient_id=header.patient_id,
        issuer=header.issuer_of_patient_id,
        name=header.patient_name,
        birth_date=header.patient_birth_date,
        sex=header.patient_sex,
    )
    return ReceivedInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=announced.transfer_syntax_uid,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        patient=patient,
        path=stored.path,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        modality=header.modality,
        study_date=header.study_date,
        study_time=header.study_time,
        study_description=header.study_description,
        accession_number=header.accession_number,
        local_study_id=header.study_id,
        referring_physician=header.referring_physician_name,
        series_number=header.series_number,
        series_description=header.series_description,
        instance_number=header.instance_number,
        is_stat=announced.is_stat or header.is_stat,
        calling_ae_title=sender.calling_ae_title,
        peer_address=sender.address,
    )
