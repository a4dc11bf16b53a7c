"""Keys of the queries that are sent: exact values only, and whether a match bears them (PS3.4 C.2.2.2.1).

A PACS may match loosely: ignore a key, compare prefixes, fold case. What it answers is compared again here, so that no
other patient's study is fetched. Padding (blanks, NUL) is not part of a value (PS3.5 6.2); case is.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from db.domain.uids import is_uid
from dicom_node.encoding.errors import UNREADABLE, DicomNodeError

WILDCARDS = "*?\\"
"""The backslash separates values, and would ask for several."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_UNCHECKED = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel"})


class QueryError(DicomNodeError):
    """The PACS refused a query or broke off its answer."""


class InexactKeyError(QueryError):
    """A key that might match more than one value and is not sent; ``attribute`` is its name in words."""

    def __init__(self, attribute: str) -> None:
        super().__init__(f"the {attribute} is not an exact value: it is empty, or has wildcards (*, ?, \\)")
        self.attribute = attribute


class InvalidUidError(InexactKeyError):
    """A key that is not a valid UID."""

    def __init__(self, attribute: str) -> None:
        QueryError.__init__(self, f"the {attribute} is not a valid UID")
        self.attribute = attribute


def exact_key(attribute: str, value: str) -> str:
    """Return a value without padding, for use as a key.

    Raises
    ------
    InexactKeyError
        It is empty, or holds ``*``, ``?``, a backslash or a control character.
    """
    text = value.strip(" \0")
    if not text or set(text) & set(WILDCARDS) or _CONTROL.search(text):
        raise InexactKeyError(attribute)
    return text


def exact_uid(attribute: str, value: str) -> str:
    """Return a UID, for use as a unique key.

    Raises
    ------
    InvalidUidError
    """
    uid = value.strip(" \0")
    if not is_uid(uid):
        raise InvalidUidError(attribute)
    return uid


def mismatched_key(query: Dataset, answer: Dataset) -> str:
    """Return the keyword of the first key whose value the match does not bear, or an empty string.

    An answer that leaves a key out cannot be checked, and does not match. The level alone may be left out.
    """
    level = value_text(answer, "QueryRetrieveLevel")
    if level and level.upper() != query.QueryRetrieveLevel:
        return "QueryRetrieveLevel"
    for element in query:
        if element.keyword in _UNCHECKED:
            continue
        requested = value_text(query, element.keyword)
        if requested and not _is_equal(element.VR, requested, value_text(answer, element.keyword)):
            return str(element.keyword)
    return ""


def _is_equal(vr: str, requested: str, value: str) -> bool:
    if vr != "DA":
        return value == requested
    first, dash, last = requested.partition("-")
    date = plain_date(value)
    if not dash:
        return date == requested
    return bool(date) and (not first or date >= first) and (not last or date <= last)


def plain_date(value: str) -> str:
    """Return a date as YYYYMMDD, also from the ACR-NEMA form; empty for anything else."""
    match = _DATE.fullmatch(value)
    return "".join(match.groups()) if match else ""


def value_text(ds: Dataset, keyword: str) -> str:
    """Return a value as text without padding, several joined by backslashes; empty where unreadable."""
    try:
        value = ds.get(keyword)
        parts = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
        return "\\".join(str(part).strip(" \0") for part in parts if part is not None)
    except UNREADABLE:
        return ""
