"""The OpenAPI 3.1 document, made from the shapes that the code is type-checked against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp import shapes
from webapp.schema import Schema, SchemaBook

DESCRIPTION = (
    "A calibrated second reader for lung CT. Every result is a second reading for a physician, never a diagnosis. "
    "Where sign-in is on, send a token (`Authorization: Bearer ...`); browsers send their session and a form token. "
    "Stored studies are also at `/dicom-web/`, as DICOM PS3.18 says (QIDO-RS, WADO-RS, STOW-RS)."
)
PNG: Schema = {"image/png": {"schema": {"type": "string", "contentEncoding": "binary"}}}
HTML: Schema = {"text/html": {"schema": {"type": "string"}}}
TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
EVENTS: Schema = {"text/event-stream": {"schema": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked."""

    method: str
    path: str
    summary: str
    answers: dict[int, Any]
    """Shape (JSON) or content by status."""
    refusals: tuple[int, ...] = ()
    query: tuple[tuple[str, Schema, str], ...] = ()
    body: Any = None
    form: Schema | None = None
    public: bool = False
    alternative: Schema | None = None
    """Another content of the first answer, chosen by ``Accept``."""


STATE: Schema = {"type": "string", "enum": ["receiving", "queued", "analysing", "analysed", "not_analysed", "failed"]}
DATE: Schema = {"type": "string", "pattern": r"^\d{4}-?\d{2}-?\d{2}$"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
WORKLIST_QUERY = (
    ("state", STATE, "Only studies in this state."),
    (
        "q",
        {"type": "string", "maxLength": 2000},
        "Words that name, id, accession number, description or study UID hold; one or two letters begin a word.",
    ),
    ("date_from", DATE, "Only studies of this study date or later."),
    ("date_to", DATE, "Only studies of this study date or earlier."),
    ("min_probability", SHARE, "Only studies whose highest calibrated probability is this or more."),
    ("max_probability", SHARE, "Only studies whose highest calibrated probability is this or less."),
    ("reviewed", {"type": "string", "enum": ["yes", "no"]}, "Only studies that a reader is done with, or is not."),
    (
        "sort",
        {"type": "string", "enum": ["newest", "oldest", "priority"], "default": "newest"},
        "By arrival; or what waited too long first, then by probability, then what has none, then what is reviewed.",
    ),
    ("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "Studies on one page."),
    ("cursor", {"type": "string"}, "`next` of the page before."),
)
AUDIT_QUERY = (
    ("subject", {"type": "string", "maxLength": 64}, "Only events about this opaque id."),
    ("before", {"type": "integer", "minimum": 1}, "Only events before this sequence number."),
)
MAP_QUERY = (
    ("map", {"type": "string", "enum": ["attention", "gradient"], "default": "attention"},
     "The network's own attention, or the pixels that move its answer."),
)  # fmt: skip
FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
UPLOAD_FORM: Schema = {
    "type": "object",
    "properties": {
        "image": FILE | {"description": "PNG, JPEG, a DICOM instance, or a zip of a DICOM series; told by content."},
        "file": FILE | {"description": "The same as `image`."},
        "row": {"type": "number", "minimum": 0, "description": "0-based row of a nodule in a DICOM instance."},
        "column": {"type": "number", "minimum": 0, "description": "0-based column of a nodule in a DICOM instance."},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "sex": {"type": "string", "enum": ["female", "male", "other"]},
        "smoking_pack_years": {"type": "number", "minimum": 0, "maximum": 500},
        "family_history": {"type": "string", "enum": ["yes", "no"]},
        "symptoms": {"type": "string", "maxLength": 2000},
    },
    "anyOf": [{"required": ["image"]}, {"required": ["file"]}],
}
STUDY = "/api/v1/studies/{study_uid}"
FILTERS = "/api/v1/worklist/filters"
DELIVERY_QUERY = (
    (
        "status",
        {"type": "string", "enum": ["pending", "sent", "committed", "failed", "declined"]},
        "Only those of this status; `failed` are the dead letters.",
    ),
)
ADMIN = "/api/v1/admin"
ADMINISTRATION = (
    Operation("get", "/admin", "Peers, destinations, deliveries and jobs as a page", {200: HTML}),
    Operation("get", ADMIN, "Peers, destinations, dead letters and jobs", {200: shapes.OverviewShape}, (503,)),
    Operation(
        "get",
        ADMIN + "/deliveries",
        "Deliveries, those that changed last first",
        {200: shapes.DeliveriesShape},
        (400, 503),
        query=DELIVERY_QUERY,
    ),
    Operation(
        "post", ADMIN + "/deliveries/{delivery_id}/resend", "Send again", {200: shapes.DeliveryShape}, (404, 503)
    ),
    Operation(
        "post",
        ADMIN + "/dead-letters/resend",
        "Send everything again that was given up",
        {200: shapes.DeliveriesShape},
        (400, 415, 422, 503),
        body=shapes.ResendShape,
    ),
    Operation(
        "post",
        ADMIN + "/priors/again",
        "Fetch earlier studies again that were given up",
        {200: shapes.CountShape},
        (503,),
    ),
    Operation("get", "/admin/candidate", "How the candidate model compares, as a page", {200: HTML}),
    Operation("get", ADMIN + "/candidate", "How the candidate model compares", {200: shapes.CandidateShape}, (503,)),
    Operation("get", ADMIN + "/scanners", "Scanners, and which are held", {200: shapes.ScannersShape}, (503,)),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/hold",
        "Keep what comes from a scanner from readers",
        {200: shapes.ScannerShape},
        (400, 404, 415, 422, 503),
        body=shapes.HoldScannerShape,
    ),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/release",
        "Show what comes from a scanner from now on",
        {200: shapes.ScannerShape},
        (400, 404, 415, 422, 503),
        body=shapes.ReleaseScannerShape,
    ),
)
OPERATIONS = (
    Operation("get", "/", "Educational page", {200: HTML}, public=True),
    Operation("get", "/detector", "Upload form", {200: HTML}),
    Operation("get", "/conformance", "DICOM conformance statement", {200: HTML}),
    Operation("get", "/model", "Model card", {200: HTML}, (503,)),
    Operation("get", "/model/{model_name}/{plot}.png", "A plot that came with a model", {200: PNG}, (404,)),
    Operation(
        "post",
        "/predict",
        "Answer one slice or nodule; take in a zip as a study",
        {200: shapes.PredictionShape, 202: shapes.StudyTakenShape},
        (400, 413, 415, 422, 429, 503),
        form=UPLOAD_FORM,
        alternative=HTML,
    ),
    Operation(
        "post",
        "/predict/preview",
        "Draw a DICOM instance in the lung window; nothing is kept",
        {200: PNG},
        (400, 413, 415, 422, 429, 503),
        form=UPLOAD_FORM,
    ),
    Operation(
        "get",
        "/predictions/{prediction_id}",
        "An earlier answer",
        {200: shapes.PredictionShape},
        (404,),
        alternative=HTML,
    ),
    Operation(
        "get",
        "/predictions/{prediction_id}/{name}.png",
        "The picture that was read, or the attention overlay",
        {200: PNG},
        (404,),
    ),
    Operation(
        "get", "/model_status", "What the models are and how well they do", {200: shapes.ModelStatusShape}, (503,)
    ),
    Operation("get", "/worklist", "The worklist as a page", {200: HTML}, (400,), query=WORKLIST_QUERY),
    Operation(
        "get",
        "/api/v1/worklist",
        "Studies, newest first unless another order is asked for",
        {200: shapes.WorklistShape},
        (400, 503),
        query=WORKLIST_QUERY,
    ),
    Operation("get", FILTERS, "The caller's saved filters", {200: shapes.SavedFiltersShape}, (503,)),
    Operation(
        "post",
        FILTERS,
        "Keep a filter under a name",
        {201: shapes.SavedFilterShape},
        (400, 415, 422, 503),
        body=shapes.NewSavedFilterShape,
    ),
    Operation("delete", FILTERS + "/{filter_id}", "Forget a saved filter", {204: {}}, (404, 503)),
    Operation(
        "post",
        STUDY + "/review",
        "Say that a reader is done with a study, or is not",
        {200: shapes.ReviewShape},
        (400, 404, 415, 503),
        body=shapes.NewReviewShape,
    ),
    Operation("get", "/audit", "The audit trail as a page", {200: HTML}, (400,), query=AUDIT_QUERY),
    Operation("get", "/audit/results/{analysis_id}", "The whole story of one result", {200: HTML}, (404,)),
    Operation("get", "/monitoring", "Drift and calibration of the model in use, as a page", {200: HTML}, (503,)),
    *ADMINISTRATION,
    Operation("get", "/studies/{study_uid}", "The viewer", {200: HTML}, (404,)),
    Operation("get", STUDY, "A study with series, analyses and findings", {200: shapes.StudyShape}, (404, 503)),
    Operation(
        "get",
        STUDY + "/series/{series_uid}/slices",
        "A series' slices in anatomical order",
        {200: shapes.SlicesShape},
        (404, 503),
    ),
    Operation(
        "post",
        STUDY + "/findings",
        "A reader points at a nodule; it is analysed at once",
        {201: shapes.FindingShape},
        (400, 404, 415, 422, 503),
        body=shapes.NewFindingShape,
    ),
    Operation(
        "post",
        STUDY + "/analyses",
        "Ask for new analyses",
        {202: shapes.AnalysesShape},
        (400, 404, 409, 415, 503),
        body=shapes.NewAnalysisShape,
    ),
    Operation("post", STUDY + "/complete", "Stop waiting for further images", {202: shapes.CompletedShape}, (404, 503)),
    Operation(
        "post",
        "/api/v1/findings/{finding_id}/assessment",
        "A reader's verdict on a finding",
        {201: shapes.FindingShape},
        (400, 404, 415, 422, 503),
        body=shapes.NewAssessmentShape,
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}/assessment",
        "Take the latest verdict back; the one before it counts again",
        {200: shapes.FindingShape},
        (404, 409, 503),
    ),
    Operation(
        "delete",
        "/api/v1/findings/{finding_id}",
        "Take back a place that a reader pointed at",
        {200: shapes.RecordedShape},
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
        {201: shapes.RecordedShape},
        (400, 404, 415, 422, 503),
        body=shapes.NewReadingShape,
    ),
    Operation("get", "/events", "Server-sent events: the worklist changed", {200: EVENTS}),
    Operation("get", "/livez", "The process lives", {200: shapes.LivenessShape}, public=True),
    Operation("get", "/readyz", "Whether work can be done", {200: shapes.ReadinessShape, 503: shapes.ReadinessShape}),
    Operation("get", "/metrics", "Counters for Prometheus", {200: TEXT}),
    Operation("get", "/openapi.json", "This document", {200: {"application/json": {"schema": {"type": "object"}}}}),
)
PARAMETERS: dict[str, Schema] = {
    "study_uid": {"type": "string", "pattern": "^[0-9.]{1,64}$"},
    "series_uid": {"type": "string", "pattern": "^[0-9.]{1,64}$"},
    "sop_uid": {"type": "string", "pattern": "^[0-9.]{1,64}$"},
    "frame_number": {"type": "integer", "minimum": 1},
    "finding_id": {"type": "string"},
    "key": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "delivery_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "analysis_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "filter_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "prediction_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "model_name": {"type": "string"},
    "plot": {"type": "string", "enum": ["reliability_before", "reliability_after", "roc", "histogram"]},
    "name": {"type": "string", "enum": ["image", "attention"]},
}
WORDS = {
    200: "Answered.",
    201: "Recorded.",
    202: "Accepted; it is done later.",
    204: "Done.",
    400: "Not understood.",
    401: "Not signed in.",
    403: "Not allowed, or sent by another site.",
    404: "There is no such thing.",
    409: "Not possible in this state.",
    413: "Too large.",
    415: "Not a type that is read.",
    422: "Cannot be answered.",
    429: "Too many requests.",
    503: "Not available just now.",
}
GUARDED = (400, 401, 403)
"""What the guard may answer in front of every page that is not public."""


