"""Conversion of stored values to Hounsfield units, frame by frame; in the decoding child only.

HU are clipped to -1024 .. 3071, the range of a 12-bit CT scale: air and everything outside the field of view is -1024,
and what lies above 3071 is metal, whose value means nothing. Padding becomes -1024 as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import iter_pixels

from dicom_node.sandbox.fast_pixels import read_fast_pixels
from dicom_node.sandbox.frames import FrameHeader, check_size
from dicom_node.sandbox.inflating import plain_file
from dicom_node.sandbox.pixel_frames import check_codestreams

HU_MIN = -1024
HU_MAX = 3071


def read_frames_hu(
    path: Path, headers: Sequence[FrameHeader], room: NDArray[np.int16] | None = None
) -> Iterator[NDArray[np.int16]]:
    """Decode frames of one file to HU, ``(rows, columns)`` int16 each, in the order of ``headers``.

    Parameters
    ----------
    path
        The file.
    headers
        Of the frames.
    room
        Where each frame is decoded to, contiguous; None makes room. It holds a frame until the next is asked for.

    Raises
    ------
    Exception
        Anything that pydicom or a codec raises on broken pixels; the child process translates it.
    """
    for header in headers:
        check_size(header.rows, header.columns)
    if room is None:
        room = np.empty((headers[0].rows, headers[0].columns), np.int16)
    for header, stored in zip(headers, _stored_frames(path, headers, room), strict=True):
        if not stored.shape == room.shape == (header.rows, header.columns):
            raise ValueError("frame has another size than its header says")
        stored_to_hu(stored, header, room)
        yield room


def _stored_frames(
    path: Path, headers: Sequence[FrameHeader], room: NDArray[np.int16]
) -> Iterator[NDArray[np.generic]]:
    """Yield decoded frames as stored, one by one."""
    indices = [header.frame_number - 1 for header in headers]
    decoded = read_fast_pixels(path, headers[0], room) if indices == [0] else None
    if decoded is not None:
        yield decoded
        return
    with plain_file(path) as plain:
        check_codestreams(plain, indices, (headers[0].rows, headers[0].columns))
        yield from iter_pixels(plain.path, indices=indices, raw=True, correct_unused_bits=False)


def stored_to_hu(stored: NDArray[np.generic], header: FrameHeader, target: NDArray[np.int16]) -> None:
    """Apply Bits Stored, padding, slope and intercept of one frame (PS3.3 C.11.1); ``target`` may be ``stored`` itself.

    Raises
    ------
    ValueError
        Slope or intercept are absent, or the words have neither 8 nor 16 bits.
    """
    if header.slope is None or header.intercept is None:
        raise ValueError("no rescale slope or intercept")
    if stored.dtype.itemsize * 8 != header.bits_allocated or header.bits_allocated not in (8, 16):
        raise ValueError("stored words of this size are not supported")
    coding = StoredCoding(
        header.bits_allocated,
        header.bits_stored,
        header.high_bit,
        header.pixel_representation,
        header.padding,
    )
    in_native_order = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    words: NDArray[np.uint16] = in_native_order.view(np.uint8 if header.bits_allocated == 8 else np.uint16)
    if (shifted := hu_shift(coding, header.slope, header.intercept)) is not None:
        shifted.apply(words, target)
    else:
        target[:] = hu_table(coding, header.slope, header.intercept).take(words)  # faster than indexing


@dataclass(frozen=True, slots=True)
class StoredCoding:
    """Coding of numbers in stored words (PS3.5 8.1.1), and the padding values among them."""

    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    padding: tuple[int, int] | None


@lru_cache(maxsize=64)
def hu_table(coding: StoredCoding, slope: float, intercept: float) -> NDArray[np.int16]:
    """Return the HU of every word that can be stored, ``(2 ** bits_allocated,)`` int16."""
    words = np.arange(1 << coding.bits_allocated, dtype=np.int64)
    raw = _sign_extended(words, coding.bits_allocated, coding)
    values = _significant(words, coding)
    hu = np.clip(np.rint(values * slope + intercept), HU_MIN, HU_MAX).astype(np.int16)
    if coding.padding is not None:
        low, high = coding.padding
        hu[((raw >= low) & (raw <= high)) | ((values >= low) & (values <= high))] = HU_MIN
    return hu


@dataclass(frozen=True, slots=True)
class HuShift:
    """HU as clipped stored numbers plus an intercept: equal to the table, in a seventh of the time.

    ``up`` and ``down`` are the shifts that leave the significant bits, ``low`` and ``high`` the bounds before the sum.
    """

    signed: bool
    up: int
    down: int
    low: int
    high: int
    intercept: int

    def apply(self, words: NDArray[np.uint16], target: NDArray[np.int16]) -> None:
        """Write the HU of stored words to ``target``, which may be the words' own memory."""
        number = np.int16 if self.signed else np.uint16
        values, result = words.view(number), target.view(number)
        if self.up:
            values = np.left_shift(values, self.up, out=result)
        if self.down:
            values = np.right_shift(values, self.down, out=result)
        np.clip(values, number(self.low), number(self.high), out=result)
        unsigned = target.view(np.uint16)  # whose sums wrap around
        np.add(unsigned, np.uint16(self.intercept % (1 << 16)), out=unsigned)


@lru_cache(maxsize=64)
def hu_shift(coding: StoredCoding, slope: float, intercept: float) -> HuShift | None:
    """Return the shift for 16-bit words where it equals ``hu_table`` for every word, else None."""
    table = hu_table(coding, slope, intercept)
    up, down = 15 - coding.high_bit, 16 - coding.bits_stored
    if table.size != 1 << 16 or slope != 1.0 or not intercept.is_integer() or not (0 <= up < 16 and 0 <= down < 16):
        return None
    signed, added = coding.pixel_representation == 1, int(intercept)
    bounds = np.iinfo(np.int16 if signed else np.uint16)
    low, high = (min(max(hu - added, bounds.min), bounds.max) for hu in (HU_MIN, HU_MAX))
    shift = HuShift(signed, up, down, low, high, added)
    every = np.arange(1 << 16, dtype=np.uint16)
    calculated = np.empty(every.shape, np.int16)
    shift.apply(every, calculated)
    return shift if np.array_equal(calculated, table) else None


def _significant(words: NDArray[np.int64], coding: StoredCoding) -> NDArray[np.int64]:
    """Return the ``Bits Stored`` bits below ``High Bit``; the others may hold overlays (PS3.5 8.1.1)."""
    shifted = words >> (coding.high_bit + 1 - coding.bits_stored)
    return _sign_extended(shifted & ((1 << coding.bits_stored) - 1), coding.bits_stored, coding)


def _sign_extended(words: NDArray[np.int64], bits: int, coding: StoredCoding) -> NDArray[np.int64]:
    if coding.pixel_representation != 1:
        return words
    sign = 1 << (bits - 1)
    return (words ^ sign) - sign
