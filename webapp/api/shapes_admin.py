"""JSON shapes of administration: nodes, deliveries, priors, scanners."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from webapp.api.shapes import Moment, Uid
from webapp.api.shapes_studies import AnalysisShape, DeliveryShape


class DeliveriesShape(TypedDict):
    """List of deliveries."""

    items: list[DeliveryShape]


class NodeShape(TypedDict):
    """A peer node."""

    ae_title: str
    address: str
    note: str


class DestinationShape(NodeShape):
    """A destination of results, with the number of deliveries by status."""

    deliveries: dict[str, int]
    last_sent_at: Moment | None
    oldest_pending_at: Moment | None


class PriorShortfallShape(TypedDict):
    """Missing priors of a study; counts are null for a search, the next attempt is null after the last one.

    A complete prior (``done``) is included if the PACS sent instances of other studies too.
    """

    study_instance_uid: Uid
    pacs: str
    status: Literal["pending", "done", "incomplete", "failed"]
    expected_count: int | None
    received_count: int | None
    attempts: int
    reason: str
    updated_at: Moment
    next_attempt_at: Moment | None


class AssociationShape(TypedDict):
    """Count of equal associations of one peer; AE titles are as sent by the peer.

    ``setting`` is the one that would allow a refused association, empty if none.
    """

    peer_address: str
    calling_ae_title: str
    called_ae_title: str
    result: Literal["accepted", "rejected", "aborted"]
    reason: str
    setting: str
    count: int
    first_at: Moment
    last_at: Moment


FaultCode = Literal["damaged_file", "damaged_database", "clock"]


class FaultShape(TypedDict):
    """A fault of this node; the study is that of a damaged file."""

    code: FaultCode
    count: int
    since: Moment
    last_at: Moment
    study_instance_uid: Uid | None


class ResultFailureShape(TypedDict):
    """Failure to create result objects of an analysis; the next attempt is null after the last one."""

    analysis_id: str
    study_instance_uid: Uid
    purpose: str
    reason: str
    attempts: int
    updated_at: Moment
    next_attempt_at: Moment | None


class ResultFailuresShape(TypedDict):
    """Failures whose retry was scheduled."""

    items: list[ResultFailureShape]


class OverviewShape(TypedDict):
    """Administration overview."""

    peers: list[NodeShape]
    destinations: list[DestinationShape]
    dead_letters: list[DeliveryShape]
    dead_letter_count: int
    result_failures: list[ResultFailureShape]
    result_failure_count: int
    jobs: list[AnalysisShape]
    prior_shortfalls: list[PriorShortfallShape]
    associations: list[AssociationShape]
    faults: list[FaultShape]


class CountShape(TypedDict):
    """Number of affected records."""

    count: int


class ResendShape(TypedDict, total=False):
    """Dead letters to resend: those to one destination, or all."""

    destination: str


class HoldShape(TypedDict):
    """Quarantine of a scanner: reason, actor and time."""

    reason: str
    held_by: str
    held_at: Moment


class ScannerShape(TypedDict):
    """A scanner configuration (manufacturer and model, kernel, slice spacing) with its quarantine."""

    key: Annotated[str, ("pattern", "^[0-9a-f]{32}$")]
    model: str
    kernel: str
    slice_spacing: str
    series_count: int
    hold: HoldShape | None
    shadow_count: int


class ScannersShape(TypedDict):
    """Scanners of recent series, and those in quarantine."""

    items: list[ScannerShape]


class HoldScannerShape(TypedDict):
    """Reason for a scanner's quarantine."""

    reason: str


class ReleaseScannerShape(TypedDict):
    """Reason for a scanner's release, and whether to re-analyse its quarantined series."""

    reason: str
    rerun: NotRequired[bool]
