"""What an upload is, told by its content, and whether it may be decoded; nothing is decoded or decompressed here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from webapp.http.errors import UploadRefusedError

MAX_SIDE_PX = 8192
"""No CT slice is wider; the largest detector of a radiograph has about 5000."""
MAX_PIXELS = 16 * 2**20
"""4096 x 4096."""
MIN_SIDE_PX = 32
"""Below this there is nothing to see of a lung."""
LARGE_PIXELS = 4 * 2**20
"""2048 x 2048, as many as the finest CT has; pictures with more are decoded one at a time."""
MAX_JPEG_SCANS = 64
"""A progressive JPEG has about ten; each scan is decoded over the whole picture."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_SCAN = b"\xff\xda"
"""Start of a scan (ITU-T T.81 B.2.3); in the data of a scan FF is always stuffed."""
JPEG_MAGIC = b"\xff\xd8\xff"
ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"
DICM_OFFSET = 128


class UploadKind(StrEnum):
    """What can be answered, or taken in."""

    PNG = "png"
    JPEG = "jpeg"
    DICOM = "dicom"
    ZIP = "zip"


MAGIC = (
    (PNG_MAGIC, UploadKind.PNG),
    (JPEG_MAGIC, UploadKind.JPEG),
    (ZIP_MAGIC, UploadKind.ZIP),
    (EMPTY_ZIP_MAGIC, UploadKind.ZIP),
)


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Size of a picture as its header declares it."""

    columns: int
    rows: int

    @property
    def is_large(self) -> bool:
        """Whether it takes so much memory that only one is decoded at a time."""
        return self.columns * self.rows > LARGE_PIXELS


def kind_of(head: bytes) -> UploadKind:
    """Tell the type by the first 132 bytes; names and declared types are not looked at.

    Raises
    ------
    UploadRefusedError
        400 for nothing, 415 for any other type.
    """
    if not head:
        raise UploadRefusedError(400, "empty_upload", "The uploaded file is empty.")
    if head[DICM_OFFSET : DICM_OFFSET + 4] == b"DICM":
        return UploadKind.DICOM
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    raise UploadRefusedError(
        415, "unsupported_type", "Only PNG, JPEG, DICOM (PS3.10, with its DICM mark) and zip files are read."
    )


def check_image(kind: UploadKind, content: bytes) -> ImageSize:
    """Read the size of a PNG or JPEG, and refuse one whose header says that it should not be decoded.

    Raises
    ------
    UploadRefusedError
        413 for too many pixels; 415 for four-colour (CMYK) pictures; 422 for a broken header, an animation or a speck.
    """
    size = _png_size(content) if kind is UploadKind.PNG else _jpeg_size(content)
    if max(size.columns, size.rows) > MAX_SIDE_PX or size.columns * size.rows > MAX_PIXELS:
        raise UploadRefusedError(
            413,
            "too_many_pixels",
            f"Pictures above {MAX_SIDE_PX} pixels a side or {MAX_PIXELS} in all are not decoded.",
        )
    if min(size.columns, size.rows) < MIN_SIDE_PX:
        raise UploadRefusedError(422, "too_few_pixels", f"Pictures under {MIN_SIDE_PX} pixels a side show too little.")
    if kind is UploadKind.JPEG and content.count(JPEG_SCAN) > MAX_JPEG_SCANS:
        raise _broken("The JPEG has too many scans.")
    return size


def _broken(text: str) -> UploadRefusedError:
    return UploadRefusedError(422, "unreadable_image", text)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, offset of the data, length) of each chunk (PNG 3rd edition, 5.3) without reading any."""
    at = len(PNG_MAGIC)
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        yield name, at + 8, length
        at += 12 + length


def _png_size(content: bytes) -> ImageSize:
    chunks = _png_chunks(content)
    name, at, length = next(chunks, (b"", 0, 0))
    if name != b"IHDR" or length != 13 or at + length > len(content):
        raise _broken("The PNG header cannot be read.")
    columns, rows = struct.unpack_from(">II", content, at)
    for name, _, _ in chunks:
        if name == b"acTL":
            raise UploadRefusedError(422, "animated_image", "Animated pictures are not read; send one slice.")
        if name == b"IDAT":
            return ImageSize(columns, rows)
    raise _broken("The PNG holds no picture.")


def _jpeg_size(content: bytes) -> ImageSize:
    """Walk the markers (ITU-T T.81 B.1.1) up to the frame header (B.2.2)."""
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise _broken("The JPEG markers cannot be read.")
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _jpeg_frame(content, at + 4)
        if marker in (0xD9, 0xDA) or length < 2:
            break
        at += 2 + length
    raise _broken("The JPEG holds no frame header.")


def _jpeg_frame(content: bytes, at: int) -> ImageSize:
    if at + 6 > len(content):
        raise _broken("The JPEG frame header is cut off.")
    _, rows, columns, components = struct.unpack_from(">BHHB", content, at)
    if components not in (1, 3):
        raise UploadRefusedError(415, "unsupported_colours", "Only grey and RGB pictures are read, not CMYK ones.")
    return ImageSize(columns, rows)
