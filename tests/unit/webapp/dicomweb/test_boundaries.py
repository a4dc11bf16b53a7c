"""Preamble and epilogue of RFC 2046 are left out, however the body is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.dicomweb.boundaries import PlainBoundaries

PART = b"\r\nContent-Type: application/dicom\r\n\r\n\0\1\r\n--hereafter\r\n--her\r\n-- here\r\n"
PLAIN = b"--here" + PART + b"\r\n--here" + PART + b"\r\n--here--\r\n"


def taken(body: bytes, size: int) -> bytes:
    plain = PlainBoundaries(b"here")
    return b"".join(plain.feed(body[at : at + size]) for at in range(0, len(body), size)) + plain.rest()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        b"A preamble.\r\n--her\r\n" + PLAIN,
        b"\r\n" + PLAIN,
        PLAIN.replace(b"--here\r\n", b"--here \t\r\n"),
        PLAIN + b"An epilogue.\r\n--here\r\nX: y\r\n\r\nz\r\n--here--\r\n",
        PLAIN[:-2],
    ],
    ids=["plain", "preamble", "empty line", "blanks", "epilogue", "no last line end"],
)
def test_only_the_parts_are_left(body: bytes, size: int) -> None:
    assert taken(body, size) == PLAIN


@given(st.binary(max_size=300), st.integers(1, 50))
def test_content_is_not_altered(content: bytes, size: int) -> None:
    body = b"--here\r\n\r\n" + content.replace(b"here", b"HERE") + b"\r\n--here--\r\n"
    assert taken(body, size) == body


def test_a_body_that_breaks_off_has_no_end() -> None:
    assert taken(PLAIN[:60], 7) == PLAIN[:60]
