"""The vocabulary of exchange with other nodes: result objects, commitments owed to peers, earlier studies to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RetractionCode(StrEnum):
    """Why a result is withdrawn, as PACS understand it (CID 7011, IHE IOCM)."""

    QUALITY = "113001"
    SAFETY = "113037"


class CommitmentStatus(StrEnum):
    """How far the answer to a storage commitment request of a peer got."""

    PENDING = "pending"
    REPORTED = "reported"
    FAILED = "failed"


class PriorStatus(StrEnum):
    """How far the search for, or the retrieval of, earlier studies got."""

    PENDING = "pending"
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewResult:
    """A result object that was made. ``path`` is relative to the store's root."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    modality: str
    instance_number: int
    path: str


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A result object as it is kept."""

    analysis_id: str
    object: NewResult
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RetractionRecord:
    """Someone withdrew the results of an analysis; they are told to PACS by a key object selection."""

    analysis_id: str
    code: RetractionCode
    reason: str
    requested_by: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class CommitmentRecord:
    """A peer asked us to answer for instances: ``wanted`` are pairs of SOP Class UID and SOP Instance UID."""

    id: str
    transaction_uid: str
    ae_title: str
    peer_address: str
    wanted: tuple[tuple[str, str], ...]
    status: CommitmentStatus
    attempts: int
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PriorSearch:
    """A study whose patient's earlier studies are looked for in one PACS."""

    study_id: str
    study_instance_uid: str
    pacs: str
    status: PriorStatus
    attempts: int
    patient_id: str
    birth_date: str
    study_date: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """An earlier study that a PACS has: how many CT instances it said it has, and how many came."""

    id: str
    study_id: str
    pacs: str
    study_instance_uid: str
    status: PriorStatus
    expected_count: int
    received_count: int
    attempts: int
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PriorShortfall:
    """What did not come of earlier studies for one study: a search that failed, or a study that is not whole.

    One that came whole (``done``) is among them for its ``reason``: the PACS sent instances of other studies too.

    ``expected_count`` and ``received_count`` are None of a search; ``next_attempt_at`` is None once it was given up.
    """

    study_instance_uid: str
    pacs: str
    status: PriorStatus
    expected_count: int | None
    received_count: int | None
    attempts: int
    reason: str
    updated_at: datetime
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class ResultFailure:
    """Result objects of an analysis that could not be made; ``purpose`` is report, verified or retraction.

    ``next_attempt_at`` is None once it was given up, until somebody asks for it.
    """

    analysis_id: str
    study_instance_uid: str
    purpose: str
    reason: str
    attempts: int
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None
