"""Validation of form fields and JSON bodies; errors name the field, never its value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from db.domain.records import UploadPatient
from webapp.http.errors import BadRequestError, UnfitInputError

MAX_AGE = 130
MAX_PACK_YEARS = 500.0
"""Five packs a day for a hundred years."""
MAX_TEXT = 2000
MAX_PIXEL_INDEX = 100_000.0
MAX_SECONDS = 86_400.0
UPLOAD_FIELDS = frozenset(
    {"age", "sex", "smoking_pack_years", "pack_years", "family_history", "symptoms", "row", "column"}
)
"""Fields of an upload other than its file."""
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "o": "other", "other": "other"}
YES = frozenset({"yes", "true", "1", "on", "y"})
NO = frozenset({"no", "false", "0", "off", "n"})
FILE: dict[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}
PIXEL: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": MAX_PIXEL_INDEX}
UPLOAD_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": FILE
        | {"description": "PNG, JPEG, a DICOM instance, or a zip of a DICOM series; detected by content."},
        "file": FILE | {"description": "The same as `image`."},
        "row": {
            "type": "number",
            "minimum": 0,
            "maximum": MAX_PIXEL_INDEX,
            "description": "0-based row of a nodule in a DICOM instance.",
        },
        "column": {
            "type": "number",
            "minimum": 0,
            "maximum": MAX_PIXEL_INDEX,
            "description": "0-based column of a nodule in a DICOM instance.",
        },
        "age": {"type": "integer", "minimum": 0, "maximum": MAX_AGE},
        "sex": {"type": "string", "enum": ["female", "male", "other"]},
        "smoking_pack_years": {"type": "number", "minimum": 0, "maximum": MAX_PACK_YEARS},
        "family_history": {"type": "string", "enum": ["yes", "no"]},
        "symptoms": {"type": "string", "maxLength": MAX_TEXT},
    },
    "anyOf": [{"required": ["image"]}, {"required": ["file"]}],
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
UID_PATTERN = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class PixelPosition:
    """0-based row and column of a nodule in a DICOM instance."""

    row: float
    column: float


def clean_text(text: str) -> str:
    """Remove control characters and bidirectional overrides."""
    return _CONTROL.sub("", text).strip()


def _bad_field(name: str, rule: str) -> UnfitInputError:
    return UnfitInputError(422, "invalid_field", f"The field {name} {rule}.")


def _number(form: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise _bad_field(name, f"must be a number from {low:g} to {high:g}")
    return value


def _yes_or_no(form: Mapping[str, str], name: str) -> bool | None:
    text = form.get(name, "").strip().lower()
    if not text:
        return None
    if text not in YES | NO:
        raise _bad_field(name, "must be yes or no")
    return text in YES


def upload_patient_of(form: Mapping[str, str]) -> UploadPatient:
    """Parse the optional patient fields of an upload.

    Raises
    ------
    UnfitInputError
        422 naming the field and its rule, never the value.
    """
    age = _number(form, "age", 0, MAX_AGE)
    if age is not None and age != int(age):
        raise _bad_field("age", "must be an integer number of years")
    sex = form.get("sex", "").strip().lower()
    if sex and sex not in SEXES:
        raise _bad_field("sex", "must be female, male or other")
    pack_years = _number(form, "smoking_pack_years", 0, MAX_PACK_YEARS)
    if pack_years is None:
        pack_years = _number(form, "pack_years", 0, MAX_PACK_YEARS)
    symptoms = clean_text(form.get("symptoms", "").replace("\r\n", "\n"))  # counted as in the browser
    if len(symptoms) > MAX_TEXT:
        raise _bad_field("symptoms", f"must be at most {MAX_TEXT} characters")
    return UploadPatient(
        age=None if age is None else int(age),
        sex=SEXES[sex] if sex else None,
        smoking_pack_years=pack_years,
        family_history=_yes_or_no(form, "family_history"),
        symptoms=symptoms or None,
    )


def position_of(form: Mapping[str, str]) -> PixelPosition | None:
    """Parse the position of a nodule: both coordinates, or neither."""
    row = _number(form, "row", 0, MAX_PIXEL_INDEX)
    column = _number(form, "column", 0, MAX_PIXEL_INDEX)
    if row is None and column is None:
        return None
    if row is None or column is None:
        raise _bad_field("row", "and the field column must be given together")
    return PixelPosition(row, column)


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


def text_of(body: Mapping[str, Any], name: str) -> str:
    """Return an optional text field."""
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise _bad_field(name, f"must be a text of at most {MAX_TEXT} characters")
    return clean_text(value)
