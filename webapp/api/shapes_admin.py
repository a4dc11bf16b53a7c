"""The JSON of what an administrator looks after: nodes, deliveries, earlier studies, scanners."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from webapp.api.shapes import Moment, Uid
from webapp.api.shapes_studies import AnalysisShape, DeliveryShape


class DeliveriesShape(TypedDict):
    """Result objects on their way."""

    items: list[DeliveryShape]


class NodeShape(TypedDict):
    """A node that may talk to us."""

    ae_title: str
    address: str
    note: str


class DestinationShape(NodeShape):
    """A node that gets results, with the number of deliveries by status."""

    deliveries: dict[str, int]
    last_sent_at: Moment | None
    oldest_pending_at: Moment | None


class PriorShortfallShape(TypedDict):
    """What did not come of earlier studies for a study; counts are null of a search, the next attempt once given up.

    A study that came whole (``done``) is among them where the PACS sent instances of other studies too.
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
    """Associations of one peer that went alike; AE titles are as the peer sent them.

    ``setting`` is the one that would allow what was refused, empty where none would.
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
    """Something that is wrong with this node until it is mended; the study is that of a damaged file."""

    code: FaultCode
    count: int
    since: Moment
    last_at: Moment
    study_instance_uid: Uid | None


class ResultFailureShape(TypedDict):
    """Result objects of an analysis that could not be made; the next attempt is null once it was given up."""

    analysis_id: str
    study_instance_uid: Uid
    purpose: str
    reason: str
    attempts: int
    updated_at: Moment
    next_attempt_at: Moment | None


class ResultFailuresShape(TypedDict):
    """Result objects that are made again."""

    items: list[ResultFailureShape]


class OverviewShape(TypedDict):
    """What an administrator looks after."""

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
    """How much it was."""

    count: int


class ResendShape(TypedDict, total=False):
    """Which dead letters to send again: those to one destination, or all."""

    destination: str


class HoldShape(TypedDict):
    """Who holds a scanner, since when and why."""

    reason: str
    held_by: str
    held_at: Moment


class ScannerShape(TypedDict):
    """A scanner as it is watched: maker and model, kernel, slice spacing; and what is held of it."""

    key: Annotated[str, ("pattern", "^[0-9a-f]{32}$")]
    model: str
    kernel: str
    slice_spacing: str
    series_count: int
    hold: HoldShape | None
    shadow_count: int


class ScannersShape(TypedDict):
    """Scanners that series came from lately, and those that are held."""

    items: list[ScannerShape]


class HoldScannerShape(TypedDict):
    """Why a scanner is held."""

    reason: str


class ReleaseScannerShape(TypedDict):
    """Why a scanner is released, and whether what was held is analysed again."""

    reason: str
    rerun: NotRequired[bool]
