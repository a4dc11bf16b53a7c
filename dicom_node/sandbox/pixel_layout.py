"""Positions of frames in a file, for sending them without decoding; read in the child only."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from struct import unpack
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicom_node.sandbox.inflating import plain_file

Range = tuple[int, int]
"""Offset and length in the file, bytes."""

MAX_FRAMES = 100_000
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Positions of the frames of one instance.

    Attributes
    ----------
    frame_count
        Frames that it has; 0 for an instance without pixels.
    frames
        The ranges that make up each frame as it is stored; None where frames have to be decoded to be sent: inflated,
        turned from big endian, or not cut at bytes.
    whole
        The range of all pixel data as stored, if there are any.
    """

    transfer_syntax_uid: str
    frame_count: int
    frames: tuple[tuple[Range, ...], ...] | None
    pixel_data: Range | None


def read_layout(path: Path) -> PixelLayout:
    """Read the layout of a file without its pixels.

    Raises
    ------
    Exception
        Anything that pydicom raises on a broken file; the child process translates it.
    """
    with plain_file(path) as plain, plain.path.open("rb") as file:
        ds = dcmread(file, stop_before_pixels=True)
        syntax = plain.transfer_syntax_uid
        if syntax == DeflatedExplicitVRLittleEndian:
            return PixelLayout(syntax, _frame_count(ds) if "Rows" in ds else 0, None, None)
        if not next_tag(file, ds):
            if "Rows" in ds or "SOPInstanceUID" not in ds:
                raise ValueError("the file is cut off before its pixels")
            return PixelLayout(syntax, 0, (), None)
        length = _value_length(file, ds)
        start, count = file.tell(), _frame_count(ds)
        end = path.stat().st_size
        if length == 0xFFFFFFFF:
            frames = _encapsulated(file, ds, count)
            last = max((at + size for ranges in frames for at, size in ranges), default=start)
            return PixelLayout(syntax, count, frames, (start, last - start))
        if start + length > end:
            raise ValueError("pixel data are cut off")
        return PixelLayout(syntax, count, _native(ds, start, length, count), (start, length))


def next_tag(file: BinaryIO, ds: Dataset) -> int:
    """Return the tag of the pixel data before which reading stopped, or 0; the file position is unchanged."""
    at = file.tell()
    head = file.read(4)
    file.seek(at)
    if len(head) < 4:
        return 0
    group, element = unpack(f"{_order(ds)}HH", head)
    tag: int = group << 16 | element
    return tag if tag in _PIXEL_TAGS else 0


def _order(ds: Dataset) -> str:
    return ">" if str(ds.file_meta.TransferSyntaxUID) == ExplicitVRBigEndian else "<"


def _value_length(file: BinaryIO, ds: Dataset) -> int:
    """Read the element's header (PS3.5 7.1), leaving the file at its value."""
    order = _order(ds)
    if ds.original_encoding[0]:
        return int(unpack(f"{order}4xL", file.read(8))[0])
    return int(unpack(f"{order}8xL", file.read(12))[0])


def _frame_count(ds: Dataset) -> int:
    count = int(ds.get("NumberOfFrames") or 1)
    if not 1 <= count <= MAX_FRAMES:
        raise ValueError("no such number of frames")
    return count


def _native(ds: Dataset, start: int, length: int, count: int) -> tuple[tuple[Range, ...], ...] | None:
    samples = int(ds.get("SamplesPerPixel", 1))
    bits = int(ds.Rows) * int(ds.Columns) * samples * int(ds.BitsAllocated)
    if ds.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    is_swapped = _order(ds) == ">" and int(ds.BitsAllocated) > 8
    if bits % 8 or is_swapped:
        return None
    size = bits // 8
    if not size or size * count > length:
        raise ValueError("fewer pixels than the header says")
    return tuple(((start + size * number, size),) for number in range(count))


def _encapsulated(file: BinaryIO, ds: Dataset, count: int) -> tuple[tuple[Range, ...], ...]:
    """Return the fragments of each frame (PS3.5 A.4, PS3.3 C.7.6.3.1.8)."""
    offsets = parse_basic_offsets(file)
    first = file.tell()
    fragments = [_fragment(file, at) for at in parse_fragments(file)[1]]
    if "ExtendedOffsetTable" in ds:
        table = bytes(ds.ExtendedOffsetTable)
        offsets = list(unpack(f"<{len(table) // 8}Q", table))
    if count == 1:
        return (tuple(fragments),)
    if len(fragments) == count:
        return tuple((fragment,) for fragment in fragments)
    if len(offsets) == count:
        return _by_offsets(fragments, [first + offset for offset in offsets])
    return _by_markers(file, fragments, count)


def _fragment(file: BinaryIO, at: int) -> Range:
    file.seek(at + 4)
    return at + 8, int(unpack("<L", file.read(4))[0])


def _by_offsets(fragments: list[Range], starts: list[int]) -> tuple[tuple[Range, ...], ...]:
    frames: list[list[Range]] = [[] for _ in starts]
    for at, size in fragments:
        frames[bisect_right(starts, at - 8) - 1].append((at, size))
    return tuple(map(tuple, frames))


def _by_markers(file: BinaryIO, fragments: list[Range], count: int) -> tuple[tuple[Range, ...], ...]:
    """Assign fragments without a table: a JPEG frame ends with its marker."""
    frames: list[list[Range]] = [[]]
    for at, size in fragments:
        frames[-1].append((at, size))
        file.seek(at + max(0, size - 10))
        if _END_OF_IMAGE in file.read(min(size, 10)):
            frames.append([])
    complete = [frame for frame in frames if frame]
    if len(complete) != count:
        raise ValueError("the frames cannot be separated")
    return tuple(map(tuple, complete))
