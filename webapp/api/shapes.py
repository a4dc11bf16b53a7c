"""Common JSON shapes of requests and responses, checked by mypy and published in ``/openapi.json``."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

StateWord = Literal["receiving", "queued", "analysing", "analysed", "not_analysed", "failed"]


VerdictWord = Literal["accept", "reject", "unsure"]


Probability = Annotated[float, ("minimum", 0), ("maximum", 1)]


Percent = Annotated[float, ("minimum", 0), ("maximum", 100)]


Uid = Annotated[str, ("pattern", "^[0-9.]{1,64}$")]


Moment = Annotated[str, ("format", "date-time")]


Interval = Annotated[list[float], ("minItems", 2), ("maxItems", 2)]


Triple = Annotated[list[float], ("minItems", 3), ("maxItems", 3)]


Sextuple = Annotated[list[float], ("minItems", 6), ("maxItems", 6)]


class ErrorDetail(TypedDict):
    """Error code for programs, message for people, and the reference to quote to support."""

    code: str
    message: str
    reference: str


class Error(TypedDict):
    """Error response."""

    error: ErrorDetail


class ReasonShape(TypedDict):
    """Reason for a refusal or abstention, or a caveat."""

    code: str
    text: str


class ModelShape(TypedDict):
    """Identity of a model."""

    name: str
    version: str
    sha256: str
