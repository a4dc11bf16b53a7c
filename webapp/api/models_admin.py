"""JSON models of administration: nodes, deliveries, priors, scanners."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from db.analyses.quarantine import ScannerState
from db.domain.exchange import PriorStatus
from db.monitoring.association_log import AssociationRecord
from webapp.api.models import Answer, Body, Moment, Text, Uid, merged
from webapp.api.models_studies import Analysis, Delivery
from webapp.endpoints import Rule

ALLOWING_SETTINGS = {
    "called-ae-title": "LUNGNODE_DICOM__AE_TITLE",
    "calling-ae-title": "LUNGNODE_DICOM__PEERS",
    "address": "LUNGNODE_DICOM__PEERS",
    "certificate": "LUNGNODE_DICOM__PEERS",
    "busy": "LUNGNODE_DICOM__MAX_ASSOCIATIONS",
    "evicted": "LUNGNODE_DICOM__MAX_ASSOCIATIONS",
    "timed-out": "LUNGNODE_DICOM__TIMEOUT_S",
    "tls": "LUNGNODE_DICOM__TLS__AUTHORITY",
}
"""Setting that would allow a refused association, by reason."""


class Deliveries(Answer):
    """List of deliveries."""

    items: list[Delivery]


class Node(Answer):
    """A peer node."""

    ae_title: str
    address: str
    note: str


class Destination(Node):
    """A destination of results, with the number of deliveries by status."""

    deliveries: dict[str, int]
    last_sent_at: Moment | None
    oldest_pending_at: Moment | None


class PriorShortfall(Answer):
    """Missing priors of a study; counts are null for a search, the next attempt is null after the last one.

    A complete prior (``done``) is included if the PACS sent instances of other studies too.
    """

    study_instance_uid: Uid
    pacs: str
    status: PriorStatus
    expected_count: int | None
    received_count: int | None
    attempts: int
    reason: str
    updated_at: Moment
    next_attempt_at: Moment | None


class Association(Answer):
    """Count of equal associations of one peer; AE titles are as sent by the peer.

    ``setting`` is the one that would allow a refused association, empty if none.
    """

    peer_address: str
    calling_ae_title: str
    called_ae_title: str
    result: Annotated[str, Field(json_schema_extra={"enum": ["accepted", "rejected", "aborted"]})]
    reason: str
    setting: str
    count: int
    first_at: Moment
    last_at: Moment

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, record: object) -> object:
        if not isinstance(record, AssociationRecord):
            return record
        return merged(record.event, record, setting=ALLOWING_SETTINGS.get(record.event.reason, ""))


class Fault(Answer):
    """A fault of this node; the study is that of a damaged file."""

    code: Annotated[str, Field(json_schema_extra={"enum": ["damaged_file", "damaged_database", "clock"]})]
    count: int
    since: Moment
    last_at: Moment
    study_instance_uid: Uid | None


class ResultFailure(Answer):
    """Failure to create result objects of an analysis; the next attempt is null after the last one."""

    analysis_id: str
    study_instance_uid: Uid
    purpose: str
    reason: str
    attempts: int
    updated_at: Moment
    next_attempt_at: Moment | None


class ResultFailures(Answer):
    """Failures whose retry was scheduled."""

    items: list[ResultFailure]


class Overview(Answer):
    """Administration overview."""

    peers: list[Node]
    destinations: list[Destination]
    dead_letters: list[Delivery]
    dead_letter_count: int
    result_failures: list[ResultFailure]
    result_failure_count: int
    jobs: list[Analysis]
    prior_shortfalls: list[PriorShortfall]
    associations: list[Association]
    faults: list[Fault]


class Count(Answer):
    """Number of affected records."""

    count: int


class Resend(Body):
    """Dead letters to resend: those to one destination, or all."""

    destination: Text = ""


class Hold(Answer):
    """Quarantine of a scanner: reason, actor and time."""

    reason: str
    held_by: str
    held_at: Moment


class Scanner(Answer):
    """A scanner configuration (manufacturer and model, kernel, slice spacing) with its quarantine."""

    key: Annotated[str, Field(json_schema_extra={"pattern": "^[0-9a-f]{32}$"})]
    model: str
    kernel: str
    slice_spacing: str
    series_count: int
    hold: Hold | None
    quarantined_count: int

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, state: object) -> object:
        if not isinstance(state, ScannerState):
            return state
        scanner = state.scanner
        return merged(state, **scanner._asdict(), key=scanner.key, quarantined_count=state.quarantined_count)


class Scanners(Answer):
    """Scanners of recent series, and those in quarantine."""

    items: list[Scanner]


class HoldScanner(Body):
    """Reason for a scanner's quarantine."""

    reason: Annotated[Text, Rule("The field {name} is needed.", is_missing=True)]


class ReleaseScanner(HoldScanner):
    """Reason for a scanner's release, and whether to re-analyse its quarantined series."""

    rerun: Annotated[bool, Rule("The field {name} must be true or false.")] = False


class ReasonForm(BaseModel):
    """Reason for an action of a page, and whether to re-analyse a scanner's quarantined series."""

    reason: Text = ""
    rerun: Annotated[bool, Rule("The field {name} must be yes or no.")] = False
