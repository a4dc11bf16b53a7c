"""Fields of JSON bodies and query parameters are read or refused by the rule of their model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint
from pydantic import BaseModel

from tests.unit.webapp.conftest import Web
from webapp.api.models_admin import HoldScanner, ReleaseScanner, Resend
from webapp.api.models_studies import NewAnalysis, NewAssessment, NewFinding, NewOverrule, NewReading
from webapp.api.models_worklist import NewReview, NewSavedFilter
from webapp.api.worklist_query import WorklistParameters
from webapp.assembly import declared_endpoints
from webapp.endpoints import EVERYONE, NoQuery, endpoint, rules_of, validated
from webapp.http.errors import WebError

POINT = {"series_instance_uid": "1.2", "sop_instance_uid": "1.3", "row": 1, "column": 2.5}
OVERRULED = {"overrule": ["lossy"], "reason": "x"}
READING = {"event": "opened", "model_hidden": True, "seconds": 1}
NO_NUMBERS = [None, "3", True, -1, float("nan"), float("inf"), 1e9, 10**400, [1]]
NO_TEXTS: list[object] = [None, 3, True, [], {}, "x" * 2001]
NO_UIDS = [None, 3, "", "1.2.x", "1..2", ".1", "1" * 65, "../../etc", ["1.2"], "1.2\n"]
NO_BOOLEANS: list[object] = [None, 0, 1, "true", []]
WRONG: list[tuple[type[BaseModel], dict[str, Any], str, list[Any], tuple[int, str]]] = [
    (NewFinding, POINT, "series_instance_uid", NO_UIDS, (422, "invalid_field")),
    (NewFinding, POINT, "sop_instance_uid", NO_UIDS, (422, "invalid_field")),
    (NewFinding, POINT, "row", NO_NUMBERS, (422, "invalid_field")),
    (NewFinding, POINT, "column", NO_NUMBERS, (422, "invalid_field")),
    (NewFinding, POINT, "frame_number", ["1", 0, True, 1.5, 10**9, None], (422, "invalid_field")),
    (NewAssessment, {"verdict": "accept"}, "verdict", [None, "maybe", ["accept"], {}, 1], (400, "bad_verdict")),
    (NewAssessment, {"verdict": "accept"}, "comment", NO_TEXTS, (422, "invalid_field")),
    (NewAssessment, {"verdict": "accept"}, "reason", NO_TEXTS, (422, "invalid_field")),
    (NewReading, READING, "event", [None, "x", 1, ["opened"]], (400, "bad_event")),
    (NewReading, READING, "model_hidden", NO_BOOLEANS, (400, "bad_event")),
    (NewReading, READING, "seconds", [None, "1", True, -1, 86_401, float("nan")], (422, "invalid_field")),
    (NewAnalysis, {}, "series_instance_uid", NO_UIDS, (422, "invalid_field")),
    (
        NewOverrule,
        OVERRULED,
        "overrule",
        [None, [], "lossy", ["x"]],
        (400, "bad_overrule"),
    ),
    (NewOverrule, OVERRULED, "reason", NO_TEXTS, (422, "invalid_field")),
    (NewReview, {"reviewed": True}, "reviewed", NO_BOOLEANS, (400, "bad_reviewed")),
    (NewSavedFilter, {"name": "x", "query": {}}, "name", [None, "", "x" * 61, 3], (422, "invalid_field")),
    (NewSavedFilter, {"name": "x", "query": {}}, "query", [None, [], "q", {"q": 1}], (400, "bad_filter")),
    (Resend, {}, "destination", NO_TEXTS, (422, "invalid_field")),
    (HoldScanner, {"reason": "x"}, "reason", NO_TEXTS, (422, "invalid_field")),
    (ReleaseScanner, {"reason": "x"}, "rerun", NO_BOOLEANS, (422, "invalid_field")),
    (WorklistParameters, {}, "limit", ["0", "501", "+5", "5.0", "x", "9" * 30, "\u0665"], (400, "bad_limit")),
    (WorklistParameters, {}, "date_from", ["x", "20260231", "2026-13-01"], (400, "bad_date")),
    (WorklistParameters, {}, "min_probability", ["x", "-0.1", "1.1", "nan", "inf"], (400, "bad_probability")),
    (WorklistParameters, {}, "state", ["x", "QUEUED"], (400, "bad_state")),
    (WorklistParameters, {}, "reviewed", ["x", "true"], (400, "bad_reviewed")),
    (WorklistParameters, {}, "sort", ["x"], (400, "bad_sort")),
    (WorklistParameters, {}, "q", ["x" * 2001], (400, "bad_text")),
]


@pytest.mark.parametrize(
    ("model", "right", "name", "value", "refusal"),
    [(model, right, name, value, refusal) for model, right, name, values, refusal in WRONG for value in values],
)
def test_a_wrong_field_is_refused_by_its_rule(
    model: type[BaseModel], right: dict[str, Any], name: str, value: object, refusal: tuple[int, str]
) -> None:
    validated(model, right)
    with pytest.raises(WebError) as refused:
        validated(model, right | {name: value})
    assert (refused.value.status, refused.value.code) == refusal
    assert str(value) in ("true", "lossy") or len(str(value)) < 3 or str(value) not in refused.value.message


@pytest.mark.parametrize(
    ("model", "right", "name", "refusal"),
    [
        (NewFinding, POINT, "row", (422, "The field row must be a number of pixels of at least 0.")),
        (NewAssessment, {"verdict": "accept"}, "verdict", (400, "The verdict must be accept, reject or unsure.")),
        (NewOverrule, OVERRULED, "reason", (400, "A reason is needed.")),
        (HoldScanner, {"reason": "x"}, "reason", (422, "The field reason is needed.")),
    ],
)
def test_a_missing_field_is_refused_by_name(
    model: type[BaseModel], right: dict[str, Any], name: str, refusal: tuple[int, str]
) -> None:
    with pytest.raises(WebError) as refused:
        validated(model, {key: value for key, value in right.items() if key != name})
    assert (refused.value.status, refused.value.message) == refusal


def test_text_is_cleaned_and_numbers_are_taken() -> None:
    assert validated(NewAssessment, {"verdict": "unsure", "comment": " a\u202eb\x07 "}).comment == "ab"
    assert validated(NewFinding, POINT).model_dump() == POINT | {"frame_number": 1}


def test_every_field_of_a_request_has_a_rule() -> None:
    models = {model for entry in declared_endpoints() for model in (entry.body, entry.query) if model}
    fields = {(model, name) for model in models - {NoQuery} for name in model.model_fields}
    assert {pair for pair in fields if not rules_of(*pair)} == {(WorklistParameters, "cursor")}


def test_an_answer_of_an_undeclared_model_is_an_error(make_web: Callable[..., Web]) -> None:
    blueprint = Blueprint("wrong", __name__)

    @endpoint(blueprint, "GET", "/wrong", may=EVERYONE, answers={200: NewReview})
    def wrong() -> NoQuery:
        """Return another model than declared."""
        return NoQuery()

    web = make_web()
    web.app.register_blueprint(blueprint)
    assert web.client().get("/wrong").status_code == 500
