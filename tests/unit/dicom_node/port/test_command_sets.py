"""Command sets of the fast path."""

from __future__ import annotations

import struct

import pytest

from dicom_node.port.command_sets import read_elements, store_request


def command_set(**numbers: bytes) -> bytes:
    """A C-STORE request, with the given elements by hexadecimal element number."""
    values = {0x0002: b"1.2\0", 0x0110: b"\x07\x00", 0x0800: b"\x00\x00", 0x1000: b"1.2.3\0"}
    values |= {int(name.removeprefix("e"), 16): value for name, value in numbers.items()}
    return b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in sorted(values.items()))


@pytest.mark.parametrize(
    ("priority", "is_high"),
    [
        (b"\x01\x00", True),
        (b"\x00\x00", False),
        (b"\x02\x00", False),
        (b"\x00\x01", False),
        (b"\x03\x00", False),
        (b"", False),
        (b"\x01\x00\x00\x00", False),
    ],
)
def test_the_priority_of_a_store_request(priority: bytes, is_high: bool) -> None:
    request = store_request(1, read_elements(command_set(e0700=priority)))
    assert (request.message_id, request.sop_instance_uid) == (7, "1.2.3")
    assert request.has_high_priority is is_high


def test_without_a_priority_it_is_not_high() -> None:
    assert store_request(1, read_elements(command_set())).has_high_priority is False
