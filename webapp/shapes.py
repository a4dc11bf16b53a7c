"""The JSON that goes out and comes in, as types: mypy holds the code to them, ``/openapi.json`` shows them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

StateWord = Literal["receiving", "queued", "analysing", "analysed", "not_analysed", "failed"]
VerdictWord = Literal["accept", "reject", "unsure"]
Probability = Annotated[float, ("minimum", 0), ("maximum", 1)]
Percent = Annotated[float, ("minimum", 0), ("maximum", 100)]
Uid = Annotated[str, ("pattern", "^[0-9.]{1,64}$")]
Moment = Annotated[str, ("format", "date-time")]
Interval = Annotated[list[float], ("minItems", 2), ("maxItems", 2)]
Triple = Annotated[list[float], ("minItems", 3), ("maxItems", 3)]
Sextuple = Annotated[list[float], ("minItems", 6), ("maxItems", 6)]


class ErrorDetail(TypedDict):
    """What is wrong, for programs (``code``) and for people (``message``); quote ``reference`` when asking for help."""

    code: str
    message: str
    reference: str


class Error(TypedDict):
    """Every refusal."""

    error: ErrorDetail


class ReasonShape(TypedDict):
    """Why there is no answer, or which doubt stands beside it."""

    code: str
    text: str


class PatientShape(TypedDict):
    """Whose images these are, as received."""

    id: str
    name: str
    birth_date: str
    sex: str


class ModelShape(TypedDict):
    """Which model answered."""

    name: str
    version: str
    sha256: str


class WorklistItemShape(TypedDict):
    """One study on the worklist."""

    study_instance_uid: Uid
    patient: PatientShape
    accession_number: str
    study_date: str
    study_description: str
    state: StateWord
    reasons: list[ReasonShape]
    series_count: int
    instance_count: int
    finding_count: int | None
    """None, as the probability, for a browser whose reader chose to read before the model is shown."""
    malignancy_probability: Probability | None
    interval: Interval | None
    received_at: Moment
    analysed_at: Moment | None
    waiting_s: float
    reviewed_at: Moment | None
    reviewed_by: str | None


class WorklistShape(TypedDict):
    """One page of the worklist; ``next`` is the cursor of the next one."""

    items: list[WorklistItemShape]
    next: str | None


class NewReviewShape(TypedDict):
    """Whether a reader is done with a study."""

    reviewed: bool


class ReviewShape(TypedDict):
    """What holds now; images and answers that come later reopen a study by themselves."""

    study_instance_uid: Uid
    reviewed: bool


class NewSavedFilterShape(TypedDict):
    """A name for a way to look at the worklist; ``query`` holds parameters of ``GET /api/v1/worklist``."""

    name: Annotated[str, ("minLength", 1), ("maxLength", 60)]
    query: dict[str, str]


class SavedFilterShape(NewSavedFilterShape):
    """A reader's own way to look at the worklist, and the page's address that shows it."""

    id: str
    url: str


class SavedFiltersShape(TypedDict):
    """The caller's saved filters, oldest first."""

    filters: list[SavedFilterShape]


class AssessmentShape(TypedDict):
    """A reader's verdict."""

    verdict: VerdictWord
    reason: str
    comment: str
    reader: str
    created_at: Moment


class FindingShape(TypedDict):
    """A place in the images and what model and reader make of it. Row and column are 0-based stored pixels."""

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
    prediction_set: list[str]
    reasons: list[ReasonShape]
    attributes: dict[str, object]
    origin: Literal["model", "reader"]
    model: ModelShape
    verdict: VerdictWord | None
    assessment: AssessmentShape | None
    created_at: Moment
    created_by: str


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


class OverviewShape(TypedDict):
    """What an administrator looks after."""

    peers: list[NodeShape]
    destinations: list[DestinationShape]
    dead_letters: list[DeliveryShape]
    dead_letter_count: int
    jobs: list[AnalysisShape]
    prior_shortfalls: list[PriorShortfallShape]


class PriorShortfallShape(TypedDict):
    """What did not come of earlier studies for a study; counts are null of a search, the next attempt once given up."""

    study_instance_uid: Uid
    pacs: str
    status: Literal["pending", "done", "incomplete", "failed"]
    expected_count: int | None
    received_count: int | None
    attempts: int
    reason: str
    updated_at: Moment
    next_attempt_at: Moment | None


