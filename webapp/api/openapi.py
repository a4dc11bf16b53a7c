"""OpenAPI 3.1 document, generated from the shapes that the code is type-checked against."""

from __future__ import annotations

from typing import Any

from webapp.api.operations import Operation
from webapp.api.operations_admin import ADMINISTRATION
from webapp.api.operations_service import SERVICE
from webapp.api.operations_studies import STUDIES
from webapp.api.operations_uploads import UPLOADS
from webapp.api.operations_worklist import WORKLIST
from webapp.api.schema import Schema, SchemaBook
from webapp.api.shapes import Error

DESCRIPTION = (
    "A calibrated second reader for lung CT. Every result is a second reading for a physician, never a diagnosis. "
    "Where sign-in is on, send a token (`Authorization: Bearer ...`); browsers send their session and a form token. "
    "Stored studies are also at `/dicom-web/`, as DICOM PS3.18 says (QIDO-RS, WADO-RS, STOW-RS)."
)
OPERATIONS = (*UPLOADS, *WORKLIST, *ADMINISTRATION, *STUDIES, *SERVICE)
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
    200: "OK.",
    201: "Recorded.",
    202: "Accepted for processing.",
    204: "Deleted.",
    400: "Malformed request.",
    401: "Not signed in.",
    403: "Not allowed, or cross-site request.",
    404: "Not found.",
    409: "Not possible in this state.",
    413: "Too large.",
    415: "Unsupported media type.",
    422: "Cannot be processed.",
    429: "Too many requests.",
    500: "Internal error.",
    503: "Service unavailable.",
}
ALWAYS = (400, 413, 500, 503)
"""Error responses of any operation: unknown host name, body too large, internal error, database unavailable."""
GUARDED = (401, 403)
"""Error responses of every operation that is not public."""


def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI document."""
    book = SchemaBook()
    error = {"application/json": {"schema": book.reference(Error)}}
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
    for status in sorted({*operation.refusals, *ALWAYS, *guarded} - set(responses)):
        responses[status] = error
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _operation_id(operation),
        "parameters": _path_parameters(operation.path) + [_query(*parameter) for parameter in operation.query],
        "responses": {
            str(status): {"description": WORDS[status], "content": content} for status, content in responses.items()
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": book.reference(operation.body)}},
        }
    if operation.form is not None:
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": operation.form}}}
    if operation.public:
        described["security"] = []
    return described


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
