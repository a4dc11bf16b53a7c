"""Whatever the pieces and the file system, the file holds exactly what was sent."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.encoding.part10 import FileMeta, encode_file_meta
from dicom_node.storage.spool import BUFFER_BYTES, BufferPool, Spool

META = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "PACS")
HEADER = encode_file_meta(META)


def spooled(path: Path, content: bytes, pieces: list[int], pool: BufferPool) -> bytes:
    """Write in pieces of these sizes (and the rest at once); gives what the file holds."""
    spool = Spool(path, META, 1 << 30, pool)
    try:
        start = 0
        for size in [*pieces, len(content)]:
            spool.write(memoryview(content)[start : start + size])
            start += size
        source = spool.source()
        assert source.read_at(0, len(content) + 1) == content
        assert source.reaches(len(content))
        assert not source.reaches(len(content) + 1)
        spool.sync()
        assert spool.sha256 == hashlib.sha256(content).hexdigest()
        assert spool.size_bytes == path.stat().st_size
        return path.read_bytes()
    finally:
        spool.discard()
        assert not path.exists()


@settings(max_examples=30)
@given(
    around=st.sampled_from([0, 1, 4095, 4096, BUFFER_BYTES - len(HEADER), BUFFER_BYTES, 2 * BUFFER_BYTES]),
    more=st.integers(0, 5000),
    pieces=st.lists(st.integers(0, BUFFER_BYTES), max_size=5),
)
def test_any_pieces_make_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, around: int, more: int, pieces: list[int]
) -> None:
    content = os.urandom(around + more)
    path = tmp_path_factory.mktemp("spool") / "x.part"
    assert spooled(path, content, pieces, BufferPool()) == HEADER + content


def refusing_open(path: Any, flags: int, mode: int = 0o777, original: Callable[..., int] = os.open) -> int:
    if flags & os.O_DIRECT:
        original(path, flags & ~os.O_DIRECT, mode)  # Linux makes the file before it refuses
        raise OSError(errno.EINVAL, "no direct writes here")
    return original(path, flags, mode)


class RefusingWrite:
    """Refuses direct writes, as a file system may that let the file be opened for them."""

    def __init__(self) -> None:
        self.original = os.pwrite
        self.refusals = 0

    def __call__(self, descriptor: int, content: memoryview, offset: int) -> int:
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            self.refusals += 1
            raise OSError(errno.EINVAL, "no direct writes here")
        return self.original(descriptor, content, offset)


def test_a_file_system_without_direct_files_gets_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refusing_open)
    content = os.urandom(3 * BUFFER_BYTES + 77)
    assert spooled(tmp_path / "x.part", content, [5], BufferPool()) == HEADER + content


def test_a_file_system_that_refuses_direct_writes_gets_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = RefusingWrite()
    monkeypatch.setattr(os, "pwrite", refusing)
    content = os.urandom(3 * BUFFER_BYTES + 77)
    assert spooled(tmp_path / "x.part", content, [5], BufferPool()) == HEADER + content
    assert refusing.refusals <= 1


def test_what_a_buffer_held_before_never_reaches_the_next_file(tmp_path: Path) -> None:
    pool = BufferPool()
    spooled(tmp_path / "a.part", b"secret" * 1000, [], pool)
    assert spooled(tmp_path / "b.part", b"x", [], pool) == HEADER + b"x"
