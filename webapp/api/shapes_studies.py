"""The JSON of a study: its series and slices, analyses, findings with readers' verdicts, and result objects."""

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
    """A place in the images and what model and reader make of it. Row and column are 0-based stored pixels.

    Probabilities are point estimates, to order and to measure by. People are shown ``displayed`` and
    ``displayed_nodule``, which calibration cases of a similar score bound; ``displayed_basis`` says how.
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
    """Shown to people; of a person of an identity provider it says nothing about who it is."""


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
    """What a reader should know beside the answer; empty where there is nothing."""
    overruled: list[ReasonShape]
    """Refusals that a radiologist overruled for it; each text is the reason given."""
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class DeliveryShape(TypedDict):
    """One result object on its way to one destination."""

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
    """A study with everything known of it; ``analyses`` are finished ones, ``pending_analyses`` the others.

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
    """One displayable slice; ``/dicom-web/`` has its frame."""

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
    """A reader points at a place."""

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
    """What happened in a reading, and how many seconds after the first image was on the screen."""

    event: Literal["opened", "revealed", "closed"]
    model_hidden: bool
    seconds: Annotated[float, ("minimum", 0)]


class RecordedShape(TypedDict):
    """It is on record."""

    recorded: Literal[True]


class NewAnalysisShape(TypedDict):
    """Which series to analyse again; all of the study's where it is left out."""

    series_instance_uid: NotRequired[Uid]


class NewOverruleShape(TypedDict):
    """Refusals to overrule, and why."""

    overrule: list[OverrulableCode]
    reason: str


class AnalysesShape(TypedDict):
    """The analyses that were asked for."""

    analyses: list[AnalysisShape]


class CompletedShape(TypedDict):
    """The series that are not waited for any longer."""

    series: list[SeriesShape]
