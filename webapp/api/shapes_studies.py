"""JSON shapes of studies: series, slices, analyses, findings with verdicts, and deliveries."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from webapp.api.shapes import (
    Interval,
    ModelShape,
    Moment,
    Probability,
    ReasonShape,
    Sextuple,
    StateWord,
    Triple,
    Uid,
    VerdictWord,
)
from webapp.api.shapes_worklist import WorklistItemShape

OverrulableCode = Literal["derived", "lossy", "kernel"]


class AssessmentShape(TypedDict):
    """A reader's verdict."""

    verdict: VerdictWord
    reason: str
    comment: str
    reader: str
    reader_name: str
    created_at: Moment


class FindingShape(TypedDict):
    """A finding with model output and verdict. Row and column are 0-based stored pixels.

    Probabilities are point estimates, for sorting and metrics. Readers are shown ``displayed`` and
    ``displayed_nodule``, bounded by calibration cases of a similar score; ``displayed_basis`` states how.
    """

    id: str
    series_instance_uid: Uid
    sop_instance_uid: Uid
    frame_number: int
    row: float
    column: float
    position_mm: Triple
    diameter_mm: float | None
    nodule_probability: Probability | None
    malignancy_probability: Probability | None
    interval: Interval | None
    displayed: str | None
    displayed_basis: str | None
    displayed_nodule: str | None
    prediction_set: list[str]
    reasons: list[ReasonShape]
    attributes: dict[str, object]
    origin: Literal["model", "reader"]
    model: ModelShape
    verdict: VerdictWord | None
    assessment: AssessmentShape | None
    created_at: Moment
    created_by: str
    created_by_name: str
    """Name to display; for identity provider accounts it does not identify the person."""


class SeriesShape(TypedDict):
    """One series of a study."""

    series_instance_uid: Uid
    series_number: int | None
    series_description: str
    modality: str
    instance_count: int
    state: StateWord
    reasons: list[ReasonShape]


class AnalysisShape(TypedDict):
    """One analysis of one series."""

    id: str
    series_instance_uid: Uid
    model: ModelShape
    status: Literal["queued", "running", "current", "superseded", "failed", "shadow"]
    reasons: list[ReasonShape]
    caveats: list[ReasonShape]
    """Caveats of the result; empty if none."""
    overruled: list[ReasonShape]
    """Refusals that a radiologist overruled for it; each text is the radiologist's reason."""
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class DeliveryShape(TypedDict):
    """Delivery of one result object to one destination."""

    id: str
    analysis_id: str
    sop_instance_uid: Uid
    kind: str
    destination: str
    status: Literal["pending", "sent", "committed", "failed", "declined"]
    reason: str
    updated_at: Moment


class OtherStudyShape(TypedDict):
    """Another study of the same patient."""

    study_instance_uid: Uid
    study_date: str
    study_description: str
    instance_count: int


class StudyShape(WorklistItemShape):
    """A study with its parts; ``analyses`` are finished ones, ``pending_analyses`` the others.

    ``others`` are the patient's other studies, latest first.
    """

    overrulable: list[OverrulableCode]
    """Refusals that a radiologist may overrule (POST .../overruled); empty while an analysis is pending."""
    series: list[SeriesShape]
    analyses: list[AnalysisShape]
    pending_analyses: list[AnalysisShape]
    findings: list[FindingShape]
    deliveries: list[DeliveryShape]
    others: list[OtherStudyShape]


class SliceShape(TypedDict):
    """One displayable slice; its frame is at ``/dicom-web/``."""

    sop_instance_uid: Uid
    frame_number: int
    instance_number: int | None
    position_mm: Triple | None
    rows: int
    columns: int
    row_spacing_mm: float | None
    column_spacing_mm: float | None
    orientation: Sextuple | None


class SlicesShape(TypedDict):
    """The displayable slices of one series, in anatomical order."""

    series_instance_uid: Uid
    slices: list[SliceShape]


class NewFindingShape(TypedDict):
    """A finding to mark."""

    series_instance_uid: Uid
    sop_instance_uid: Uid
    row: Annotated[float, ("minimum", 0)]
    column: Annotated[float, ("minimum", 0)]
    frame_number: NotRequired[Annotated[int, ("minimum", 1)]]


class NewAssessmentShape(TypedDict):
    """A reader's verdict on a finding."""

    verdict: VerdictWord
    reason: NotRequired[Annotated[str, ("maxLength", 2000)]]
    comment: NotRequired[Annotated[str, ("maxLength", 2000)]]


class NewReadingShape(TypedDict):
    """An event of a reading, with its time in seconds since the first image was on the screen."""

    event: Literal["opened", "revealed", "closed"]
    model_hidden: bool
    seconds: Annotated[float, ("minimum", 0)]


class RecordedShape(TypedDict):
    """Confirmation of a record."""

    recorded: Literal[True]


class NewAnalysisShape(TypedDict):
    """Series to analyse again; all of the study by default."""

    series_instance_uid: NotRequired[Uid]


class NewOverruleShape(TypedDict):
    """Refusals to overrule, and the reason."""

    overrule: list[OverrulableCode]
    reason: str


class AnalysesShape(TypedDict):
    """The requested analyses."""

    analyses: list[AnalysisShape]


class CompletedShape(TypedDict):
    """The series marked as complete."""

    series: list[SeriesShape]
