"""Size that compressed pixels declare themselves: a codec allocates by it, whatever the header says."""

from __future__ import annotations

from struct import unpack_from

HEAD_BYTES = 65536
"""Enough for the segments before a frame header; a codestream that hides its size behind more is not decoded."""
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG = b"\xff\xd8\xff"
_JPEG_LS_FRAME = 0xF7
_NO_FRAME = (0xC4, 0xC8, 0xCC)


def size_of(head: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a codestream declares; None for a format without them (RLE).

    Parameters
    ----------
    head
        Its first ``HEAD_BYTES``, or all of it.

    Raises
    ------
    ValueError
        It begins like JPEG and does not go on like it.
    """
    at = head.find(_JPEG_2000)
    if at >= 0:
        return _jpeg_2000_size(head, at)
    return _jpeg_size(head) if head.startswith(_JPEG) else None


def _jpeg_2000_size(head: bytes, at: int) -> tuple[int, int]:
    """Read the SIZ marker segment (ISO/IEC 15444-1 A.5.1)."""
    if at + 24 > len(head):
        raise ValueError("the JPEG 2000 header is cut off")
    right, bottom, left, top = unpack_from(">4L", head, at + 8)
    return bottom - top, right - left


def _jpeg_size(head: bytes) -> tuple[int, int]:
    """Walk the markers (ITU-T T.81 B.1.1, T.87 C.1.1) up to the frame header."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            rows, columns = unpack_from(">HH", head, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + unpack_from(">H", head, at + 2)[0]  # 0xFF before a marker fills
    raise ValueError("the JPEG has no frame header")
