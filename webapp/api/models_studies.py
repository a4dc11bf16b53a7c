"""JSON models of studies: series, slices, analyses, findings with verdicts, and deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from db.analyses.overruling import OVERRULABLE_STATES
from db.analyses.readings import ReadingEvent
from db.domain import findings
from db.domain.analyses import AnalysisStatus
from db.domain.deliveries import DeliveryStatus
from db.domain.findings import FindingOrigin, FindingRecord, Verdict
from db.domain.reasons import OVERRULABLE
from db.domain.studies import SeriesRecord, StudyState
from db.domain.worklist import StudyDetail
from inference.displayed import Displayed, Question, displayed_of
from webapp.api import models
from webapp.api.models import (
    Answer,
    Body,
    GivenUid,
    Interval,
    Moment,
    Probability,
    Reason,
    Sextuple,
    ShownName,
    Text,
    Triple,
    Uid,
    merged,
    rounded,
)
from webapp.api.models_worklist import WorklistItem
from webapp.endpoints import Rule
from webapp.http.forms import MAX_PIXEL_INDEX, MAX_SECONDS
from webapp.http.messages import english

OverrulableCode = Literal["derived", "lossy", "kernel"]
Hundredths = Annotated[float, AfterValidator(rounded(2))]
Tenths = Annotated[float, AfterValidator(rounded(1))]
PENDING = frozenset({AnalysisStatus.QUEUED, AnalysisStatus.RUNNING})


Point = tuple[float, float]
"""Fractional row and column, 0-based in stored pixels."""


class ReaderSize(Answer):
    """Long and short axis that a reader measured on one frame, each from one end to the other (row, column)."""

    sop_instance_uid: Uid
    frame_number: int
    long_axis: tuple[Point, Point]
    short_axis: tuple[Point, Point]
    long_mm: Tenths
    short_mm: Tenths
    mean_mm: Tenths


class Assessment(Answer):
    """A reader's verdict; a ``size`` overrides the model's."""

    verdict: Verdict
    reason: str
    comment: str
    reader: str
    reader_name: ShownName = Field(validation_alias="reader")
    created_at: Moment
    size: ReaderSize | None


class Finding(Answer):
    """A finding with model output and verdict. Row and column are 0-based stored pixels.

    Probabilities are point estimates, for sorting and metrics. Readers are shown ``displayed`` and
    ``displayed_nodule``, bounded by calibration cases of a similar score; ``displayed_basis`` states how.
    """

    id: str
    series_instance_uid: Uid
    sop_instance_uid: Uid
    frame_number: int
    row: Hundredths
    column: Hundredths
    position_mm: tuple[Hundredths, Hundredths, Hundredths]
    frame_of_reference_uid: str | None
    """Frame of reference of ``position_mm``; None if unknown."""
    diameter_mm: Tenths | None
    nodule_probability: Probability | None
    malignancy_probability: Probability | None
    interval: Interval | None
    displayed: str | None
    displayed_basis: str | None
    displayed_nodule: str | None
    prediction_set: list[str]
    reasons: list[Reason]
    attributes: dict[str, Any]
    origin: FindingOrigin
    model: models.Model
    verdict: Verdict | None
    assessment: Assessment | None
    created_at: Moment
    created_by: str
    created_by_name: ShownName = Field(validation_alias="created_by")

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, record: object) -> object:
        if not isinstance(record, FindingRecord):
            return record
        malignancy, nodule = displayed_malignancy(record.finding), displayed_nodule(record.finding)
        return merged(
            record.finding,
            record,
            frame_of_reference_uid=record.finding.attributes.get(findings.FRAME_OF_REFERENCE_UID),
            displayed=malignancy.text if malignancy else None,
            displayed_basis=malignancy.sentence if malignancy else None,
            displayed_nodule=nodule.text if nodule else None,
            verdict=record.assessment.verdict if record.assessment else None,
        )


def displayed_malignancy(finding: findings.NewFinding) -> Displayed | None:
    """Return the displayed malignancy of a finding."""
    return displayed_of(finding.attributes, Question.MALIGNANCY, finding.malignancy_probability)


def displayed_nodule(finding: findings.NewFinding) -> Displayed | None:
    """Return the displayed nodule probability of a finding."""
    return displayed_of(finding.attributes, Question.NODULE, finding.nodule_probability)


class MaskSlice(Answer):
    """A frame that a slice of a mask lies on."""

    sop_instance_uid: Uid
    frame_number: int


class Axes(Answer):
    """Long and short axis of a finding, each from one end to the other, on one slice of its mask."""

    slice_index: int
    long: tuple[Point, Point]
    short: tuple[Point, Point]


class Mask(Answer):
    """Measured voxels of a finding, in a box that begins at a row and column (0-based) of its slices.

    ``runs`` are lengths by slice, row and column, alternately outside and inside; the first, outside, may be 0.
    """

    finding_id: str
    slices: list[MaskSlice]
    row: int
    column: int
    rows: int
    columns: int
    runs: list[int]
    axes: Axes | None


class Masks(Answer):
    """The masks of a study's findings; a finding that was not measured has none."""

    masks: list[Mask]


class Series(Answer):
    """One series of a study."""

    series_instance_uid: Uid
    series_number: int | None
    series_description: str
    modality: str
    instance_count: int
    state: StudyState
    reasons: list[Reason]


