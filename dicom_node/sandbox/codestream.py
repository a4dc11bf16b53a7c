"""Size and end of compressed pixels, checked before a codec runs.

A codec allocates by the size in the codestream, whatever the header says. CharLS, which decodes JPEG-LS, may run for
seconds on a stream that breaks off in the middle of a code, unless a marker ends it.
"""

from __future__ import annotations

from struct import unpack_from

from pydicom.uid import JPEGLSTransferSyntaxes

HEAD_BYTES = 65536
"""Enough for the segments before a frame header; a codestream that hides its size behind more is not decoded."""
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG = b"\xff\xd8\xff"
_JPEG_LS_FRAME = 0xF7
_NO_FRAME = (0xC4, 0xC8, 0xCC)
_END_OF_IMAGE = b"\xff\xd9"
TAIL_BYTES = 16
"""Enough for the end of a codestream and the padding behind it."""


def check_end(transfer_syntax_uid: str, tail: bytes) -> None:
    """Refuse a JPEG-LS codestream without its EOI marker (ITU-T T.87 C.1.1); no decoder accepts one.

    Parameters
    ----------
    transfer_syntax_uid
        Of the instance; streams of other transfer syntaxes are not checked.
    tail
        The last ``TAIL_BYTES`` of the codestream, or all of it.

    Raises
    ------
    ValueError
    """
    if transfer_syntax_uid in JPEGLSTransferSyntaxes and not tail.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("the JPEG-LS codestream is cut off")


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
