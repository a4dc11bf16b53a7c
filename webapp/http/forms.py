"""Bounds of form fields and JSON bodies, and the JSON body of a request; errors never contain a value."""

from __future__ import annotations

import re
from typing import Any

from flask import request

from webapp.http.errors import BadRequestError

MAX_TEXT = 2000
MAX_PIXEL_INDEX = 100_000.0
MAX_SECONDS = 86_400.0
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def clean_text(text: str) -> str:
    """Remove control characters and bidirectional overrides."""
    return _CONTROL.sub("", text).strip()


def json_body() -> dict[str, Any]:
    """Return the JSON object in the body of the current request.

    Raises
    ------
    BadRequestError
        For anything else, and for JSON nested too deeply.
    """
    try:
        body = request.get_json()
    except RecursionError:
        raise BadRequestError("The JSON is nested too deeply.", code="not_an_object") from None
    return json_object(body)


def json_object(body: Any) -> dict[str, Any]:
    """Return a JSON value that must be an object.

    Raises
    ------
    BadRequestError
        For anything else.
    """
    if not isinstance(body, dict):
        raise BadRequestError("The body must be a JSON object.", code="not_an_object")
    return body