class Analysis(Answer):
    """One analysis of one series."""

    id: str
    series_instance_uid: Uid
    model: models.Model
    status: AnalysisStatus | Literal["not_chosen"] = Field(validation_alias="answer_status")
    """``not_chosen``: another reconstruction of the acquisition was analysed instead."""
    reasons: list[Reason]
    caveats: list[Reason]
    """Caveats of the result; empty if none."""
    overruled: list[Reason]
    """Refusals that a radiologist overruled for it; each text is the radiologist's reason."""
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class Delivery(Answer):
    """Delivery of one result object to one destination."""

    id: str
    analysis_id: str
    sop_instance_uid: Uid
    kind: str
    destination: str
    status: DeliveryStatus
    reason: str
    updated_at: Moment


class OtherStudy(Answer):
    """Another study of the same patient."""

    study_instance_uid: Uid
    study_date: str
    study_description: str
    instance_count: int


class Study(WorklistItem):
    """A study with its parts; ``analyses`` are finished ones, ``pending_analyses`` the others.

    ``others`` are the patient's other studies, latest first.
    """

    overrulable: list[OverrulableCode]
    """Refusals that a radiologist may overrule (POST .../overruled); empty while an analysis is pending."""
    series: list[Series]
    analyses: list[Analysis]
    pending_analyses: list[Analysis]
    findings: list[Finding]
    deliveries: list[Delivery]
    others: list[OtherStudy]

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, detail: object) -> object:
        if not isinstance(detail, StudyDetail):
            return detail
        return merged(
            detail.item,
            detail,
            overrulable=overrulable(detail.series, detail.findings),
            analyses=[record for record in detail.analyses if record.status not in PENDING],
            pending_analyses=[record for record in detail.analyses if record.status in PENDING],
        )


def overrulable(series: Iterable[SeriesRecord], findings: Iterable[FindingRecord] = ()) -> list[str]:
    """Return the codes of refusals, of settled series and their findings, that a radiologist may overrule."""
    settled = {record.series_instance_uid: record.reasons for record in series if record.state in OVERRULABLE_STATES}
    of_findings = [
        record.finding.reasons
        for record in findings
        if record.origin is FindingOrigin.MODEL and record.series_instance_uid in settled
    ]
    return sorted({reason.code for reasons in (*settled.values(), *of_findings) for reason in reasons} & OVERRULABLE)


class Slice(Answer):
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


class Slices(Answer):
    """The displayable slices of one series, in anatomical order."""

    series_instance_uid: Uid
    slices: list[Slice]


PixelCoordinate = Annotated[
    float, Field(ge=0, le=MAX_PIXEL_INDEX), Rule("The field {name} must be a number of pixels of at least 0.")
]


class NewFinding(Body):
    """A finding to mark."""

    series_instance_uid: GivenUid
    sop_instance_uid: GivenUid
    row: PixelCoordinate
    column: PixelCoordinate
    frame_number: Annotated[
        int, Field(ge=1, le=MAX_PIXEL_INDEX), Rule("The field {name} must be an integer of at least 1.")
    ] = 1


AxisEnd = Annotated[float, Field(strict=True, ge=0, le=MAX_PIXEL_INDEX)]
NewAxis = tuple[tuple[AxisEnd, AxisEnd], tuple[AxisEnd, AxisEnd]]


class NewSize(Body):
    """Two axes that a reader measured on one frame, each from one end to the other (row, column)."""

    model_config = ConfigDict(strict=False)  # JSON has lists for tuples; the values themselves are strict

    sop_instance_uid: GivenUid
    frame_number: Annotated[int, Field(strict=True, ge=1, le=MAX_PIXEL_INDEX)] = 1
    axes: tuple[NewAxis, NewAxis]


class NewAssessment(Body):
    """A reader's verdict on a finding; without ``size`` the one that this reader measured before goes on."""

    verdict: Annotated[
        Verdict, Field(strict=False), Rule(english("The verdict must be accept, reject or unsure."), "bad_verdict", 400)
    ]
    reason: Text = ""
    comment: Text = ""
    size: Annotated[
        NewSize | None,
        Field(strict=False),
        Rule("The field {name} must hold a frame and two axes, each with two points of a row and a column."),
    ] = None


class NewReading(Body):
    """An event of a reading, with its time in seconds since the first image was on the screen."""

    event: Annotated[
        ReadingEvent,
        Field(strict=False),
        Rule(english("The event must be opened, revealed or closed."), "bad_event", 400),
    ]
    model_hidden: Annotated[bool, Rule(english("model_hidden must be true or false."), "bad_event", 400)]
    seconds: Annotated[
        float, Field(ge=0, le=MAX_SECONDS), Rule("The field {name} must be a number of seconds of at least 0.")
    ]


class Recorded(Answer):
    """Confirmation of a record."""

    recorded: Literal[True]


class NewAnalysis(Body):
    """Series to analyse again, also one that was not chosen; all of the study by default."""

    series_instance_uid: GivenUid = ""


class NewOverrule(Body):
    """Refusals to overrule, and the reason."""

    reason: Annotated[Text, Rule(english("A reason is needed."), "reason_missing", 400, is_missing=True)]
    overrule: Annotated[
        list[OverrulableCode],
        Field(min_length=1),
        Rule(english("Only derived, lossy and kernel can be overruled."), "bad_overrule", 400),
    ]


class Analyses(Answer):
    """The requested analyses."""

    analyses: list[Analysis]


class Completed(Answer):
    """The series marked as complete."""

    series: list[Series]
