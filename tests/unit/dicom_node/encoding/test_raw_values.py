"""Plain values are read without pydicom, and read the same."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.encoding import raw_values
from dicom_node.encoding.raw_values import RawValues

KEYWORDS = {"UI": ("SOPInstanceUID", 0x00080018), "IS": ("InstanceNumber", 0x00200013), "DS": ("KVP", 0x00180060)}


def texts(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, Iterable) and not isinstance(value, str) else [str(value)]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("vr", KEYWORDS)
@given(st.text("0123456789.+-eE \\\0", min_size=1, max_size=16))
def test_what_is_plain_has_the_text_that_pydicom_gives(vr: str, implicit: bool, text: str) -> None:
    keyword, tag = KEYWORDS[vr]
    raw = (tag, None if implicit else vr, text.encode())
    plain = raw_values._plain(raw)
    if plain is None:
        return
    judged = raw_values._converted(raw, (), implicit)
    assert texts(plain) == texts(judged)
    assert texts(RawValues((raw,), (), implicit=implicit).get(keyword)) == texts(judged)


@pytest.mark.parametrize(
    ("vr", "text", "expected"),
    [
        ("UI", "1.2.3\0", ["1.2.3"]),
        ("IS", " 12 ", ["12"]),
        ("DS", "-180.5\\0.7\\1e-2 ", ["-180.5", "0.7", "1e-2"]),
        ("DS", "1.2.3", None),
        ("IS", "12a", None),
        ("UI", "1.2 3", None),
    ],
)
def test_only_what_is_plainly_written_is(vr: str, text: str, expected: list[str] | None) -> None:
    plain = raw_values._plain((KEYWORDS[vr][1], vr, text.encode()))
    assert (plain if plain is None else texts(plain)) == expected
