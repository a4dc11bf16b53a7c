"""API operations of studies and findings."""

from __future__ import annotations

from webapp.api.operations import HTML, PNG, STUDY, Operation
from webapp.api.shapes_studies import (
    AnalysesShape,
    CompletedShape,
    FindingShape,
    NewAnalysisShape,
    NewAssessmentShape,
    NewFindingShape,
    NewOverruleShape,
    NewReadingShape,
    RecordedShape,
    SlicesShape,
    StudyShape,
)

MAP_QUERY = (
    ("map", {"type": "string", "enum": ["attention", "gradient"], "default": "attention"},
     "The network's attention, or the gradient of its output."),
)  # fmt: skip
STUDIES = (
    Operation("get", "/studies/{study_uid}", "The viewer", {200: HTML}, (404,)),
    Operation("get", STUDY, "A study with series, analyses and findings", {200: StudyShape}, (404, 503)),
    Operation(
        "get",
        STUDY + "/series/{series_uid}/slices",
        "A series' slices in anatomical order",
        {200: SlicesShape},
        (404, 503),
    ),
    Operation(
        "post",
        STUDY + "/findings",
        "Mark a nodule, which is analysed at once",
        {201: FindingShape},
        (400, 404, 415, 422, 503),
        body=NewFindingShape,
    ),
    Operation(
        "post",
        STUDY + "/analyses",
        "Request new analyses",
        {202: AnalysesShape},
        (400, 404, 409, 415, 422, 503),
        body=NewAnalysisShape,
    ),
    Operation(
        "post",
        STUDY + "/overruled",
        "Overrule refusals as derived, lossy or of another kernel, and request analyses",
        {202: AnalysesShape},
        (400, 404, 409, 415, 422, 503),
        body=NewOverruleShape,
    ),
    Operation("post", STUDY + "/complete", "Mark a study as complete", {202: CompletedShape}, (404, 503)),
    Operation(
        "post",
        "/api/v1/findings/{finding_id}/assessment",
        "Record a verdict on a finding",
        {201: FindingShape},
        (400, 404, 415, 422, 503),
        body=NewAssessmentShape,
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}/assessment",
        "Withdraw the latest verdict; the previous one counts again",
        {200: FindingShape},
        (404, 409, 503),
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}",
        "Remove a reader's mark",
        {200: RecordedShape},
        (404, 409, 503),
    ),
    Operation(
        "get",
        "/api/v1/findings/{finding_id}/attention.png",
        "The model's attention, as a transparent image of the size of the slice",
        {200: PNG},
        (400, 404, 409, 422, 503),
        query=MAP_QUERY,
    ),
    Operation(
        "post",
        STUDY + "/readings",
        "Record that a reader opened a study, revealed the model's findings, or closed it",
        {201: RecordedShape},
        (400, 404, 415, 422, 503),
        body=NewReadingShape,
    ),
)
