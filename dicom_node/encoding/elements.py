"""Bounded walk over the elements of an encoded dataset: limits on depth, elements, bytes and time.

Nothing is decoded here but tags, VRs and lengths (PS3.5 7.1), every length is checked against what is there, and
nesting is a list instead of recursion, so that no input can exhaust the stack. Requested top-level values are
returned as bytes; the walk ends with Pixel Data, whose own extent is checked too.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

from dicom_node.encoding.errors import (
    DatasetTooDeepError,
    DatasetTooLongError,
    MalformedElementError,
    TruncatedDatasetError,
)

PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5 table 7.1-2
)
_UNKNOWN_SHORT = b"??"
"""DCMTK writes this VR, with a short length, for values whose VR it does not know."""
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 table 7.1-1
_MAY_BE_UNDEFINED = frozenset(b"SQ UN OB OW".split())  # PS3.5 7.1.2; OB and OW for encapsulated (icon) pixels
_PLAIN, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<L")
"""Tag, VR and short length of an element (PS3.5 7.1.2), and a long length."""
_WINDOW_BYTES = 32768
_VALUE_BYTES = 4096
"""Stored bytes of a requested value; the longest legal one (a person name of three groups) has under 1024."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoding of a dataset by a transfer syntax (PS3.5 A)."""

    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """Bounds of one walk; real images stay far below each of them."""

    depth: int = 32
    """Nested sequences; a five-deep Enhanced CT is unusual, a recursive parser gives up near 200."""
    elements: int = 1_000_000
    """An Enhanced CT of 5000 frames with undefined lengths has about 400,000."""
    inflated_bytes: int = 64 << 20
    """Inflated bytes looked at; covers a deflated slice whole and stops a deflate bomb."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Result of a walk: requested values (at most 4096 bytes of each), their lengths, and whether pixels follow."""

    values: dict[int, bytes]
    lengths: dict[int, int]
    vrs: dict[int, bytes]
    """Of the requested values; empty where the encoding is implicit."""
    has_pixel_data: bool
    pixel_data: tuple[int, int]
    """Offset and length of the value of Pixel Data; where it is encapsulated, from its offset table to its end."""
    is_flat: bool
    """True if no length is undefined and every VR is a known one."""


class ByteSource(Protocol):
    """Bytes that are read from front to back."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``, fewer only at the end; offsets never decrease."""
        ...

    def reaches(self, offset: int) -> bool:
        """Return True if there are at least ``offset`` bytes."""
        ...


class MemorySource:
    """A dataset in memory."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = memoryview(content)

    def read_at(self, offset: int, size: int) -> bytes:
        """See ByteSource."""
        return bytes(self._content[offset : offset + size])

    def reaches(self, offset: int) -> bool:
        """See ByteSource."""
        return offset <= len(self._content)


class FileSource:
    """A dataset in an open file, starting at ``start``."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, size

    def read_at(self, offset: int, size: int) -> bytes:
        """See ByteSource."""
        return os.pread(self._descriptor, min(size, max(0, self._size - offset)), self._start + offset)

    def reaches(self, offset: int) -> bool:
        """See ByteSource."""
        return offset <= self._size


class InflatedSource:
    """A deflated dataset (PS3.5 A.5), inflated as far as it is read and at most to ``limit_bytes``."""

    def __init__(self, deflated: ByteSource, limit_bytes: int) -> None:
        self._deflated, self._limit = deflated, limit_bytes
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._position, self._base, self._window = 0, 0, b""
        self._pending = b""

    def _inflate(self, size: int) -> bytes:
        if self._inflater.eof:
            return b""
        if not self._pending:
            self._pending = self._deflated.read_at(self._position, _WINDOW_BYTES)
            self._position += len(self._pending)
        if not self._pending:
            raise TruncatedDatasetError(self._base + len(self._window))
        try:
            inflated = self._inflater.decompress(self._pending, size)
        except zlib.error:
            raise MalformedElementError("broken deflate stream", self._base + len(self._window)) from None
        self._pending = self._inflater.unconsumed_tail
        return inflated

    def _fill(self, offset: int, size: int) -> None:
        while (end := self._base + len(self._window)) < offset + size:
            if end >= self._limit:
                raise DatasetTooLongError("inflated bytes", self._limit, end)
            inflated = self._inflate(_WINDOW_BYTES)
            if not inflated and self._inflater.eof:
                return
            drop = max(0, min(offset - self._base, len(self._window)))
            self._window = self._window[drop:] + inflated
            self._base += drop

    def read_at(self, offset: int, size: int) -> bytes:
        """See ByteSource."""
        self._fill(offset, size)
        if offset > self._base + len(self._window):
            raise TruncatedDatasetError(offset)
        return self._window[offset - self._base : offset - self._base + size]

    def reaches(self, offset: int) -> bool:
        """See ByteSource; assumed true beyond the limit."""
        if offset > self._limit:
            return True
        self._fill(offset, 0)
        return offset <= self._base + len(self._window)


