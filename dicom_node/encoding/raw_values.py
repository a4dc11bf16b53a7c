"""Cached conversion of raw elements by pydicom: slices of a series share most values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.encoding.elements import Elements

_CONTEXT = (0x00080005, 0x00280103)
"""Specific Character Set and Pixel Representation, by which pydicom converts other values."""
_REMEMBERED = 4096
_DECIMAL = rb" *[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})? *"
_PLAIN = {
    "UI": re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*\0?"),
    "IS": re.compile(rb" *[+-]?[0-9]{1,9} *"),
    "DS": re.compile(_DECIMAL + rb"(\\" + _DECIMAL + rb")*"),
}
"""Values fully described by their text, as in pydicom's own types."""

Raw = tuple[int, str | None, bytes]
"""Tag, VR (None where the encoding has none) and bytes."""


class RawValues:
    """Raw elements accessed by keyword like a ``Dataset``; equal where bytes and context are equal."""

    def __init__(self, raw: tuple[Raw, ...], context: tuple[Raw, ...], *, implicit: bool) -> None:
        self._raw = {each[0]: each for each in raw}
        self._all = (raw, context, implicit)
        self._context, self._implicit = context, implicit

    @classmethod
    def of(cls, elements: Elements, *, implicit: bool) -> RawValues:
        """Build from the elements of a walk."""
        vrs = elements.vrs
        raw = tuple(
            (tag, None if implicit else vrs[tag].decode("ascii"), value) for tag, value in elements.values.items()
        )
        return cls(raw, tuple(each for each in raw if each[0] in _CONTEXT), implicit=implicit)

    def parted(self, tags: frozenset[int]) -> tuple[RawValues, RawValues]:
        """Split into the elements of ``tags`` and all others, each converted in the common context."""
        raw = self._all[0]
        return (
            RawValues(tuple(each for each in raw if each[0] in tags), self._context, implicit=self._implicit),
            RawValues(tuple(each for each in raw if each[0] not in tags), self._context, implicit=self._implicit),
        )

    def __hash__(self) -> int:
        return hash(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawValues) and self._all == other._all

    def get(self, keyword: str) -> Any:
        """Return a value, or None; numbers and UIDs in plain spelling are returned as text, one or several.

        Raises
        ------
        Exception
            Whatever pydicom raises on a value that it cannot convert.
        """
        raw = self._raw.get(tag_for_keyword(keyword) or 0)
        if raw is None:
            return None
        return _plain(raw) or _converted(raw, self._context, self._implicit)

    def get_item(self, keyword: str) -> RawDataElement:
        """Return an element before conversion; raises KeyError where it is absent."""
        return _element(self._raw[tag_for_keyword(keyword) or 0], implicit=self._implicit)

    def __contains__(self, keyword: str) -> bool:
        return tag_for_keyword(keyword) in self._raw


def _plain(raw: Raw) -> str | list[str] | None:
    """Return the text of a number or UID without pydicom's objects, which take 30 us; None where it is not plain."""
    tag, vr, value = raw
    pattern = _PLAIN.get(vr or _dictionary_vr(tag))
    if pattern is None or not pattern.fullmatch(value):
        return None
    parts = [part.strip(" \0") for part in value.decode("ascii").split("\\")]
    return parts if len(parts) > 1 else parts[0]


@lru_cache(_REMEMBERED)
def _dictionary_vr(tag: int) -> str:
    return dictionary_VR(tag)


@lru_cache(_REMEMBERED)
def _converted(raw: Raw, context: tuple[Raw, ...], implicit: bool) -> object:
    ds = Dataset({BaseTag(each[0]): _element(each, implicit=implicit) for each in (*context, raw)})
    return ds[raw[0]].value


def _element(raw: Raw, *, implicit: bool) -> RawDataElement:
    tag, vr, value_bytes = raw
    value = value_bytes or empty_value_for_VR(vr, raw=True)
    return RawDataElement(BaseTag(tag), vr, len(value_bytes), value, 0, implicit, is_little_endian=True)