class CountShape(TypedDict):
    """How much it was."""

    count: int


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


class FigureShape(TypedDict):
    """One figure of the live model (first) and the candidate (second), with 95 % intervals."""

    first: float
    first_interval: Interval
    second: float
    second_interval: Interval
    difference: float
    difference_interval: Interval
    p: Probability | None


class DecisionsShape(TypedDict):
    """Decisions of which only one model's was right, and the p of McNemar's exact test."""

    only_first_right: int
    only_second_right: int
    p: Probability


class ComparisonShape(TypedDict):
    """What follows from the findings that readers judged; figures are null where there are too few."""

    conclusion: Literal["too_few", "worse", "not_worse", "better"]
    reason: str
    n: int
    positives: int
    patients: int
    auc: FigureShape | None
    decisions: DecisionsShape | None
    brier: FigureShape | None
    calibration_error: FigureShape | None


class CandidateReportShape(TypedDict):
    """How a model that was tried unseen compares with the live one."""

    live: ModelShape | None
    candidate: ModelShape
    series_count: int
    left_out: dict[str, int]
    comparison: ComparisonShape
    judged_by: Literal["pathology", "verdicts"]
    matched_within_mm: float
    decision_at: Probability


class CandidateShape(TypedDict):
    """The comparison of the model that was tried last; null where none was."""

    report: CandidateReportShape | None


class ResendShape(TypedDict, total=False):
    """Which dead letters to send again: those to one destination, or all."""

    destination: str


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


class AnalysesShape(TypedDict):
    """The analyses that were asked for."""

    analyses: list[AnalysisShape]


class CompletedShape(TypedDict):
    """The series that are not waited for any longer."""

    series: list[SeriesShape]


class InputShape(TypedDict):
    """What the upload was taken for, and whether the model was validated for such input."""

    kind: Literal["slice", "nodule", "dicom"]
    in_domain: bool
    reasons: list[str]


class UsedModelShape(ModelShape):
    """Which model answered, and the temperature that its logits were divided by."""

    temperature: float


class UploadPatientShape(TypedDict, total=False):
    """What the uploader told about the patient."""

    age: int
    sex: str
    smoking_pack_years: float
    family_history: bool
    symptoms: str


class StudyTakenShape(TypedDict):
    """A zip was taken into intake as a study."""

    study_instance_uid: Uid
    url: str


class ReadinessShape(TypedDict):
    """Whether work can be done now, part by part."""

    ready: bool
    checks: dict[str, str]


class LivenessShape(TypedDict):
    """The process answers."""

    alive: bool


class ModelStatusShape(TypedDict):
    """The nodule model's own account on top, all models in ``models``, and the server's counters."""

    task: NotRequired[str]
    name: NotRequired[str]
    version: NotRequired[str]
    sha256: NotRequired[str]
    architecture: NotRequired[str]
    device: NotRequired[str]
    engine: NotRequired[str]
    parameter_count: NotRequired[int]
    input_shape: NotRequired[list[int]]
    classes: NotRequired[list[str]]
    temperature: NotRequired[float]
    metrics: NotRequired[dict[str, object]]
    training_data: NotRequired[dict[str, object]]
    intended_use: NotRequired[str]
    limits: NotRequired[list[str]]
    models: NotRequired[list[dict[str, object]]]
    error: NotRequired[str]
    uptime_s: float
    predictions_served: int


RawAnswerShape = TypedDict("RawAnswerShape", {"class": str | None, "confidence": dict[str, Probability]})
"""A raw answer for input that the model was not validated for; never to be shown without its warning."""

PredictionShape = TypedDict(
    "PredictionShape",
    {
        "id": str,
        "class": str | None,
        "confidence": dict[str, Probability],
        "confidence_percent": dict[str, Percent],
        "prediction_set": list[str],
        "input": InputShape,
        "model": UsedModelShape,
        "patient": UploadPatientShape,
        "explanation_url": str | None,
        "unvalidated": NotRequired[RawAnswerShape],
    },
)
"""The answer to an upload."""