def document(version: str) -> dict[str, Any]:
    """Describe everything that can be asked."""
    book = SchemaBook()
    error = {"application/json": {"schema": book.reference(shapes.Error)}}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, book, error)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lungnode",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": [], "form": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(book.schemas.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "lungnode_session"},
                "form": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
        },
    }


def _operation(operation: Operation, book: SchemaBook, error: Schema) -> dict[str, Any]:
    responses = {status: _content(answer, book) for status, answer in operation.answers.items()}
    if operation.alternative:
        first = next(iter(responses))
        responses[first] = responses[first] | operation.alternative
    guarded = () if operation.public else GUARDED
    for status in sorted({*operation.refusals, *guarded} - set(responses)):
        responses[status] = error
    made: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _operation_id(operation),
        "parameters": _path_parameters(operation.path) + [_query(*parameter) for parameter in operation.query],
        "responses": {
            str(status): {"description": WORDS[status], "content": content} for status, content in responses.items()
        },
    }
    if operation.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": book.reference(operation.body)}},
        }
    if operation.form is not None:
        made["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": operation.form}}}
    if operation.public:
        made["security"] = []
    return made


def _content(answer: Any, book: SchemaBook) -> Schema:
    if isinstance(answer, dict):
        return answer
    return {"application/json": {"schema": book.reference(answer)}}


def _operation_id(operation: Operation) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in operation.path).split()
    return "_".join((operation.method, *words)) if words else f"{operation.method}_home"


def _path_parameters(path: str) -> list[Schema]:
    names = [part.split("}")[0] for part in path.split("{")[1:]]
    return [{"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]} for name in names]


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
