"""What of the worklist is asked for, read off an address and written back into one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from urllib.parse import urlencode

from db.domain.records import StudyState, WorklistOrder, WorklistQuery
from webapp.http.errors import BadRequestError
from webapp.http.forms import MAX_TEXT, clean_text

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_DIGITS = 9
FIELDS = ("q", "state", "reviewed", "date_from", "date_to", "min_probability", "max_probability", "sort")
"""What makes a way to look at the worklist, and may be saved; ``limit`` and ``cursor`` only page."""
REVIEWED = {"yes": True, "no": False}


def read_query(told: Mapping[str, str], max_wait_s: float) -> WorklistQuery:
    """Read the parameters of an address.

    Raises
    ------
    BadRequestError
        For an unknown state or order, a date that is none, a probability outside 0 to 1, a limit that is no number
        from 1 to 500.
    """
    text = clean_text(told.get("q", ""))
    if len(text) > MAX_TEXT:
        raise BadRequestError("The text to look for is too long.", code="bad_text")
    state = _word(told, "state", set(StudyState), "There is no such state.")
    reviewed = _word(told, "reviewed", set(REVIEWED), "Reviewed is yes or no.")
    order = _word(told, "sort", set(WorklistOrder), "The order is newest, oldest or priority.")
    return WorklistQuery(
        state=StudyState(state) if state else None,
        text=text,
        date_from=_date(told, "date_from"),
        date_to=_date(told, "date_to"),
        min_probability=_probability(told, "min_probability"),
        max_probability=_probability(told, "max_probability"),
        is_reviewed=REVIEWED.get(reviewed),
        order=WorklistOrder(order) if order else WorklistOrder.NEWEST,
        max_wait_s=max_wait_s,
        limit=_limit(told),
        cursor=told.get("cursor", "").strip() or None,
    )


def filter_fields(told: Mapping[str, str]) -> dict[str, str]:
    """Give the parameters that make a way to look, without empty ones and without the order that holds anyway."""
    kept = {name: clean_text(told[name]) for name in FIELDS if clean_text(told.get(name, ""))}
    if kept.get("sort") == WorklistOrder.NEWEST:
        del kept["sort"]
    return kept


def address(fields: Mapping[str, str | None]) -> str:
    """Write the page's address."""
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"/worklist?{query}" if query else "/worklist"


def _word(told: Mapping[str, str], name: str, known: set[str], refusal: str) -> str:
    word = told.get(name, "").strip()
    if word and word not in known:
        raise BadRequestError(refusal, code=f"bad_{name}")
    return word


def _date(told: Mapping[str, str], name: str) -> str:
    """Read ``2026-01-31`` or ``20260131`` as the latter, which sorts by time."""
    given = told.get(name, "").strip()
    if not given:
        return ""
    try:
        return date.fromisoformat(given).strftime("%Y%m%d")
    except ValueError:
        raise BadRequestError("Dates are written 2026-01-31 or 20260131.", code="bad_date") from None


def _probability(told: Mapping[str, str], name: str) -> float | None:
    given = told.get(name, "").strip()
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BadRequestError("Probabilities go from 0 to 1.", code="bad_probability")
    return value


def _limit(told: Mapping[str, str]) -> int:
    limit = told.get("limit", "").strip() or str(DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and len(limit) <= MAX_DIGITS and 1 <= int(limit) <= MAX_LIMIT):
        raise BadRequestError(f"The limit must be a whole number from 1 to {MAX_LIMIT}.", code="bad_limit")
    return int(limit)
