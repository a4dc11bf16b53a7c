"""Worklist queries as URL parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from db.domain.records import StudyState, WorklistOrder, WorklistQuery
from webapp.http.errors import BadRequestError
from webapp.http.forms import MAX_TEXT, clean_text

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_DIGITS = 9
FIELDS = ("q", "state", "reviewed", "date_from", "date_to", "min_probability", "max_probability", "sort")
"""Parameters of a saved filter; ``limit`` and ``cursor`` only page."""
REVIEWED = {"yes": True, "no": False}
STATE: dict[str, Any] = {"type": "string", "enum": [state.value for state in StudyState]}
DATE: dict[str, Any] = {"type": "string", "pattern": r"^\d{4}-?\d{2}-?\d{2}$"}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
WORKLIST_QUERY = (
    ("state", STATE, "Only studies in this state."),
    (
        "q",
        {"type": "string", "maxLength": 2000},
        "Words in name, id, accession number, description or study UID; one or two letters match the start of a word.",
    ),
    ("date_from", DATE, "Only studies of this study date or later."),
    ("date_to", DATE, "Only studies of this study date or earlier."),
    ("min_probability", SHARE, "Only studies whose highest calibrated probability is this or more."),
    ("max_probability", SHARE, "Only studies whose highest calibrated probability is this or less."),
    ("reviewed", {"type": "string", "enum": ["yes", "no"]}, "Only reviewed, or only unread studies."),
    (
        "sort",
        {"type": "string", "enum": ["newest", "oldest", "priority"], "default": "newest"},
        "By arrival; or overdue ones first, then by probability, then those without one, then reviewed ones.",
    ),
    ("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "Studies on one page."),
    ("cursor", {"type": "string"}, "`next` of the previous page."),
)


def read_query(parameters: Mapping[str, str], max_wait_s: float) -> WorklistQuery:
    """Return the query of URL parameters.

    Raises
    ------
    BadRequestError
        For an unknown state or order, an invalid date, a probability outside 0 to 1, or a limit outside 1 to 500.
    """
    text = clean_text(parameters.get("q", ""))
    if len(text) > MAX_TEXT:
        raise BadRequestError("The search text is too long.", code="bad_text")
    state = _word(parameters, "state", set(StudyState), "Unknown state.")
    reviewed = _word(parameters, "reviewed", set(REVIEWED), "Reviewed must be yes or no.")
    order = _word(parameters, "sort", set(WorklistOrder), "The order must be newest, oldest or priority.")
    return WorklistQuery(
        state=StudyState(state) if state else None,
        text=text,
        date_from=_date(parameters, "date_from"),
        date_to=_date(parameters, "date_to"),
        min_probability=_probability(parameters, "min_probability"),
        max_probability=_probability(parameters, "max_probability"),
        is_reviewed=REVIEWED.get(reviewed),
        order=WorklistOrder(order) if order else WorklistOrder.NEWEST,
        max_wait_s=max_wait_s,
        limit=_limit(parameters),
        cursor=parameters.get("cursor", "").strip() or None,
    )


def filter_fields(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the filter parameters, without empty ones and without the default order."""
    fields = {name: clean_text(parameters[name]) for name in FIELDS if clean_text(parameters.get(name, ""))}
    if fields.get("sort") == WorklistOrder.NEWEST:
        del fields["sort"]
    return fields


def address(fields: Mapping[str, str | None]) -> str:
    """Return the worklist's URL with these parameters."""
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"/worklist?{query}" if query else "/worklist"


def _word(parameters: Mapping[str, str], name: str, allowed: set[str], refusal: str) -> str:
    word = parameters.get(name, "").strip()
    if word and word not in allowed:
        raise BadRequestError(refusal, code=f"bad_{name}")
    return word


def _date(parameters: Mapping[str, str], name: str) -> str:
    """Return ``2026-01-31`` or ``20260131`` in the latter form, which sorts by time."""
    given = parameters.get(name, "").strip()
    if not given:
        return ""
    try:
        return date.fromisoformat(given).strftime("%Y%m%d")
    except ValueError:
        raise BadRequestError("Dates must have the form 2026-01-31 or 20260131.", code="bad_date") from None


def _probability(parameters: Mapping[str, str], name: str) -> float | None:
    given = parameters.get(name, "").strip()
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BadRequestError("Probabilities must be between 0 and 1.", code="bad_probability")
    return value


def _limit(parameters: Mapping[str, str]) -> int:
    limit = parameters.get("limit", "").strip() or str(DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and len(limit) <= MAX_DIGITS and 1 <= int(limit) <= MAX_LIMIT):
        raise BadRequestError(f"The limit must be a whole number from 1 to {MAX_LIMIT}.", code="bad_limit")
    return int(limit)
