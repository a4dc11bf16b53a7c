"""Every refusal is one that the document names, in the form that it names: each operation is asked wrongly."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from db.domain.accounts import Role
from db.domain.errors import DatabaseUnavailableError
from tests.support.webapp_doubles import noise_png
from tests.unit.webapp.api.test_openapi import DOCUMENT, problems, resolved
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import api, shown_study
from webapp.http.oversized import TOO_LARGE


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    query: tuple[str, ...]
    body: dict[str, Any] | None
    form: dict[str, Any] | None


def operations() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            content = described.get("requestBody", {}).get("content", {})
            body, form = (
                resolved(content[kind]["schema"]) if kind in content else None
                for kind in ("application/json", "multipart/form-data")
            )
            query = tuple(entry["name"] for entry in described["parameters"] if entry["in"] == "query")
            yield Operation(method, path, query, body, form)


OPERATIONS = tuple(operations())
STREAMS = {"/events"}
"""Answered for as long as the reader stays."""
WRONG_VALUES = ["", " ", "0", "-1", "1.5", "x", "x" * 3000, "\0", "\u202e", "5000001", "9" * 30, "nan", "20260231"]
WRONG_JSON = ["", " ", "x", "x" * 3000, "\0", 0, -1, 1.5, 10**30, True, None, [], ["x"], {}, {"x": 1}]


@dataclass(frozen=True)
class Question:
    """A request, and why it is made."""

    why: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)


def path_of(operation: Operation, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], "0" * 32), operation.path)


def questions(operation: Operation, values: dict[str, str]) -> Iterator[Question]:
    path = path_of(operation, values)
    yield Question("as documented", path)
    for name in re.findall(r"\{(\w+)\}", operation.path):
        for value in ("1.9", "0" * 32, "f" * 32, "x", "%00", "9" * 70):
            yield Question(f"{name} {value}", path_of(operation, values | {name: value}))
    for name in operation.query:
        for value in WRONG_VALUES:
            yield Question(f"{name}={value[:9]!r}", path, {"query_string": {name: value}})
    if operation.method != "get":
        yield from bodies(operation, path)


def bodies(operation: Operation, path: str) -> Iterator[Question]:
    yield Question("too large", path, {"data": b"x" * 70_000, "content_type": "application/json"})
    yield Question("no type", path, {"data": b"{}"})
    yield Question("another type", path, {"data": b"{}", "content_type": "text/plain"})
    for raw in (b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff"):
        yield Question(f"JSON {raw[:9]!r}", path, {"data": raw, "content_type": "application/json"})
    if operation.form is not None:
        yield from forms(operation, path)
    if operation.body is not None:
        yield from json_bodies(operation, path)


def forms(operation: Operation, path: str) -> Iterator[Question]:
    assert operation.form is not None
    for name, schema in operation.form["properties"].items():
        is_file = "contentMediaType" in schema
        for value in WRONG_VALUES:
            content = {name: (io.BytesIO(value.encode()), "x")} if is_file else {name: value}
            yield Question(f"{name}={value[:9]!r}", path, {"data": {"image": (io.BytesIO(noise_png()), "x")} | content})


def json_bodies(operation: Operation, path: str) -> Iterator[Question]:
    assert operation.body is not None
    honest = {name: example(inner) for name, inner in operation.body["properties"].items()}
    yield Question("an honest body", path, {"json": honest})
    for name in honest:
        yield Question(f"without {name}", path, {"json": {key: honest[key] for key in honest if key != name}})
        for value in WRONG_JSON:
            yield Question(f"{name}: {str(value)[:9]!r}", path, {"json": honest | {name: value}})


def example(schema: dict[str, Any]) -> Any:
    schema = resolved(schema)
    kind = schema.get("type", "string")
    kind = kind if isinstance(kind, str) else kind[0]
    examples = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "string": "1.2"}
    return schema["enum"][0] if "enum" in schema else examples[kind]


def documented(operation: Operation, response: Any) -> list[str]:
    """Return the parts of an answer that are not in the document."""
    answers = DOCUMENT["paths"][operation.path][operation.method]["responses"]
    status = response.status_code
    if str(status) not in answers:
        return [f"{status} is not documented: {response.text[:200]}"]
    content = answers[str(status)]["content"]
    if content and response.mimetype not in content:
        return [f"{status} is {response.mimetype}"]
    if status >= 400:
        return problems(response.json, content["application/json"]["schema"])
    return []


def named_things(web: Web) -> dict[str, str]:
    """Values of the addresses' places for a study with a finding."""
    study = shown_study(web)
    finding = web.client().get(api(study)).get_json()["findings"][0]["id"]
    uids = {"study_uid": study.study_instance_uid, "series_uid": study.series_instance_uid}
    return uids | {"finding_id": finding, "model_name": "nodule", "plot": "roc", "name": "image"}


def test_wrong_questions_get_documented_answers(make_web: Callable[..., Web]) -> None:
    web = make_web(predictions_per_minute=10**6)
    values, client, addresses = named_things(web), web.client(), web.app.url_map.bind("localhost")
    result = []
    for operation in OPERATIONS:
        method = operation.method.upper()
        for question in questions(operation, values) if operation.path not in STREAMS else ():
            if addresses.test(unquote(question.path), method):
                response = client.open(question.path, method=method, **question.arguments)
                result += [
                    f"{method} {operation.path}, {question.why}: {text}" for text in documented(operation, response)
                ]
    assert result == []


def test_refusals_of_the_guard_are_documented(locked: Web) -> None:
    client, result = locked.client(), []
    for operation in OPERATIONS:
        path, method = path_of(operation, {}), operation.method.upper()
        asked = [
            client.open(path, method=method),
            client.open(path, method=method, headers={"Host": "elsewhere.example.org"}),
            client.open(path, method=method, headers={"Authorization": "Bearer x"}),
            client.open(path, method=method, headers={"Sec-Fetch-Site": "cross-site"}),
            client.open(path, method=method, environ_overrides={TOO_LARGE: True}),
        ]
        roles = [] if operation.path in STREAMS else list(Role)
        asked += [client.open(path, method=method, headers=locked.bearer(role)) for role in roles]
        result += [f"{method} {path}: {text}" for response in asked for text in documented(operation, response)]
    assert result == []


def test_a_database_that_is_gone_is_documented(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    values, result = named_things(web), []
    monkeypatch.setattr(type(web.database), "begin", gone)
    monkeypatch.setattr(type(web.database), "read", gone)
    for operation in OPERATIONS:
        if operation.path not in STREAMS:
            arguments: dict[str, Any] = {"json": {}} if operation.body is not None else {}
            if operation.form is not None:
                arguments = {"data": {"image": (io.BytesIO(noise_png()), "x")}}
            path, method = path_of(operation, values), operation.method.upper()
            response = web.client().open(path, method=method, **arguments)
            result += [f"{method} {path}: {text}" for text in documented(operation, response)]
    assert result == []


def test_the_walk_finds_what_is_not_documented(web: Web) -> None:
    liveness = next(operation for operation in OPERATIONS if operation.path == "/livez")
    assert documented(liveness, web.client().get("/livez")) == []
    assert documented(liveness, web.client().get("/no-such-page"))
    assert documented(liveness, web.client().get("/worklist?limit=0", headers={"Accept": "text/html"}))
