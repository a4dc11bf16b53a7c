"""What can be asked of a study and its findings."""

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
     "The network's own attention, or the pixels that move its answer."),
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
        "A reader points at a nodule; it is analysed at once",
        {201: FindingShape},
        (400, 404, 415, 422, 503),
        body=NewFindingShape,
    ),
    Operation(
        "post",
        STUDY + "/analyses",
        "Ask for new analyses",
        {202: AnalysesShape},
        (400, 404, 409, 415, 422, 503),
        body=NewAnalysisShape,
    ),
    Operation(
        "post",
        STUDY + "/overruled",
        "A radiologist has series analysed although they were refused as derived, lossy or of another kernel",
        {202: AnalysesShape},
        (400, 404, 409, 415, 422, 503),
        body=NewOverruleShape,
    ),
    Operation("post", STUDY + "/complete", "Stop waiting for further images", {202: CompletedShape}, (404, 503)),
    Operation(
        "post",
        "/api/v1/findings/{finding_id}/assessment",
        "A reader's verdict on a finding",
        {201: FindingShape},
        (400, 404, 415, 422, 503),
        body=NewAssessmentShape,
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}/assessment",
        "Take the latest verdict back; the one before it counts again",
        {200: FindingShape},
        (404, 409, 503),
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}",
        "Take back a place that a reader pointed at",
        {200: RecordedShape},
        (404, 409, 503),
    ),
    Operation(
        "get",
        "/api/v1/findings/{finding_id}/attention.png",
        "Where the model looks, as a transparent picture of the size of the slice",
        {200: PNG},
        (400, 404, 409, 422, 503),
        query=MAP_QUERY,
    ),
    Operation(
        "post",
        STUDY + "/readings",
        "Put on record that a reader opened a study, was shown the model's findings, or left",
        {201: RecordedShape},
        (400, 404, 415, 422, 503),
        body=NewReadingShape,
    ),
)
