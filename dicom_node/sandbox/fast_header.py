"""Fast path to the header of an ordinary CT slice: little endian, one frame, stored by intake.

Whatever is unusual about a file makes it answer None, and pydicom then judges it. What it does answer is what pydicom
would: that converts the values that the walk finds. One error is raised later: that a deflated file is broken behind
its header shows when its pixels are read (``read_fast_pixels``). Used in the decoding child only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from dicom_node.encoding.elements import Elements, FileSource, WalkLimits, walk_elements
from dicom_node.encoding.errors import HeaderError
from dicom_node.encoding.part10 import FileMeta, encode_file_meta, read_file_meta
from dicom_node.encoding.raw_values import RawValues
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES

_META_BYTES = 1024
"""File meta information as intake writes it has under 512."""
HEADER_BYTES = 1 << 16
"""Of a deflated file, looked at for its header: more than an ordinary slice has before its pixels."""
MAX_PIXEL_BYTES = 16 << 20
"""Of pixels, in memory; an ordinary slice has half a MiB."""
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192")
"""Those in which ASCII bytes mean ASCII characters."""


def tags(*keywords: str) -> frozenset[int]:
    """Return the tags of attributes of the dictionary."""
    return frozenset(int(tag_for_keyword(keyword) or 0) for keyword in keywords)


_CHARACTER_SET, _FRAMES = 0x00080005, 0x00280008
_NESTED = tags(
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelValueTransformationSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "CTImageFrameTypeSequence"),
    *("CTReconstructionSequence", "CTXRayDetailsSequence", "CTExposureSequence", "DerivationCodeSequence"),
    *("FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
"""Elements that an ordinary CT slice lacks."""
_PIXEL_TAGS = {
    keyword: next(iter(tags(keyword)))
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
}
_PHOTOMETRIC = 0x00280004
_PIXEL_FORM = frozenset(_PIXEL_TAGS.values()) | {_PHOTOMETRIC}
_GREY = (b"MONOCHROME1", b"MONOCHROME2")
_WORDS = frozenset(_PIXEL_TAGS.values()) | tags("HighBit", "PixelPaddingValue", "PixelPaddingRangeLimit")
"""Attributes of VR US or SS, whose bytes are no characters."""


@dataclass(frozen=True, slots=True)
class FastHeader:
    """Requested elements of an ordinary slice, and the position of its pixels.

    ``pixels_at`` is where the dataset begins in the file, and, in the dataset, offset and length of the value of Pixel
    Data; None where only pydicom is to read it.
    """

    elements: Elements
    transfer_syntax_uid: str
    pixels_at: tuple[int, int, int] | None

    @property
    def values(self) -> RawValues:
        """Return the requested elements as pydicom reads them, converted on access."""
        return RawValues.of(self.elements, implicit=TRANSFER_SYNTAXES[self.transfer_syntax_uid].implicit)


def read_fast_header(path: Path, requested_tags: frozenset[int]) -> FastHeader | None:
    """Read the requested elements of an ordinary slice; None for any other file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _elements_of(descriptor, requested_tags | _PIXEL_FORM)
    finally:
        os.close(descriptor)


def _elements_of(descriptor: int, requested_tags: frozenset[int]) -> FastHeader | None:
    head = os.pread(descriptor, _META_BYTES, 0)
    try:
        meta, start = read_file_meta(head)
        encoding = TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
        if encoding is None or encoding.big_endian or not _is_ours(head, start, meta):
            return None
        if encoding.implicit and head[start + 4 : start + 6].isalpha():
            return None  # pydicom would take it for explicit
        source = FileSource(descriptor, start, os.fstat(descriptor).st_size - start)
        all_tags = requested_tags | _NESTED | {_CHARACTER_SET, _FRAMES}
        elements = walk_elements(source, encoding, all_tags, WalkLimits(inflated_bytes=HEADER_BYTES))
    except HeaderError:
        return None
    if not _is_ordinary(elements):
        return None
    pixels_at = (
        (start, *elements.pixel_data) if _has_plain_pixels(elements, encapsulated=encoding.encapsulated) else None
    )
    return FastHeader(elements, meta.transfer_syntax_uid, pixels_at)


def _has_plain_pixels(elements: Elements, *, encapsulated: bool) -> bool:
    """Return True if ``read_fast_pixels`` can read them: grey, of one sample, of a size that fits in memory."""
    raw = {keyword: elements.values.get(tag, b"") for keyword, tag in _PIXEL_TAGS.items()}
    if any(len(value) != 2 or elements.vrs[_PIXEL_TAGS[name]] not in (b"", b"US") for name, value in raw.items()):
        return False
    number = {keyword: int.from_bytes(value, "little") for keyword, value in raw.items()}
    bits, length = number["BitsAllocated"], elements.pixel_data[1]
    return (
        bits in (8, 16)
        and 1 <= number["BitsStored"] <= bits
        and number["SamplesPerPixel"] == 1
        and number["PixelRepresentation"] <= 1
        and elements.values.get(_PHOTOMETRIC, b"").rstrip(b" ") in _GREY
        and 0 < number["Rows"] * number["Columns"] <= MAX_PIXEL_BYTES
        and length <= MAX_PIXEL_BYTES
        and (encapsulated or length == number["Rows"] * number["Columns"] * bits // 8)
    )


def _is_ours(head: bytes, start: int, meta: FileMeta) -> bool:
    """Return True if the file meta information is byte for byte what intake writes."""
    return head[:start] == encode_file_meta(meta)


def _is_ordinary(elements: Elements) -> bool:
    values = elements.values
    return (
        elements.is_flat
        and elements.has_pixel_data
        and not _NESTED & values.keys()
        and values.get(_FRAMES, b"1").strip() == b"1"
        and values.get(_CHARACTER_SET, b"").strip() in _CHARACTER_SETS
        and all(len(value) == elements.lengths[tag] for tag, value in values.items())
        and all(value.isascii() or _is_word(tag, elements.vrs[tag]) for tag, value in values.items())
    )


def _is_word(tag: int, vr: bytes) -> bool:
    return tag in _WORDS and vr in (b"", b"US", b"SS")