class _Walk:
    """One pass over a source; see ``walk_elements``."""

    def __init__(
        self, source: ByteSource, encoding: Encoding, requested_tags: frozenset[int], limits: WalkLimits
    ) -> None:
        self._source, self._encoding, self._requested_tags, self._limits = source, encoding, requested_tags, limits
        self._window, self._base, self._position = b"", 0, 0
        self._stack: list[tuple[bool, bool, bool]] = []
        """Open undefined lengths: (is an item, its content is implicit, its content is big endian)."""
        self._elements = 0
        self.values: dict[int, bytes] = {}
        self.lengths: dict[int, int] = {}
        self.vrs: dict[int, bytes] = {}
        self.pixel_data = (0, 0)
        self.is_flat = True

    def run(self) -> bool:
        """Walk to Pixel Data (True) or to the end (False)."""
        outermost = (True, self._encoding.implicit, self._encoding.big_endian)
        while self._available(1) or self._stack:
            if not self._stack and not self._encoding.big_endian:
                self._step_over_plain()
            is_item, implicit, big = self._stack[-1] if self._stack else outermost
            self._elements += 1
            if self._elements > self._limits.elements:
                raise DatasetTooLongError("elements", self._limits.elements, self._position)
            if is_item:
                if self._element(implicit, big):
                    return True
            else:
                self._item(implicit, big)
        return False

    def _step_over_plain(self) -> None:
        """Skip ordinary elements in one loop: little endian, of known length, complete in the window.

        It stops before whatever is anything else, which the general walk then judges; and before the window's last
        element, so that there always is something left to judge.
        """
        window, implicit = self._window, self._encoding.implicit
        at = self._position - self._base
        while at + 12 <= len(window) and self._elements < self._limits.elements:
            group, element, vr, length = _PLAIN.unpack_from(window, at)
            start = at + 8
            if implicit:
                length = _LENGTH.unpack_from(window, at + 4)[0]
            elif vr in _LONG_VRS:
                length, start = _LENGTH.unpack_from(window, at + 8)[0], at + 12
            elif vr not in _SHORT_VRS:
                break
            tag = group << 16 | element
            if group < 0x0008 or group == 0xFFFE or tag == PIXEL_DATA or start + length >= len(window):
                break
            if tag in self._requested_tags:
                if tag in self.values or length > _VALUE_BYTES:
                    break
                self.values[tag], self.lengths[tag] = window[start : start + length], length
                self.vrs[tag] = b"" if implicit else vr
            at = start + length
            self._elements += 1
        self._position = self._base + at

    def _available(self, size: int) -> bool:
        """Load ``size`` bytes from the position into the window, and return whether there are so many."""
        at = self._position - self._base
        if at + size <= len(self._window):
            return True
        self._window = self._source.read_at(self._position, max(size, _WINDOW_BYTES))
        self._base = self._position
        return size <= len(self._window)

    def _need(self, size: int) -> int:
        if not self._available(size):
            raise TruncatedDatasetError(self._position)
        return self._position - self._base

    def _skip(self, length: int) -> None:
        end = self._position + length
        if end > self._base + len(self._window) and not self._source.reaches(end):
            raise TruncatedDatasetError(self._position)
        self._position = end

    def _item(self, implicit: bool, big: bool) -> None:
        """Walk over one item, or the end, of a sequence or of encapsulated fragments (PS3.5 7.5)."""
        at = self._need(8)  # may move the window
        group, element, length = struct.unpack_from(">HHL" if big else "<HHL", self._window, at)
        tag = group << 16 | element
        self._position += 8
        if tag == _SEQUENCE_END:
            self._stack.pop()
        elif tag != _ITEM:
            raise MalformedElementError("an element between the items of a sequence", self._position - 8)
        elif length == _UNDEFINED:
            self._stack.append((True, implicit, big))
        else:
            self._skip(length)

    def _element(self, implicit: bool, big: bool) -> bool:
        """Walk over one element of the dataset or of an item of undefined length; True at Pixel Data."""
        start = self._position
        at = self._need(8)  # may move the window
        group, element = struct.unpack_from(">HH" if big else "<HH", self._window, at)
        tag = group << 16 | element
        if tag == _ITEM_END and self._stack:
            self._position += 8
            self._stack.pop()
            return False
        if group == 0xFFFE or (not self._stack and group < 0x0008):
            raise MalformedElementError("a tag that has no place here", start)
        vr, length = self._length(implicit, big)
        if tag == PIXEL_DATA and not self._stack:
            self._pixel_data(length)
            return True
        if length == _UNDEFINED:
            self._open(vr, implicit, big)
        else:
            if tag in self._requested_tags and not self._stack:
                self._store_value(tag, vr, length)
            self._skip(length)
        return False

    def _length(self, implicit: bool, big: bool) -> tuple[bytes, int]:
        """Read VR and length, and step over them (PS3.5 7.1.2, 7.1.3)."""
        at = self._position - self._base
        if implicit:
            self._position += 8
            return b"", struct.unpack_from("<L", self._window, at + 4)[0]
        vr = self._window[at + 4 : at + 6]
        if vr in _SHORT_VRS or vr == _UNKNOWN_SHORT:
            self.is_flat = self.is_flat and vr != _UNKNOWN_SHORT
            self._position += 8
            return vr, struct.unpack_from(">H" if big else "<H", self._window, at + 6)[0]
        if vr not in _LONG_VRS and not (vr.isalpha() and vr.isupper()):
            raise MalformedElementError("no value representation", self._position)
        self.is_flat = self.is_flat and vr in _LONG_VRS
        at = self._need(12)
        self._position += 12
        return vr, struct.unpack_from(">L" if big else "<L", self._window, at + 8)[0]

    def _open(self, vr: bytes, implicit: bool, big: bool) -> None:
        if not implicit and vr not in _MAY_BE_UNDEFINED:
            raise MalformedElementError("an undefined length where none may be", self._position)
        if 2 * self._limits.depth <= len(self._stack) + 1:
            raise DatasetTooDeepError(self._limits.depth, self._position)
        self.is_flat = False
        if vr == b"UN":  # PS3.5 6.2.2: its content is Implicit VR Little Endian whatever surrounds it
            implicit, big = True, False
        self._stack.append((False, implicit, big))

    def _store_value(self, tag: int, vr: bytes, length: int) -> None:
        """Store a value; an element that occurs twice with different values is an error."""
        at = self._need(min(length, _VALUE_BYTES))
        value = self._window[at : at + min(length, _VALUE_BYTES)]
        if tag in self.values and (self.values[tag], self.lengths[tag]) != (value, length):
            raise MalformedElementError("an element that is there twice with different values", self._position)
        self.values[tag] = value
        self.lengths[tag], self.vrs[tag] = length, vr

    def _pixel_data(self, length: int) -> None:
        """Check that Pixel Data is complete (PS3.5 A.4 for encapsulated fragments)."""
        if (length == _UNDEFINED) != self._encoding.encapsulated:
            raise MalformedElementError("Pixel Data not encoded as the transfer syntax demands", self._position)
        if not self._encoding.encapsulated:
            self.pixel_data = (self._position, length)
            self._skip(length)
            return
        start = self._position
        self._stack.append((False, False, False))
        while self._stack:
            self._elements += 1
            if self._elements > self._limits.elements:
                raise DatasetTooLongError("fragments", self._limits.elements, self._position)
            self._item(implicit=False, big=False)
            if len(self._stack) > 1:
                raise MalformedElementError("a fragment of undefined length", self._position)
        self.pixel_data = (start, self._position - start)


def walk_elements(
    source: ByteSource, encoding: Encoding, requested_tags: frozenset[int], limits: WalkLimits | None = None
) -> Elements:
    """Read requested top-level elements of a dataset and check its structure up to the end of Pixel Data.

    Parameters
    ----------
    source
        The dataset as sent, without preamble and file meta information.
    encoding
        What its transfer syntax says.
    requested_tags
        Tags as ``group << 16 | element``.

    Raises
    ------
    HeaderError
        The dataset ends early, breaks the rules of PS3.5 7, or exceeds a limit.
    """
    limits = limits or WalkLimits()
    if encoding.deflated:
        source = InflatedSource(source, limits.inflated_bytes)
    walk = _Walk(source, encoding, requested_tags, limits)
    has_pixel_data = walk.run()
    return Elements(walk.values, walk.lengths, walk.vrs, has_pixel_data, walk.pixel_data, walk.is_flat)
