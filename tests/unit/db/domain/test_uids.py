"""The rule of UIDs, and the names of those without pydicom's."""

from __future__ import annotations

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import _globals

from db.domain import uids
from db.domain.uids import is_uid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("1.02.003", True),
        ("0", True),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
        ("", False),
        ("1..2", False),
        (".1", False),
        ("1.", False),
        ("1.2\n", False),
        ("1.2/../3", False),
        ("1.2\u0663", False),
    ],
)
def test_uids_are_digits_and_dots(text: str, valid: bool) -> None:
    assert is_uid(text) is valid


def test_identifiers_equal_those_of_the_libraries() -> None:
    assert ExplicitVRLittleEndian == uids.EXPLICIT_VR_LITTLE_ENDIAN
    assert uids.APPLICATION_CONTEXT == _globals.APPLICATION_CONTEXT_NAME
