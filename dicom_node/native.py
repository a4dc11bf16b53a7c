"""The short way to header and pixels of an ordinary CT slice: little endian, one frame, stored by intake.

Whatever is unusual about a file makes these functions answer None, and pydicom then judges it. What they do answer is
what pydicom would: it converts the values that the walk finds, and decodes compressed pixels. Only one thing is told
later: that a deflated file is broken behind its header shows when its pixels are read. Used in the decoding child only.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder

from dicom_node import codestream
from dicom_node.elements import Elements, Encoding, FileSource, MemorySource, WalkLimits, walk_elements
from dicom_node.errors import HeaderError
from dicom_node.part10 import FileMeta, encode_file_meta, read_file_meta
from dicom_node.raw_values import RawValues
from dicom_node.transfer import TRANSFER_SYNTAXES

_META_BYTES = 1024
"""File meta information as intake writes it has under 512."""
_HEADER_BYTES = 1 << 16
"""Of a deflated file, looked at for its header: more than an ordinary slice has before its pixels."""
_PIXEL_BYTES = 16 << 20
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
    *("CTReconstructionSequence", "CTXRayDetailsSequence", "CTExposureSequence"),
    *("FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
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
    """The wanted elements of an ordinary slice, and where its dataset begins."""

    elements: Elements
    transfer_syntax_uid: str
    dataset_at: int

    @property
    def values(self) -> RawValues:
        """The wanted elements as pydicom reads them, each converted when it is asked for."""
        return RawValues(self.elements, implicit=TRANSFER_SYNTAXES[self.transfer_syntax_uid].implicit)


@dataclass(frozen=True, slots=True)
class _PixelForm:
    """How the pixels of an ordinary slice are coded."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    photometric_interpretation: str


def read_native(path: Path, wanted: frozenset[int]) -> NativeFile | None:
    """Find the wanted elements of an ordinary slice; None for every other file."""
    with path.open("rb") as file:
        return _found(file, wanted)


def native_pixels(path: Path) -> NDArray[np.generic] | None:
    """Read the stored words of an ordinary slice, ``(rows, columns)``; None for every other file.

    Raises
    ------
    ValueError
        Its compressed pixels have another size than its header says.
    Exception
        Anything else that a codec raises on broken pixels; the child process translates it.
    """
    wanted = frozenset(_PIXEL_TAGS.values()) | {_PHOTOMETRIC}
    with path.open("rb") as file:
        native = _found(file, wanted)
        form = _pixel_form(native.elements) if native is not None else None
        if native is None or form is None:
            return None
        encoding = TRANSFER_SYNTAXES[native.transfer_syntax_uid]
        if encoding.encapsulated:
            return _decompressed(file, native, form)
        if encoding.deflated:
            return _inflated(file, native, form, wanted)
        start, length = native.elements.pixel_data
        file.seek(native.dataset_at + start)
        return _words(file.read(length), form) if length <= _PIXEL_BYTES else None


def _found(file: BinaryIO, wanted: frozenset[int]) -> NativeFile | None:
    head = file.read(_META_BYTES)
    try:
        meta, start = read_file_meta(head)
        encoding = TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
        if encoding is None or encoding.big_endian or not _is_ours(head, start, meta):
            return None
        if encoding.implicit and head[start + 4 : start + 6].isalpha():
            return None  # pydicom would take it for explicit
        source = FileSource(file.fileno(), start, os.fstat(file.fileno()).st_size - start)
        everything = wanted | _NESTED | {_CHARACTER_SET, _FRAMES}
        found = walk_elements(source, encoding, everything, WalkLimits(inflated_bytes=_HEADER_BYTES))
    except HeaderError:
        return None
    return NativeFile(found, meta.transfer_syntax_uid, start) if _is_ordinary(found) else None


def _pixel_form(found: Elements) -> _PixelForm | None:
    raw = {keyword: found.values.get(tag, b"") for keyword, tag in _PIXEL_TAGS.items()}
    if any(len(value) != 2 or found.vrs[_PIXEL_TAGS[name]] not in (b"", b"US") for name, value in raw.items()):
        return None
    number = {keyword: int.from_bytes(value, "little") for keyword, value in raw.items()}
    form = _PixelForm(
        number["Rows"],
        number["Columns"],
        number["BitsAllocated"],
        number["BitsStored"],
        number["PixelRepresentation"],
        found.values.get(_PHOTOMETRIC, b"").decode("ascii").rstrip(" "),
    )
    is_plain = (
        form.bits_allocated in (8, 16)
        and 1 <= form.bits_stored <= form.bits_allocated
        and number["SamplesPerPixel"] == 1
        and form.pixel_representation <= 1
        and form.photometric_interpretation in ("MONOCHROME1", "MONOCHROME2")
        and form.rows * form.columns > 0
    )
    return form if is_plain else None


def _words(content: bytes, form: _PixelForm) -> NDArray[np.generic] | None:
    if len(content) != form.rows * form.columns * form.bits_allocated // 8:
        return None
    return np.frombuffer(content, np.dtype(f"<u{form.bits_allocated // 8}")).reshape(form.rows, form.columns)


def _inflated(
    file: BinaryIO, native: NativeFile, form: _PixelForm, wanted: frozenset[int]
) -> NDArray[np.generic] | None:
    """Inflate in memory (PS3.5 A.5) what the header promises, hardly more, and check what of it is Pixel Data."""
    promised = sum(native.elements.pixel_data)
    if promised > _PIXEL_BYTES:
        return None
    file.seek(native.dataset_at)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(file.read(_PIXEL_BYTES), promised + _HEADER_BYTES)
        found = walk_elements(MemorySource(content), Encoding(), wanted)
    except (zlib.error, HeaderError):
        return None
    start, length = found.pixel_data
    is_whole = inflater.eof and (start, length) == native.elements.pixel_data
    return _words(content[start : start + length], form) if is_whole else None


def _decompressed(file: BinaryIO, native: NativeFile, form: _PixelForm) -> NDArray[np.generic] | None:
    """Let pydicom's decoder have the only frame, once it declares no other size than the header does."""
    start, length = native.elements.pixel_data
    if length > _PIXEL_BYTES:
        return None
    file.seek(native.dataset_at + start)
    encapsulated = file.read(length)
    frame = get_frame(encapsulated, 0, number_of_frames=1)
    if codestream.size_of(frame[: codestream.HEAD_BYTES]) not in (None, (form.rows, form.columns)):
        raise ValueError("compressed pixels have another size than the header says")
    decoded, _ = get_decoder(native.transfer_syntax_uid).as_array(
        encapsulated,
        index=0,
        raw=True,
        correct_unused_bits=False,
        pixel_keyword="PixelData",
        number_of_frames=1,
        samples_per_pixel=1,
        rows=form.rows,
        columns=form.columns,
        bits_allocated=form.bits_allocated,
        bits_stored=form.bits_stored,
        pixel_representation=form.pixel_representation,
        photometric_interpretation=form.photometric_interpretation,
    )
    words: NDArray[np.generic] = decoded
    return words


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
