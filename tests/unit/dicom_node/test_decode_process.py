"""A hostile file costs its own series an answer and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.assemble import load_series
from dicom_node.decode_process import (
    DecodeCrashError,
    DecodeLimits,
    DecodeMemoryError,
    DecodeProcess,
    DecodeTimeoutError,
)
from dicom_node.series import Refusal, StoredInstance
from tests.factories import CtSeries, Defects, ct_series


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=20, rows=16, spacing_mm=(2.5, 0.7, 0.7))


def endless(path: Path) -> Path:
    """A file that never answers."""
    os.mkfifo(path)
    return path


def test_a_hang_is_a_timeout_and_the_next_request_is_answered(tmp_path: Path, series: CtSeries) -> None:
    with DecodeProcess(DecodeLimits(timeout_s=5.0)) as process:
        assert len(process.headers(series.paths)) == 20
        with pytest.raises(DecodeTimeoutError):
            process.headers([endless(tmp_path / "fifo")])
        assert len(process.headers(series.paths)) == 20


def test_a_death_is_a_crash_and_the_next_request_is_answered(tmp_path: Path, series: CtSeries) -> None:
    fifo = endless(tmp_path / "fifo")
    with DecodeProcess() as process:
        process.headers(series.paths)
        child = process._child
        assert child is not None

        def kill_when_it_reads() -> None:
            with fifo.open("wb"):  # opens when the child has opened the other end
                os.kill(child.pid, signal.SIGSEGV)

        killer = threading.Thread(target=kill_when_it_reads)
        killer.start()
        with pytest.raises(DecodeCrashError):
            process.headers([fifo])
        killer.join()
        assert len(process.headers(series.paths)) == 20


def deflated_bomb(path: Path, series: CtSeries, megabytes: int) -> Path:
    """A deflated file of few bytes that inflates to many."""
    head = series.paths[0].read_bytes()
    meta_end = 132 + 12 + int.from_bytes(head[140:144], "little")
    meta = head[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0\0")
    grown = len(meta) - meta_end
    meta = meta[:140] + (int.from_bytes(head[140:144], "little") + grown).to_bytes(4, "little") + meta[144:]
    position = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: position - 2] + (24).to_bytes(2, "little") + meta[position:]
    meta = meta[:140] + (len(meta) - 144).to_bytes(4, "little") + meta[144:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(head[meta_end:]) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes))
    path.write_bytes(meta + body + packer.flush())
    return path


def test_a_memory_bomb_is_refused(tmp_path: Path, series: CtSeries) -> None:
    bomb = deflated_bomb(tmp_path / "bomb.dcm", series, 500)
    assert bomb.stat().st_size < 4 << 20
    with DecodeProcess(DecodeLimits(memory_mb=480)) as process:
        with pytest.raises(DecodeMemoryError):
            process.headers([bomb])
        assert len(process.headers(series.paths)) == 20
    result = load_series([StoredInstance("", p) for p in (bomb, *series.paths)], DecodeLimits(memory_mb=480))
    assert isinstance(result, Refusal)
    assert result.code == "decoder_out_of_memory"


def test_a_volume_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    large = ct_series(tmp_path, volume_hu=np.zeros((130, 2048, 2048), np.int16)[:13], spacing_mm=(3.0, 0.7, 0.7))
    result = load_series([StoredInstance("", p) for p in large.paths], DecodeLimits(memory_mb=260))
    assert isinstance(result, Refusal)
    assert result.code in ("decoder_out_of_memory", "decoder_crashed", "unreadable")


def test_the_child_ends_with_its_parent(series: CtSeries) -> None:
    process = DecodeProcess()
    process.headers(series.paths)
    child = process._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=10) == 0
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
