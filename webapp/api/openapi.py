"""OpenAPI 3.1 document, generated from the declarations of the endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import core_schema

from webapp.api.models import UID_SCHEMA, Error
from webapp.endpoints import EVERYONE, Endpoint, is_body_required, rules_of
from webapp.http.routing import HexIdConverter

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"
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
    "uid": {"type": "string", **UID_SCHEMA},
    "hex_id": {"type": "string", "pattern": f"^{HexIdConverter.regex}$"},
}


class PlainSchemas(GenerateJsonSchema):
    """JSON Schema (2020-12) in which a nullable type is one schema with two types."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        """Return the schema of a type or null."""
        inner, null = self.generate_inner(schema["schema"]), {"type": "null"}
        if isinstance(inner.get("type"), str) and "enum" not in inner:
            return inner | {"type": [inner["type"], "null"]}
        return {"anyOf": [inner, null]}


def document(version: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of the endpoints that declare answers."""
    published = [endpoint for endpoint in endpoints if endpoint.answers]
    schemas = _schemas(published)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in published:
        for path in endpoint.paths:
            operation = _operation(endpoint, path, schemas)
            paths.setdefault(VARIABLE.sub(r"{\3}", path), {})[endpoint.method.lower()] = operation
    queries = {endpoint.query.__name__ for endpoint in published if endpoint.query}
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
            "schemas": {name: schema for name, schema in sorted(schemas.items()) if name not in queries},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "lungnode_session"},
                "form": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
        },
    }


def _schemas(endpoints: Iterable[Endpoint]) -> dict[str, Schema]:
    """Return the schemas of all models by name."""
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Error, "serialization"): None}
    for endpoint in endpoints:
        models |= {(answer, "serialization"): None for answer in endpoint.answers.values() if isinstance(answer, type)}
        requests = (endpoint.body, endpoint.form, endpoint.query)
        models |= {(model, "validation"): None for model in requests if model is not None}
    template = PREFIX + "{model}"
    _, definitions = models_json_schema(list(models), ref_template=template, schema_generator=PlainSchemas)
    return {name: _plain(schema) for name, schema in definitions["$defs"].items()}


def _plain(schema: Any) -> Any:
    """Return a schema without titles and empty defaults."""
    if isinstance(schema, list):
        return [_plain(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("additionalProperties") is True:
        schema = schema | {"additionalProperties": {}}
    omitted = {"title"} | ({"default"} if schema.get("default", "") in (None, "") else set())
    return {name: _plain(inner) for name, inner in schema.items() if name not in omitted or isinstance(inner, dict)}


def _operation(endpoint: Endpoint, path: str, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    responses = {status: _content(answer) for status, answer in endpoint.answers.items()}
    first = next(iter(responses))
    responses[first] = responses[first] | endpoint.alternative
    parameters = _path_parameters(path)
    for status in sorted(_errors(endpoint) - set(responses) | ({404} if parameters else set())):
        responses[status] = _content(Error)
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _operation_id(endpoint.method.lower(), path),
        "parameters": parameters + (_query(schemas[endpoint.query.__name__]) if endpoint.query else []),
        "responses": {
            str(status): {"description": WORDS[status], "content": content} for status, content in responses.items()
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": is_body_required(endpoint.body), "content": _content(endpoint.body)}
    if endpoint.form is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.form, "multipart/form-data")}
    if endpoint.may is EVERYONE:
        operation["security"] = []
    return operation


def _errors(endpoint: Endpoint) -> set[int]:
    """Return the error statuses of an endpoint."""
    errors = {*endpoint.errors, *ALWAYS, *(() if endpoint.may is EVERYONE else GUARDED)}
    errors |= {429} if endpoint.limit is not None else set()
    if endpoint.body is not None:
        rules = [rule for name in endpoint.body.model_fields for rule in rules_of(endpoint.body, name)]
        errors |= {415} | {rule.status for rule in rules}
    return errors


def _content(answer: Any, media_type: str = "application/json") -> Schema:
    if isinstance(answer, dict):
        return answer
    return {media_type: {"schema": {"$ref": PREFIX + answer.__name__}}}


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


def _query(schema: Schema) -> list[Schema]:
    """Return the parameters of a query model's schema."""
    return [
        {"name": name, "in": "query", "required": False, "description": entry.pop("description", ""), "schema": entry}
        for name, entry in ((name, dict(entry)) for name, entry in schema.get("properties", {}).items())
    ]
