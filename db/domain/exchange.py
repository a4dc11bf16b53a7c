"""Domain types of exchange with other nodes: result objects, storage commitments, priors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RetractionCode(StrEnum):
    """Reason for rejecting a result (CID 7011, IHE IOCM)."""

    QUALITY = "113001"
    SAFETY = "113037"


class CommitmentStatus(StrEnum):
    """Status of a peer's storage commitment request."""

    PENDING = "pending"
    REPORTED = "reported"
    FAILED = "failed"


class PriorStatus(StrEnum):
    """Status of a search for, or a retrieval of, priors."""

    PENDING = "pending"
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A result object. ``path`` is relative to the store's root, ``sha256`` is of the file, or empty if unknown."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    modality: str
    instance_number: int
    path: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A recorded result object."""

    analysis_id: str
    object: ResultObject
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RetractionRecord:
    """Withdrawal of an analysis' results; PACS receive it as a key object selection."""

    analysis_id: str
    code: RetractionCode
    reason: str
    requested_by: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class CommitmentRecord:
    """A peer's storage commitment request; ``references`` are pairs of SOP Class UID and SOP Instance UID."""

    id: str
    transaction_uid: str
    ae_title: str
    peer_address: str
    references: tuple[tuple[str, str], ...]
    status: CommitmentStatus
    attempts: int
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PriorSearch:
    """Search for a study's priors in one PACS."""

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
    """A prior in a PACS, with the number of CT instances it reports and of those received."""

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
    """Missing priors of one study: a failed search, or an incomplete prior.

    A complete one (``done``) is included for its ``reason``: the PACS sent instances of other studies too.

    ``expected_count`` and ``received_count`` are None for a search; ``next_attempt_at`` is None after the last attempt.
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
    """Failure to create result objects of an analysis; ``purpose`` is report, verified or retraction.

    ``next_attempt_at`` is None after the last attempt, until a retry is requested.
    """

    analysis_id: str
    study_instance_uid: str
    purpose: str
    reason: str
    attempts: int
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None
