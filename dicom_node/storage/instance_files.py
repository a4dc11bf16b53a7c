"""Stored instances for the web: metadata, full files or single frames, parsed in a sandboxed child.

Whatever has to be parsed or decoded is parsed by the decoding child; what is stored as it is asked for is read from the
file by its offsets, a piece at a time, so that no answer is ever in memory as a whole.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from pydantic import TypeAdapter
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.sandbox.decode_process import DecodeCrashError, DecodeLimits, DecodeProcess, validated
from dicom_node.sandbox.pixel_layout import PixelLayout, Range
from dicom_node.sandbox.render_options import RenderOptions

NATIVE = ExplicitVRLittleEndian
"""Explicit VR Little Endian: what uncompressed data are sent in."""
UNCOMPRESSED = frozenset({NATIVE, ImplicitVRLittleEndian})
DOCUMENTS_AT_ONCE = 16
"""Files described by one request to the child, so that others get their turn."""
CACHED_LAYOUTS = 4096
PIECE_BYTES = 1 << 18

_TEXTS: TypeAdapter[list[str | None]] = TypeAdapter(list[str | None])
_LAYOUT: TypeAdapter[PixelLayout] = TypeAdapter(PixelLayout)


class Pieces:
    """Ranges of an open file, a piece at a time; closed at the end, or by ``close``."""

    def __init__(self, file: BinaryIO, ranges: Sequence[Range]) -> None:
        self._file = file
        self._read = self._follow(ranges)

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        return next(self._read)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def _follow(self, ranges: Sequence[Range]) -> Iterator[bytes]:
        with self._file as file:
            for at, size in ranges:
                file.seek(at)
                for begin in range(0, size, PIECE_BYTES):
                    size_bytes = min(PIECE_BYTES, size - begin)
                    piece = file.read(size_bytes)
                    if len(piece) != size_bytes:
                        raise OSError("a stored file is shorter than it was")
                    yield piece


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of an instance, read as they are sent."""

    transfer_syntax_uid: str
    size_bytes: int
    pieces: Pieces


class InstanceFiles:
    """Reads stored instances; thread-safe.

    Parameters
    ----------
    limits
        What decoding one instance may use.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._process = DecodeProcess(limits)
        self._scratch = limits.scratch
        self._lock = Lock()
        self._layouts: OrderedDict[Path, PixelLayout] = OrderedDict()

    def close(self) -> None:
        """End the child."""
        self._process.close()

    def documents(self, paths: Sequence[Path], urls: Sequence[str]) -> Iterator[str | None]:
        """Return instances in the DICOM JSON Model, one text each, None for an unreadable file.

        Raises
        ------
        DecodeError
        """
        for at in range(0, len(paths), DOCUMENTS_AT_ONCE):
            chosen = slice(at, at + DOCUMENTS_AT_ONCE)
            request = {"operation": "documents", "paths": [str(p) for p in paths[chosen]], "urls": list(urls[chosen])}
            yield from validated(_TEXTS, self._process.request(request))

    def layout(self, path: Path) -> PixelLayout:
        """Return the positions of an instance's frames.

        Raises
        ------
        DecodeError
        """
        with self._lock:
            if path in self._layouts:
                self._layouts.move_to_end(path)
                return self._layouts[path]
        layout = validated(_LAYOUT, self._process.request({"operation": "layout", "path": str(path)}))
        with self._lock:
            self._layouts[path] = layout
            while len(self._layouts) > CACHED_LAYOUTS:
                self._layouts.popitem(last=False)
        return layout

    def frame(self, path: Path, frame_number: int, *, stored: bool) -> Content | None:
        """Return one frame, as stored or decoded; None where it does not exist (counted from 1).

        Raises
        ------
        DecodeError
        """
        layout = self.layout(path)
        if not 1 <= frame_number <= layout.frame_count:
            return None
        is_native = layout.transfer_syntax_uid in UNCOMPRESSED
        if layout.frames is not None and (stored or is_native):
            syntax = NATIVE if is_native else layout.transfer_syntax_uid
            return _content(path.open("rb"), layout.frames[frame_number - 1], syntax)
        return self._written_by_child({"operation": "native_frame", "path": str(path), "index": frame_number - 1})

    def rendered(self, path: Path, frame_number: int, options: RenderOptions) -> Content | None:
        """Return one frame as an image; None where it does not exist (counted from 1).

        Raises
        ------
        DecodeError
        """
        if not 1 <= frame_number <= self.layout(path).frame_count:
            return None
        request = {"operation": "rendered", "path": str(path), "index": frame_number - 1, "options": asdict(options)}
        return self._written_by_child(request)

    def part10_file(self, path: Path, transfer_syntax_uid: str) -> Content:
        """Return the PS3.10 file as stored."""
        return _content(path.open("rb"), [(0, path.stat().st_size)], transfer_syntax_uid)

    def uncompressed(self, path: Path) -> Content:
        """Return the PS3.10 file in Explicit VR Little Endian.

        Raises
        ------
        DecodeError
        """
        return self._written_by_child({"operation": "uncompressed", "path": str(path)})

    def bulk(self, path: Path, tag_path: Sequence[str]) -> Content:
        """Return the value of an element: ``tag_path`` is a tag, or item numbers and tags in turn within sequences.

        Raises
        ------
        DecodeError
        """
        if len(tag_path) == 1 and tag_path[0].upper() == "7FE00010":
            layout = self.layout(path)
            if layout.pixel_data is not None:
                return _content(path.open("rb"), [layout.pixel_data], layout.transfer_syntax_uid)
        return self._written_by_child({"operation": "bulk_value", "path": str(path), "tag_path": list(tag_path)})

    def _written_by_child(self, request: Mapping[str, object]) -> Content:
        """Have the child write a file, which is unlinked before it is sent."""
        with tempfile.TemporaryDirectory(prefix="lungnode-", dir=self._scratch) as folder:
            target = Path(folder) / "made"
            self._process.request({**request, "target": str(target)})
            try:
                file = target.open("rb")
            except OSError:
                raise DecodeCrashError from None
            return _content(file, [(0, target.stat().st_size)], NATIVE)


def _content(file: BinaryIO, ranges: Sequence[Range], transfer_syntax_uid: str) -> Content:
    return Content(transfer_syntax_uid, sum(size for _, size in ranges), Pieces(file, ranges))
