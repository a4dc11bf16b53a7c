"""Base and common types of the JSON models of requests and answers, published in ``/openapi.json``.

An answer is made of a domain record with ``model_validate(record)``: fields of the same name are taken from it. Bounds
of answers are published and not checked: records were checked when they were written. Bodies are checked strictly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from db.domain.uids import MAX_LENGTH, PATTERN
from webapp.accounts.names import shown_name
from webapp.endpoints import Rule
from webapp.http.forms import MAX_TEXT, clean_text

UID_SCHEMA: dict[str, Any] = {"pattern": f"^{PATTERN}$", "maxLength": MAX_LENGTH}
SHARE_SCHEMA: dict[str, Any] = {"minimum": 0, "maximum": 1}


def moment(at: datetime) -> str:
    """Format a time in UTC (RFC 3339)."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def rounded(digits: int) -> Callable[[float], float]:
    """Return a function that rounds to a number of decimals."""
    return partial(round, ndigits=digits)


ABSENT: Any = Field(default=None, exclude_if=lambda value: value is None)
"""Default of a field that is left out of the JSON if None."""
Uid = Annotated[str, Field(json_schema_extra=UID_SCHEMA)]
Moment = Annotated[str, BeforeValidator(moment), Field(json_schema_extra={"format": "date-time"})]
Share = Annotated[float, Field(json_schema_extra=SHARE_SCHEMA)]
Probability = Annotated[float, AfterValidator(rounded(4)), Field(json_schema_extra=SHARE_SCHEMA)]
Percent = Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 100})]
Interval = tuple[Probability, Probability]
Triple = tuple[float, float, float]
Sextuple = tuple[float, float, float, float, float, float]
ShownName = Annotated[str, AfterValidator(shown_name)]
"""Name to display; for identity provider accounts it does not identify the person."""
GivenUid = Annotated[
    str, Field(pattern=f"^{PATTERN}$", max_length=MAX_LENGTH), Rule("The field {name} must be a DICOM UID.")
]
"""A UID of a request (PS3.5 9.1)."""
Text = Annotated[
    str,
    Field(max_length=MAX_TEXT),
    AfterValidator(clean_text),
    Rule(f"The field {{name}} must be a text of at most {MAX_TEXT} characters."),
]


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(from_attributes=True, serialize_by_alias=True)


class Body(BaseModel):
    """Base of request bodies; unknown fields are ignored."""

    model_config = ConfigDict(strict=True)


def merged(*records: Any, **values: object) -> dict[str, object]:
    """Return the fields of several dataclass records, and further values."""
    return {field.name: getattr(record, field.name) for record in records for field in fields(record)} | values


class ErrorDetail(Answer):
    """Error code for programs, message for people, and the reference to quote to support."""

    code: str
    message: str
    reference: str


class Error(Answer):
    """Error response."""

    error: ErrorDetail


class Reason(Answer):
    """Reason for a refusal or abstention, or a caveat."""

    code: str
    text: str


class Model(Answer):
    """Identity of a model."""

    name: str
    version: str
    sha256: str
