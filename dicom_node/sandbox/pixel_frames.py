"""Decoding of frames of untrusted files, once their headers agree on a permitted size; in the child only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import iter_pixels
from pydicom.uid import UID

from dicom_node.sandbox import codestream
from dicom_node.sandbox.frames import check_size
from dicom_node.sandbox.inflating import PlainFile
from dicom_node.sandbox.pixel_layout import Range, read_layout


def decoded_frame(plain: PlainFile, index: int, *, raw: bool = False) -> NDArray[np.generic]:
    """Decode one frame, counted from 0; ``raw`` leaves its colours as stored.

    Raises
    ------
    ValueError
        It is larger than any that is decoded, or its compressed pixels have another size than its header says.
    Exception
        Anything else that pydicom or a codec raises on broken pixels; the child process translates it.
    """
    ds = dcmread(plain.path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    check_size(int(ds.Rows), int(ds.Columns))
    check_codestreams(plain, [index], (int(ds.Rows), int(ds.Columns)))
    return next(iter(iter_pixels(plain.path, indices=[index], raw=raw)))


def check_codestreams(plain: PlainFile, indices: Sequence[int] | None, size: tuple[int, int]) -> None:
    """Refuse compressed frames (all, where none are named) that are cut off or not of ``size``: rows and columns.

    Raises
    ------
    ValueError
    """
    if not UID(plain.transfer_syntax_uid).is_encapsulated:
        return
    frames = read_layout(plain.path).frames or ()
    with plain.path.open("rb") as file:
        for index in range(len(frames)) if indices is None else indices:
            if codestream.size_of(_head(file, frames[index])) not in (None, size):
                raise ValueError("compressed pixels have another size than the header says")
            codestream.check_end(plain.transfer_syntax_uid, _tail(file, frames[index]))


def _head(file: BinaryIO, fragments: Sequence[Range]) -> bytes:
    head = b""
    for at, size in fragments:
        file.seek(at)
        head += file.read(min(size, codestream.HEAD_BYTES - len(head)))
    return head


def _tail(file: BinaryIO, fragments: Sequence[Range]) -> bytes:
    tail = b""
    for at, size in reversed(fragments):
        count = min(size, codestream.TAIL_BYTES - len(tail))
        file.seek(at + size - count)
        tail = file.read(count) + tail
    return tail
