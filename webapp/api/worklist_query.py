"""Worklist queries as URL parameters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from db.domain.studies import StudyState
from db.domain.worklist import WorklistOrder, WorklistQuery
from webapp.endpoints import Rule
from webapp.http.forms import MAX_TEXT, clean_text
from webapp.http.messages import english

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_DIGITS = 9
FIELDS = ("q", "state", "reviewed", "date_from", "date_to", "min_probability", "max_probability", "sort")
"""Parameters of a saved filter; ``limit`` and ``cursor`` only page."""


def _date(text: str) -> str:
    """Return ``2026-01-31`` or ``20260131`` in the latter form, which sorts by time."""
    return date.fromisoformat(text).strftime("%Y%m%d")


def whole_number(text: str) -> int:
    """Return a number of up to nine ASCII digits.

    Raises
    ------
    ValueError
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError("not a whole number")
    return int(text)


Date = Annotated[
    str,
    AfterValidator(_date),
    Field(json_schema_extra={"pattern": r"^\d{4}-?\d{2}-?\d{2}$"}),
    Rule(english("Dates must have the form 2026-01-31 or 20260131."), "bad_date", 400),
]
Bound = Annotated[
    Annotated[float, Field(ge=0, le=1)] | SkipJsonSchema[None],
    Rule(english("Probabilities must be between 0 and 1."), "bad_probability", 400),
]


class WorklistParameters(BaseModel):
    """Filters, order and page of the worklist; empty parameters are ignored."""

    q: Annotated[
        str,
        Field(
            max_length=MAX_TEXT,
            description="Words in name, id, accession number, description or study UID; one or two letters match the "
            "start of a word.",
        ),
        BeforeValidator(clean_text),
        Rule(english("The search text is too long."), "bad_text", 400),
    ] = ""
    state: Annotated[
        StudyState | SkipJsonSchema[None],
        Field(description="Only studies in this state."),
        Rule(english("Unknown state."), "bad_state", 400),
    ] = None
    reviewed: Annotated[
        Literal["yes", "no"] | SkipJsonSchema[None],
        Field(description="Only reviewed, or only unread studies."),
        Rule(english("Reviewed must be yes or no."), "bad_reviewed", 400),
    ] = None
    sort: Annotated[
        WorklistOrder,
        Field(
            description="By arrival; by priority, which is STAT first, then overdue ones, then by probability, then "
            "those without one, then reviewed ones; by patient name or study date."
        ),
        Rule(
            english(
                "The order must be newest, oldest, priority, patient, patient_desc, study_date or study_date_desc."
            ),
            "bad_sort",
            400,
        ),
    ] = WorklistOrder.NEWEST
    date_from: Annotated[Date, Field(description="Only studies of this study date or later.")] = ""
    date_to: Annotated[Date, Field(description="Only studies of this study date or earlier.")] = ""
    min_probability: Annotated[
        Bound, Field(description="Only studies whose highest calibrated probability is this or more.")
    ] = None
    max_probability: Annotated[
        Bound, Field(description="Only studies whose highest calibrated probability is this or less.")
    ] = None
    limit: Annotated[
        int,
        Field(ge=1, le=MAX_LIMIT, description="Studies on one page."),
        BeforeValidator(whole_number),
        Rule(f"The limit must be a whole number from 1 to {MAX_LIMIT}.", "bad_limit", 400),
    ] = DEFAULT_LIMIT
    cursor: Annotated[str | SkipJsonSchema[None], Field(description="`next` of the previous page.")] = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value.strip() for name, value in values.items() if value.strip()}

    def to_query(self, max_wait_s: float) -> WorklistQuery:
        """Return the query of the database."""
        return WorklistQuery(
            state=self.state,
            text=self.q,
            date_from=self.date_from,
            date_to=self.date_to,
            min_probability=self.min_probability,
            max_probability=self.max_probability,
            is_reviewed=None if self.reviewed is None else self.reviewed == "yes",
            order=self.sort,
            max_wait_s=max_wait_s,
            limit=self.limit,
            cursor=self.cursor,
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
