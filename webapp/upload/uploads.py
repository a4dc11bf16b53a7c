"""Type detection and header checks of uploads, without decoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from werkzeug.datastructures import FileStorage

from webapp.http.errors import UnfitInputError

MAX_SIDE_PX = 8192
"""Larger than any CT slice; the largest radiography detector has about 5000."""
MAX_PIXELS = 16 * 2**20
"""4096 x 4096."""
MIN_SIDE_PX = 32
"""Smallest side of a usable image."""
LARGE_PIXELS = 4 * 2**20
"""2048 x 2048, the largest CT matrix; larger images are decoded one at a time."""
MAX_JPEG_SCANS = 64
"""A progressive JPEG has about ten; each scan is decoded over the full image."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_SCAN = b"\xff\xda"
"""Start of a scan (ITU-T T.81 B.2.3); in the data of a scan FF is always stuffed."""
JPEG_MAGIC = b"\xff\xd8\xff"
ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"
DICM_OFFSET, DICM = 128, b"DICM"
"""Preamble and prefix (PS3.10 7.1)."""


class UploadKind(StrEnum):
    """Supported upload types."""

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
    """Size of an image by its header."""

    columns: int
    rows: int

    @property
    def is_large(self) -> bool:
        """Return True if only one such image is decoded at a time."""
        return self.columns * self.rows > LARGE_PIXELS


def head_of(file: FileStorage) -> bytes:
    """Return the bytes by which the type of a file is detected."""
    head = file.stream.read(DICM_OFFSET + len(DICM))
    file.stream.seek(0)
    return head


def kind_of(head: bytes) -> UploadKind:
    """Detect the type by the first 132 bytes; file names and declared types are ignored.

    Raises
    ------
    UnfitInputError
        400 for an empty file, 415 for any other type.
    """
    if not head:
        raise UnfitInputError(400, "empty_upload", "The uploaded file is empty.")
    if head.startswith(DICM, DICM_OFFSET):
        return UploadKind.DICOM
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    raise UnfitInputError(415, "unsupported_type", "Unsupported file. Use PNG, JPEG, DICOM (PS3.10) or a zip.")


def check_image(kind: UploadKind, content: bytes) -> ImageSize:
    """Return the size of a PNG or JPEG; refuse one whose header is broken or out of bounds.

    Raises
    ------
    UnfitInputError
        413 for too many pixels; 415 for CMYK images; 422 for a broken header, an animation or too few pixels.
    """
    size = _png_size(content) if kind is UploadKind.PNG else _jpeg_size(content)
    if max(size.columns, size.rows) > MAX_SIDE_PX or size.columns * size.rows > MAX_PIXELS:
        raise UnfitInputError(
            413,
            "too_many_pixels",
            f"Images must not exceed {MAX_SIDE_PX} pixels a side or {MAX_PIXELS} in total.",
        )
    if min(size.columns, size.rows) < MIN_SIDE_PX:
        raise UnfitInputError(422, "too_few_pixels", f"Images must have at least {MIN_SIDE_PX} pixels a side.")
    if kind is UploadKind.JPEG and content.count(JPEG_SCAN) > MAX_JPEG_SCANS:
        raise _broken("The JPEG has too many scans.")
    return size


def _broken(text: str) -> UnfitInputError:
    return UnfitInputError(422, "unreadable_image", text)


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
            raise UnfitInputError(422, "animated_image", "Animated images are not supported; send one slice.")
        if name == b"IDAT":
            return ImageSize(columns, rows)
    raise _broken("The PNG contains no image data.")


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
    raise _broken("The JPEG contains no frame header.")


def _jpeg_frame(content: bytes, at: int) -> ImageSize:
    if at + 6 > len(content):
        raise _broken("The JPEG frame header is cut off.")
    _, rows, columns, components = struct.unpack_from(">BHHB", content, at)
    if components not in (1, 3):
        raise UnfitInputError(415, "unsupported_colours", "Only greyscale and RGB images are supported, not CMYK.")
    return ImageSize(columns, rows)
