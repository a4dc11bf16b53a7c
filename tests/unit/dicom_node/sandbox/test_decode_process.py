"""A hostile file costs its own series an answer and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from dicom_node.encoding.errors import RefusedError
from dicom_node.encoding.part10 import encode_file_meta, read_file_meta
from dicom_node.sandbox.decode_process import (
    DecodeCrashError,
    DecodeError,
    DecodeLimits,
    DecodeProcess,
    DecodeTimeoutError,
    UnreadablePixelsError,
)
from dicom_node.series.assembly import load_series
from dicom_node.series.types import StoredInstance
from tests.support.factories import CtSeries, Defects, ct_series


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=20, rows=64, spacing_mm=(2.5, 0.7, 0.7))


def endless(path: Path) -> Path:
    """A file that never answers."""
    os.mkfifo(path)
    return path


def test_a_hang_is_a_timeout_and_the_next_request_is_answered(tmp_path: Path, series: CtSeries) -> None:
    limits = DecodeLimits()
    with DecodeProcess(limits) as process:
        assert len(process.headers(series.paths)) == 20
        process._limits = replace(limits, timeout_s=1.0)
        with pytest.raises(DecodeTimeoutError):
            process.headers([endless(tmp_path / "fifo")])
        process._limits = limits
        assert len(process.headers(series.paths)) == 20


def test_a_death_is_a_crash_and_the_next_request_is_answered(tmp_path: Path, series: CtSeries) -> None:
    fifo = endless(tmp_path / "fifo")
    with DecodeProcess() as process:
        process.headers(series.paths)
        child = process._child
        assert child is not None

        killer = threading.Timer(1.0, os.kill, (child.pid, signal.SIGSEGV))  # it waits for a writer that never comes
        killer.start()
        with pytest.raises(DecodeCrashError):
            process.headers([fifo])
        killer.join()
        assert len(process.headers(series.paths)) == 20


def deflated_bomb(path: Path, honest: Path, megabytes: int) -> Path:
    """A deflated file of few bytes that inflates to many."""
    meta, start = read_file_meta(honest.read_bytes())
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(honest.read_bytes()[start:])
    body += b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes))
    path.write_bytes(
        encode_file_meta(replace(meta, transfer_syntax_uid=DeflatedExplicitVRLittleEndian)) + body + packer.flush()
    )
    return path


def compressed_giant(path: Path, honest: Path, syntax: str) -> Path:
    """A compressed instance of 64 x 64 whose codestream says that it has 20000 x 20000."""
    ds = dcmread(honest)
    ds.compress(syntax)
    size = (20000).to_bytes(4, "big")
    pixels = bytearray(ds.PixelData)
    if (at := pixels.find(b"\xff\x4f\xff\x51")) >= 0:
        for offset in (8, 12, 24, 28):  # the image's and the tile's width and height
            pixels[at + offset : at + offset + 4] = size
    else:
        at = pixels.index(b"\xff\xf7")
        pixels[at + 5 : at + 9] = 2 * size[2:]
    ds.PixelData = bytes(pixels)
    ds.save_as(path)
    return path


def crowded(path: Path, honest: Path) -> Path:
    """A sequence of two million empty items, which pydicom makes objects of as it reads them."""
    content = honest.read_bytes()
    pixels = content.rindex(b"\xe0\x7f\x10\0")
    items = bytes.fromhex("feff00e000000000") * 2_000_000
    sequence = bytes.fromhex("40007502") + b"SQ\0\0\xff\xff\xff\xff" + items + bytes.fromhex("feffdde000000000")
    path.write_bytes(content[:pixels] + sequence + content[pixels:])
    return path


BOMBS: dict[str, Callable[[Path, Path], Path]] = {
    "deflated": lambda path, honest: deflated_bomb(path, honest, 500),
    "JPEG 2000": lambda path, honest: compressed_giant(path, honest, JPEG2000Lossless),
    "JPEG-LS": lambda path, honest: compressed_giant(path, honest, JPEGLSLossless),
    "items": crowded,
}
OWN_MB, SHARED_MB = 200, 96


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_no_more_memory_than_is_allowed(name: str, tmp_path: Path, series: CtSeries) -> None:
    bomb = BOMBS[name](tmp_path / "bomb.dcm", series.paths[0])
    assert bomb.stat().st_size < 20 << 20
    with DecodeProcess(DecodeLimits(own_memory_mb=OWN_MB)) as process:
        with pytest.raises(DecodeError):
            process.digests((process.headers([bomb])[0] or ())[:1] or unreadable())
        child = process._child
        assert child is not None
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak_mb = int(status.partition("VmHWM:")[2].split()[0]) >> 10
        assert peak_mb < (OWN_MB if name == "items" else 0) + SHARED_MB, "only the objects reach the limit"
        assert len(process.digests((process.headers(series.paths)[0] or ())[:1])) == 1


def unreadable() -> NoReturn:
    raise UnreadablePixelsError


def test_a_series_with_a_memory_bomb_is_refused(tmp_path: Path, series: CtSeries) -> None:
    bomb = deflated_bomb(tmp_path / "bomb.dcm", series.paths[0], 500)
    with pytest.raises(RefusedError) as refused:
        load_series([StoredInstance("", p) for p in (bomb, *series.paths)], DecodeLimits(memory_mb=480))
    assert refused.value.reason.code == "unreadable", "its header is plain; the bomb goes off where pixels are read"


def test_a_volume_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    large = ct_series(tmp_path, volume_hu=np.zeros((33, 2048, 2048), np.int16), spacing_mm=(3.0, 0.7, 0.7))
    with pytest.raises(RefusedError) as refused:
        load_series([StoredInstance("", p) for p in large.paths], DecodeLimits(memory_mb=260))
    assert refused.value.reason.code in ("decoder_out_of_memory", "decoder_crashed", "unreadable")


def test_the_child_ends_with_its_parent(series: CtSeries) -> None:
    process = DecodeProcess()
    process.headers(series.paths)
    child = process._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 0
    process.close()


def test_the_child_sees_no_secret(series: CtSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", "postgresql://user:secret@host/db")
    with DecodeProcess() as process:
        process.headers(series.paths)
        assert process._child is not None
        environment = Path(f"/proc/{process._child.pid}/environ").read_bytes()
    assert b"secret" not in environment


def test_volumes_on_their_way_leave_nothing_behind(tmp_path: Path, series: CtSeries) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    load_series([StoredInstance("", p) for p in series.paths], DecodeLimits(scratch=scratch))
    assert list(scratch.iterdir()) == []


def test_a_header_that_claims_billions_of_frames_is_not_believed(tmp_path: Path) -> None:
    def claim(ds: Dataset, _index: int) -> None:
        ds.NumberOfFrames = 2_000_000_000

    series = ct_series(tmp_path, n=1, rows=16, defects=Defects(alter=claim))
    with DecodeProcess(DecodeLimits(timeout_s=20)) as process:
        assert process.headers(series.paths) == [None]
