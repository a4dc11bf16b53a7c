"""What all JSON that goes out and comes in is made of: mypy holds the code to it, ``/openapi.json`` shows it."""

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
    """What is wrong, for programs (``code``) and for people (``message``); quote ``reference`` when asking for help."""

    code: str
    message: str
    reference: str


class Error(TypedDict):
    """Every refusal."""

    error: ErrorDetail


class ReasonShape(TypedDict):
    """Why there is no answer, or which doubt stands beside it."""

    code: str
    text: str


class ModelShape(TypedDict):
    """Which model answered."""

    name: str
    version: str
    sha256: str
