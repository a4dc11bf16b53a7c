"""Safe inflation of deflated files (PS3.5 A.5) for pydicom: to a file, never in memory, and within limits.

Used in the decoding child only. pydicom would inflate the whole file in memory, twice, before it looks at anything.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_node.encoding.part10 import FileMeta, encode_file_meta, read_file_meta

MAX_INFLATED_BYTES = 1 << 30
MAX_RATIO = 200
"""CT deflates to a third, a phantom of little but air to a hundredth; beyond that it is a bomb."""
RATIO_FREE_BYTES = 64 << 20
"""Below this size the ratio is not limited."""
_META_BYTES = 65536
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file that is not deflated, and the transfer syntax of the original."""

    path: Path
    transfer_syntax_uid: str


@contextmanager
def plain_file(path: Path) -> Iterator[PlainFile]:
    """Return the file itself, or, while the block lasts, an inflated copy of it.

    Raises
    ------
    HeaderError
        Its file meta information cannot be read.
    ValueError
        It inflates out of all proportion.
    zlib.error
        It is not deflated as it says.
    """
    with path.open("rb") as file:
        meta, start = read_file_meta(file.read(_META_BYTES))
        if meta.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
            yield PlainFile(path, meta.transfer_syntax_uid)
            return
        file.seek(start)
        with tempfile.NamedTemporaryFile(prefix="lungnode-", suffix=".dcm") as copy:
            plain = FileMeta(meta.sop_class_uid, meta.sop_instance_uid, ExplicitVRLittleEndian, meta.source_ae_title)
            copy.write(encode_file_meta(plain))
            for piece in _inflated(file, path.stat().st_size - start):
                copy.write(piece)
            copy.flush()
            yield PlainFile(Path(copy.name), DeflatedExplicitVRLittleEndian)


def _inflated(file: BinaryIO, deflated_bytes: int) -> Iterator[bytes]:
    limit = min(MAX_INFLATED_BYTES, max(RATIO_FREE_BYTES, MAX_RATIO * deflated_bytes))
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof:
        pending = inflater.unconsumed_tail or file.read(_PIECE_BYTES)
        if not pending:
            raise ValueError("the deflated data are cut off")
        piece = inflater.decompress(pending, _PIECE_BYTES)
        size += len(piece)
        if size > limit:
            raise ValueError("the file inflates out of all proportion")
        yield piece
