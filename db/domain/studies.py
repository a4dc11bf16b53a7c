"""Studies, series and instances."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from db.domain.reasons import Reason


class StudyState(StrEnum):
    """Processing state of a study or series."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"


class StoreVerdict(StrEnum):
    """Outcome of indexing one received instance."""

    STORED = "stored"
    """Indexed; its storage is now guaranteed."""
    DUPLICATE = "duplicate"
    """The same instance is stored already; nothing was added."""
    CONFLICT = "conflict"
    """The SOP Instance UID is stored with other content: refused."""
    PATIENT_CONFLICT = "patient_conflict"
    """The study is stored under another patient: refused, the study is flagged."""
    STUDY_CONFLICT = "study_conflict"
    """The series is stored under another study: refused, the study is flagged."""

    @property
    def is_refusal(self) -> bool:
        """Return True if the sender must get a failure status."""
        return self not in (StoreVerdict.STORED, StoreVerdict.DUPLICATE)


@dataclass(frozen=True, slots=True)
class PatientAttributes:
    """Patient identity as received; never logged."""

    patient_id: str
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One stored SOP instance, ready to be indexed. ``path`` is relative to the store's root."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient: PatientAttributes
    path: str
    size_bytes: int
    sha256: str
    modality: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    accession_number: str = ""
    local_study_id: str = ""
    referring_physician: str = ""
    series_number: int | None = None
    series_description: str = ""
    instance_number: int | None = None
    is_stat: bool = False
    """The sender, or the request that the images were made for, asks for high priority."""
    calling_ae_title: str = ""
    peer_address: str = ""


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One indexed instance. ``path`` is relative to the store's root."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    path: str
    size_bytes: int
    sha256: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """One series of a study. ``id`` is our own opaque id, the one that logs may hold."""

    id: str
    series_instance_uid: str
    study_instance_uid: str
    series_number: int | None
    series_description: str
    modality: str
    instance_count: int
    state: StudyState
    reasons: tuple[Reason, ...]
    last_received_at: datetime
    is_forced: bool = False
    """Marked as complete by a user: no further instances are awaited."""


@dataclass(frozen=True, slots=True)
class OtherStudy:
    """Another study of the same patient."""

    study_instance_uid: str
    study_date: str
    study_description: str
    instance_count: int
