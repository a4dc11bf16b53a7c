"""OpenAPI 3.1 document, generated from the shapes that the code is type-checked against."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from webapp.api.schema import Schema, SchemaBook
from webapp.api.shapes import Error
from webapp.endpoints import EVERYONE, Endpoint
from webapp.http.routing import HexIdConverter, UidConverter

DESCRIPTION = (
    "A calibrated second reader for lung CT. Every result is a second reading for a physician, never a diagnosis. "
    "Where sign-in is on, send a token (`Authorization: Bearer ...`); browsers send their session and a form token. "
    "Stored studies are also at `/dicom-web/`, as DICOM PS3.18 says (QIDO-RS, WADO-RS, STOW-RS)."
)
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
VARIABLE = re.compile(r"<(?:(\w+)(?:\((.*?)\))?:)?(\w+)>")
"""A variable of a URL rule: converter, its arguments, name."""
CONVERTERS: dict[str, Schema] = {
    "": {"type": "string"},
    "uid": {"type": "string", "pattern": f"^{UidConverter.regex}$"},
    "hex_id": {"type": "string", "pattern": f"^{HexIdConverter.regex}$"},
}


def document(version: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of the endpoints that declare answers."""
    book = SchemaBook()
    error = {"application/json": {"schema": book.reference(Error)}}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        for path in endpoint.paths if endpoint.answers else ():
            url = VARIABLE.sub(r"{\3}", path)
            paths.setdefault(url, {})[endpoint.method.lower()] = _operation(endpoint, path, book, error)
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


def _operation(endpoint: Endpoint, path: str, book: SchemaBook, error: Schema) -> dict[str, Any]:
    responses = {status: _content(answer, book) for status, answer in endpoint.answers.items()}
    first = next(iter(responses))
    responses[first] = responses[first] | endpoint.alternative
    parameters = _path_parameters(path)
    is_public = endpoint.may is EVERYONE
    errors = {*endpoint.errors, *ALWAYS, *(() if is_public else GUARDED)}
    errors |= {404} if parameters else set()
    errors |= {415} if endpoint.body else set()
    for status in sorted(errors - set(responses)):
        responses[status] = error
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _operation_id(endpoint.method.lower(), path),
        "parameters": parameters + [_query(*parameter) for parameter in endpoint.query or ()],
        "responses": {
            str(status): {"description": WORDS[status], "content": content} for status, content in responses.items()
        },
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": book.reference(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.form is not None:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": endpoint.form}}}
    if is_public:
        operation["security"] = []
    return operation


def _content(answer: Any, book: SchemaBook) -> Schema:
    if isinstance(answer, dict):
        return answer
    return {"application/json": {"schema": book.reference(answer)}}


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", VARIABLE.sub(r" \3 ", path))
    return "_".join((method, *words)) if words else f"{method}_home"


def _path_parameters(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _converted(converter, arguments)}
        for converter, arguments, name in VARIABLE.findall(path)
    ]


def _converted(converter: str, arguments: str) -> Schema:
    if converter == "any":
        return {"type": "string", "enum": [word.strip() for word in arguments.split(",")]}
    return CONVERTERS[converter]


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
