"""The short way to header and pixels of an ordinary CT slice: native, little endian, one frame, stored by intake.

Whatever is unusual about a file makes these functions answer None, and pydicom then judges it. What they do answer is
what pydicom would: the values that the walk finds are converted by pydicom itself. Used in the decoding child only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.elements import Elements, FileSource, walk_elements
from dicom_node.errors import HeaderError
from dicom_node.part10 import FileMeta, encode_file_meta, read_file_meta
from dicom_node.transfer import TRANSFER_SYNTAXES

_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_META_BYTES = 1024
"""File meta information as intake writes it has under 512."""
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192")
"""Those in which ASCII bytes mean ASCII characters."""


def tags(*keywords: str) -> frozenset[int]:
    """Return the tags of attributes of the dictionary."""
    return frozenset(int(tag_for_keyword(keyword) or 0) for keyword in keywords)


_CHARACTER_SET, _FRAMES = 0x00080005, 0x00280008
_NESTED = tags(
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelValueTransformationSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "CTImageFrameTypeSequence"),
    *("CTReconstructionSequence", "CTXRayDetailsSequence", "CTExposureSequence"),
    *("FloatPixelData", "DoubleFloatPixelData"),
)
"""What an ordinary CT slice has not."""
_PIXEL_TAGS = {
    keyword: next(iter(tags(keyword)))
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
}
_PHOTOMETRIC = 0x00280004
_WORDS = frozenset(_PIXEL_TAGS.values()) | tags("HighBit", "PixelPaddingValue", "PixelPaddingRangeLimit")
"""Attributes of VR US or SS, whose bytes are no characters."""


@dataclass(frozen=True, slots=True)
class NativeFile:
    """The wanted elements of an ordinary slice, and where its pixels lie."""

    elements: Elements
    transfer_syntax_uid: str
    pixels_at: int

    @property
    def ds(self) -> Dataset:
        """The wanted elements as pydicom reads them, each converted when it is first asked for."""
        implicit = TRANSFER_SYNTAXES[self.transfer_syntax_uid].implicit
        raw = {}
        for number, found in self.elements.values.items():
            tag, vr = BaseTag(number), None if implicit else self.elements.vrs[number].decode("ascii")
            value = found or empty_value_for_VR(vr, raw=True)
            raw[tag] = RawDataElement(tag, vr, len(found), value, 0, implicit, is_little_endian=True)
        return Dataset(raw)


def read_native(path: Path, wanted: frozenset[int]) -> NativeFile | None:
    """Find the wanted elements of an ordinary slice; None for every other file."""
    with path.open("rb") as file:
        head = file.read(_META_BYTES)
        try:
            meta, start = read_file_meta(head)
            if meta.transfer_syntax_uid not in _SYNTAXES or not _is_ours(head, start, meta):
                return None
            encoding = TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
            if encoding.implicit and head[start + 4 : start + 6].isalpha():
                return None  # pydicom would take it for explicit
            source = FileSource(file.fileno(), start, os.fstat(file.fileno()).st_size - start)
            found = walk_elements(source, encoding, wanted | _NESTED | {_CHARACTER_SET, _FRAMES})
        except HeaderError:
            return None
    if not _is_ordinary(found):
        return None
    return NativeFile(found, meta.transfer_syntax_uid, start + found.pixel_data[0])


def native_pixels(path: Path) -> NDArray[np.generic] | None:
    """Read the stored words of an ordinary slice, ``(rows, columns)``; None for every other file."""
    native = read_native(path, frozenset(_PIXEL_TAGS.values()) | {_PHOTOMETRIC})
    if native is None:
        return None
    found = native.elements
    raw = {keyword: found.values.get(tag, b"") for keyword, tag in _PIXEL_TAGS.items()}
    if any(len(value) != 2 or found.vrs[_PIXEL_TAGS[name]] not in (b"", b"US") for name, value in raw.items()):
        return None
    number = {keyword: int.from_bytes(value, "little") for keyword, value in raw.items()}
    rows, columns, bits = number["Rows"], number["Columns"], number["BitsAllocated"]
    length = rows * columns * bits // 8
    if (
        bits not in (8, 16)
        or not 1 <= number["BitsStored"] <= bits
        or number["SamplesPerPixel"] != 1
        or number["PixelRepresentation"] > 1
        or found.values.get(_PHOTOMETRIC) not in (b"MONOCHROME1 ", b"MONOCHROME2 ")
        or not 0 < length == found.pixel_data[1]
    ):
        return None
    words = np.fromfile(path, np.dtype(f"<u{bits // 8}"), rows * columns, offset=native.pixels_at)
    return words.reshape(rows, columns)


def _is_ours(head: bytes, start: int, meta: FileMeta) -> bool:
    """Whether the file meta information is byte for byte what intake writes, so that nobody can read it otherwise."""
    return head[:start] == encode_file_meta(meta)


def _is_ordinary(found: Elements) -> bool:
    values = found.values
    return (
        found.is_flat
        and found.has_pixel_data
        and not _NESTED & values.keys()
        and values.get(_FRAMES, b"1").strip() == b"1"
        and values.get(_CHARACTER_SET, b"").strip() in _CHARACTER_SETS
        and all(len(value) == found.lengths[tag] for tag, value in values.items())
        and all(value.isascii() or _is_word(tag, found.vrs[tag]) for tag, value in values.items())
    )


def _is_word(tag: int, vr: bytes) -> bool:
    return tag in _WORDS and vr in (b"", b"US", b"SS")
