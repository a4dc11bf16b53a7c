"""Domain types of studies, analyses, findings, verdicts, deliveries, accounts and audit events.

The repositories of this package return these records: frozen values, detached from any session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class StudyState(StrEnum):
    """Processing state of a study or series."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"


class AnalysisStatus(StrEnum):
    """Status of one analysis of one series by one model."""

    QUEUED = "queued"
    RUNNING = "running"
    CURRENT = "current"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    """Completed while its scanner was in quarantine: stored, not shown to readers and not sent."""


class FindingOrigin(StrEnum):
    """Source of a finding."""

    MODEL = "model"
    READER = "reader"


class Verdict(StrEnum):
    """A reader's verdict on a finding."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNSURE = "unsure"


class DeliveryStatus(StrEnum):
    """Status of the delivery of one result object to one destination."""

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    FAILED = "failed"
    """A dead letter: no further attempts until a resend is requested."""
    DECLINED = "declined"
    """Not sent: the destination takes other formats of the result, or the result was withdrawn first."""


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


class Role(StrEnum):
    """Role of a user or token."""

    ADMIN = "admin"
    RADIOLOGIST = "radiologist"
    AUDITOR = "auditor"
    SERVICE = "service"


class PromotionKind(StrEnum):
    """Kind of change of the live model."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for a refusal, abstention or failure: a stable code and a sentence for display."""

    code: str
    text: str


SCANNER_HELD = Reason("scanner_held", "Not shown: the scanner is held.")
"""Reason shown instead of a quarantined result."""


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
class ModelIdentity:
    """Identity of a model and its weights."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """One analysis of one series: requested, running, done, superseded or failed."""

    id: str
    series_id: str
    series_instance_uid: str
    study_instance_uid: str
    input_digest: str
    model: ModelIdentity
    status: AnalysisStatus
    reasons: tuple[Reason, ...]
    requested_by: str
    attempts: int
    requested_at: datetime
    started_at: datetime | None
    """Start of the latest attempt."""
    finished_at: datetime | None
    run_number: int = 1
    """1 for the first run of this input by this model; re-runs increment it."""
    instance_count: int = 0
    """Number of instances that it covers, the first in order of arrival."""
    measures: dict[str, object] = field(default_factory=dict)
    caveats: tuple[Reason, ...] = ()
    """Caveats of the result (``db.domain.caveats``)."""
    overruled: tuple[Reason, ...] = ()
    """Refusals that a radiologist overruled for it: code and reason (``db.analyses.overruling``)."""


@dataclass(frozen=True, slots=True)
class NewFinding:
    """A finding to record. Millimetres in the patient's frame (LPS); row and column 0-based, in stored pixels."""

    sop_instance_uid: str
    frame_number: int
    row: float
    column: float
    position_mm: tuple[float, float, float]
    diameter_mm: float | None
    nodule_probability: float | None
    malignancy_probability: float | None
    interval: tuple[float, float] | None
    prediction_set: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)
    """Further measures by name (``volume_mm3``, ``density``, ...) as JSON; ``displayed`` holds text and bounds shown
    for each probability (``malignancy``, ``nodule``)."""


def displayed_text(attributes: Mapping[str, object]) -> str | None:
    """Return the displayed malignancy text of a finding, in English; None if it has none."""
    records = attributes.get("displayed")
    record = records.get("malignancy") if isinstance(records, Mapping) else None
    text = record.get("text") if isinstance(record, Mapping) else None
    return text if isinstance(text, str) else None


@dataclass(frozen=True, slots=True)
class AssessmentRecord:
    """A reader's verdict on a finding; the latest counts."""

    id: str
    finding_id: str
    verdict: Verdict
    reason: str
    comment: str
    reader: str
    created_at: datetime
    withdrawn_at: datetime | None = None
    """Time of its withdrawal; it then no longer counts."""


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """A recorded finding with its latest verdict."""

    id: str
    analysis_id: str | None
    series_instance_uid: str
    study_instance_uid: str
    origin: FindingOrigin
    finding: NewFinding
    model: ModelIdentity
    assessment: AssessmentRecord | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class AnalysisOutcome:
    """Outcome of the pipeline for one series: findings, or the reasons for abstaining."""

    findings: tuple[NewFinding, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Reasons for not analysing; empty if analysed."""
    measures: dict[str, object] = field(default_factory=dict)
    """Timings and counts for the record (``duration_s``, ``candidate_count``, ``slice_count``, ...)."""
    caveats: tuple[Reason, ...] = ()
    """Caveats of the result (``db.domain.caveats``)."""

    @property
    def is_analysed(self) -> bool:
        """Return True if the series was analysed (with or without findings)."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """One row of the worklist, as DESIGN's section 5 names its fields."""

    study_instance_uid: str
    patient: PatientAttributes
    accession_number: str
    study_date: str
    study_description: str
    state: StudyState
    reasons: tuple[Reason, ...]
    series_count: int
    instance_count: int
    finding_count: int
    malignancy_probability: float | None
    interval: tuple[float, float] | None
    received_at: datetime
    analysed_at: datetime | None
    waiting_s: float
    reviewed_at: datetime | None = None
    """Time of review; reset to None by later images or results."""
    reviewed_by: str | None = None
    caveats: tuple[Reason, ...] = ()
    """Those of the study's current analyses, each once."""
    displayed: str | None = None
    """Displayed text of the probability, in English."""
    result_failures: tuple[Reason, ...] = ()
    """Failures to create result objects."""


class WorklistOrder(StrEnum):
    """Order of the worklist."""

    NEWEST = "newest"
    """The latest arrival first."""
    OLDEST = "oldest"
    """The earliest arrival first."""
    PRIORITY = "priority"
    """Unread studies first: those that waited too long, then by probability."""


@dataclass(frozen=True, slots=True)
class WorklistQuery:
    """Filters, order and page position of a worklist query (keyset paging)."""

    state: StudyState | None = None
    text: str = ""
    """Words to find in name, id, accession number, description or study UID, ignoring case and accents."""
    date_from: str = ""
    """First and last study date that is listed (``YYYYMMDD``, both inclusive)."""
    date_to: str = ""
    min_probability: float | None = None
    """Least and largest of the highest calibrated malignancy probabilities that are listed (both inclusive)."""
    max_probability: float | None = None
    is_reviewed: bool | None = None
    order: WorklistOrder = WorklistOrder.NEWEST
    max_wait_s: float = 4 * 3600.0
    """Seconds that a study may wait for a reader before it comes first in the order by priority."""
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """One page of the worklist; ``next_cursor`` is None on the last."""

    items: tuple[WorklistItem, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReadingLoad:
    """Numbers of unread studies."""

    unread: int
    overdue: int
    """Those that have waited longer than ``max_wait_s``."""


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A reader's saved worklist filter; ``query`` holds the URL parameters by name."""

    id: str
    owner: str
    name: str
    query: dict[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """A study with everything that the viewer and the API show."""

    item: WorklistItem
    series: tuple[SeriesRecord, ...]
    analyses: tuple[AnalysisRecord, ...]
    findings: tuple[FindingRecord, ...]
    deliveries: tuple[DeliveryRecord, ...]
    others: tuple[OtherStudy, ...] = ()
    """The patient's other studies, latest first."""


@dataclass(frozen=True, slots=True)
class OtherStudy:
    """Another study of the same patient."""

    study_instance_uid: str
    study_date: str
    study_description: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """Delivery of one result object to one destination. ``path`` is relative to the store's root."""

    id: str
    analysis_id: str
    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    destination: str
    status: DeliveryStatus
    path: str
    attempts: int
    reason: str
    updated_at: datetime
    next_attempt_at: datetime | None = None
    """Time of the next attempt (only while pending)."""


@dataclass(frozen=True, slots=True)
class UploadPatient:
    """Patient details provided with an upload; all optional, none identifying."""

    age: int | None = None
    sex: str | None = None
    smoking_pack_years: float | None = None
    family_history: bool | None = None
    symptoms: str | None = None


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """A model's answer to one upload: calibrated probabilities, or the reasons why there are none to show."""

    kind: str
    """``slice`` (PNG, JPEG), ``nodule`` (DICOM with a marked nodule) or ``dicom`` (DICOM without)."""
    probabilities: dict[str, float]
    """Probability (0..1) of each class; of input outside the validated domain they are shown only with a warning."""
    prediction_set: tuple[str, ...]
    """Conformal set of classes; empty outside the domain."""
    reasons: tuple[Reason, ...]
    model: ModelIdentity
    temperature: float
    displayed: dict[str, object] | None = None
    """Displayed probability of ``malignant``, in the form of a finding's ``displayed``; None outside the domain."""

    @property
    def in_domain(self) -> bool:
        """Return True if the model was validated for such input and gives an answer."""
        return bool(self.probabilities) and not self.reasons

    @property
    def top_class(self) -> str | None:
        """The most probable class, also outside the domain."""
        return max(self.probabilities, key=lambda name: self.probabilities[name], default=None)

    @property
    def predicted_class(self) -> str | None:
        """The most probable class; None outside the domain."""
        return self.top_class if self.in_domain else None


@dataclass(frozen=True, slots=True)
class UploadPrediction:
    """Response to ``POST /predict``, recorded before it is sent."""

    id: str
    input_sha256: str
    answer: UploadAnswer
    patient: UploadPatient
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user; without password or hash."""

    id: str
    name: str
    role: Role
    is_disabled: bool
    access_epoch: int
    """Incremented by every change of password, role or status; sessions of an earlier epoch are refused."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A program's access token; its plain text is shown once, at creation, and not stored."""

    id: str
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Counts for metrics and readiness."""

    studies: dict[StudyState, int]
    deliveries: dict[DeliveryStatus, int]
    queue_depth: int
    """Analyses queued or running."""
    oldest_queued_s: float
    """Age in seconds of the oldest unfinished analysis; 0 if there is none."""
    result_failures: int = 0
    """Analyses with a failure to create result objects."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A recorded audit event."""

    sequence: int
    occurred_at: datetime
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An audit event to record: ``action`` reads ``subject:action``; ``details`` hold no patient identity."""

    action: str
    actor: str
    subject: str = ""
    outcome: str = "success"
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditVerification:
    """Result of verifying the chain."""

    event_count: int
    head: str
    problems: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Return True if no row was altered, removed or inserted."""
        return not self.problems
