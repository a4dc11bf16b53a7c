"""Slices decoded side by side give one process' volume, within its limits; a hostile one ends them all, and no more."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.encoding.part10 import encode_file_meta, read_file_meta
from dicom_node.phantom.writer import TRANSFER_SYNTAXES
from dicom_node.sandbox import parallel
from dicom_node.sandbox.decode_process import (
    DecodeCrashError,
    DecodeError,
    DecodeLimits,
    DecodeProcess,
    DecodeTimeoutError,
)
from dicom_node.sandbox.frames import FrameHeader, read_frame_headers
from dicom_node.sandbox.parallel import ParallelProcessError, parallel_map
from dicom_node.series.assembly import load_series
from dicom_node.series.types import StoredInstance
from tests.support.factories import CtSeries, ct_series

CORES = os.sched_getaffinity(0)
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="one core")
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
PATIENCE_S = 30.0


def stored_series(folder: Path, syntax: str = "jpegls", n: int = 20) -> CtSeries:
    """A series as intake stores it: files that may be read the short way."""
    series = ct_series(folder, n=n, rows=64, spacing_mm=(2.5, 0.7, 0.7), transfer_syntax=syntax, shuffle=True)
    for path in series.paths:
        content = path.read_bytes()
        meta, start = read_file_meta(content)
        path.write_bytes(encode_file_meta(meta) + content[start:])
    return series


def first_frames(process: DecodeProcess, paths: Iterable[Path]) -> list[FrameHeader]:
    return [file[0] for file in process.headers(list(paths)) if file]


def children(pid: int) -> list[int]:
    return [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        pause.wait(0.01)


@contextmanager
def cores(number: int) -> Iterator[None]:
    os.sched_setaffinity(0, sorted(CORES)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


@needs_two_cores
@pytest.mark.parametrize("syntax", [*TRANSFER_SYNTAXES, "jpegll"])
def test_siblings_give_the_volume_that_one_process_gives(tmp_path: Path, syntax: str) -> None:
    series = stored_series(tmp_path, syntax)
    assert all(read_frame_headers(path)[0].pixels_at for path in series.paths), "ordinary ones, which are dealt out"
    volumes = []
    for number in (1, len(CORES)):
        with cores(number):
            loaded = load_series([StoredInstance("", path) for path in series.paths])
        volumes.append(loaded.volume.volume_hu)
    np.testing.assert_array_equal(volumes[0], series.volume_hu)
    assert volumes[0].tobytes() == volumes[1].tobytes()


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[tuple[DecodeProcess, list[FrameHeader]]]:
    """A child, and a series of which two slices never answer, so that two processes wait for them."""
    series = stored_series(tmp_path / "series")
    with DecodeProcess(DecodeLimits(timeout_s=20.0)) as process:
        frames = first_frames(process, series.paths)
        for number in (3, 4):
            fifo = tmp_path / f"fifo{number}"
            os.mkfifo(fifo)
            frames[number] = replace(frames[number], path=str(fifo))
        yield process, frames


@needs_two_cores
@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU])
def test_the_death_of_a_sibling_is_a_crash_and_the_next_request_is_answered(
    stuck: tuple[DecodeProcess, list[FrameHeader]], how: signal.Signals
) -> None:
    process, frames = stuck
    child = process._child
    assert child is not None

    is_over = threading.Event()

    def kill_one_and_free_the_other() -> None:
        wait_until(lambda: children(child.pid))
        os.kill(children(child.pid)[0], how)
        while not is_over.wait(0.01):
            for frame in frames[3:5]:
                with suppress(OSError):  # no reader is there
                    os.close(os.open(frame.path, os.O_WRONLY | os.O_NONBLOCK))

    killer = threading.Thread(target=kill_one_and_free_the_other)
    killer.start()
    try:
        with pytest.raises(DecodeCrashError):
            process.volume_hu(frames)
    finally:
        is_over.set()
        killer.join()
    assert process.volume_hu(frames[5:]).shape == (15, 64, 64)


@needs_two_cores
def test_a_hang_is_a_timeout_and_leaves_no_process(stuck: tuple[DecodeProcess, list[FrameHeader]]) -> None:
    process, frames = stuck
    process._limits = replace(process._limits, timeout_s=3.0)
    child = process._child
    assert child is not None
    processes: list[int] = []

    def list_processes() -> None:
        wait_until(lambda: children(child.pid))
        processes.extend(children(child.pid))

    looking = threading.Thread(target=list_processes)
    looking.start()
    with pytest.raises(DecodeTimeoutError):
        process.volume_hu(frames)
    looking.join()
    assert processes
    wait_until(lambda: not any(map(is_running, processes)))


WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from dicom_node.sandbox.decode_process import DecodeProcess

path, *endless = sys.argv[1:]
with DecodeProcess() as process:
    frame = process.headers([Path(path)])[0][0]
    print(process._child.pid, flush=True)
    process.volume_hu([replace(frame, path=fifo) for fifo in endless])
"""


@needs_two_cores
def test_siblings_do_not_outlive_a_worker_that_is_killed(tmp_path: Path) -> None:
    series = stored_series(tmp_path / "series", n=1)
    endless = [str(tmp_path / name) for name in ("one", "other")]
    for fifo in endless:
        os.mkfifo(fifo)
    command = [sys.executable, "-c", WORKER, str(series.paths[0]), *endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            child = int(worker.stdout.readline())
            wait_until(lambda: children(child))
            family = [child, *children(child)]
        finally:
            worker.kill()
    wait_until(lambda: not any(map(is_running, family)))


@needs_two_cores
def test_a_broken_slice_is_refused_whoever_meets_it(tmp_path: Path) -> None:
    series = stored_series(tmp_path, "j2k")  # CharLS takes seconds to give up half a slice
    with DecodeProcess() as process:
        frames = first_frames(process, series.paths)
        for broken in (0, 7, 19):
            content = series.paths[broken].read_bytes()
            series.paths[broken].write_bytes(content[: len(content) // 2])
            with pytest.raises(DecodeError) as refused:
                process.volume_hu(frames)
            assert refused.value.reason.code == "unreadable"
            series.paths[broken].write_bytes(content)
        np.testing.assert_array_equal(process.volume_hu(frames), series.volume_hu)
        assert process._child is not None
        assert children(process._child.pid) == []


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_processes", lambda: 2)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("count", [2, 4097, 20_000])
def test_each_item_is_worked_on_once_and_in_order(tmp_path: Path, count: int) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()

    def work(items: Iterable[int]) -> None:
        (notes / str(os.getpid())).write_text(" ".join(map(str, items)))

    parallel_map(work, range(count))
    parts = [[int(word) for word in note.read_text().split()] for note in notes.iterdir()]
    assert len(parts) == 2
    assert all(part == sorted(part) for part in parts)
    assert sorted(number for part in parts for number in part) == list(range(count))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("raised", "expected"), [(MemoryError, MemoryError), (OSError, ParallelProcessError)])
def test_what_a_sibling_raises_is_raised(raised: type[Exception], expected: type[Exception]) -> None:
    parent = os.getpid()

    def work(items: Iterable[int]) -> None:
        if os.getpid() != parent:
            raise raised
        list(items)

    with pytest.raises(expected):
        parallel_map(work, range(10))


@pytest.mark.usefixtures("two")
def test_what_is_raised_here_comes_as_it_is_and_no_sibling_stays() -> None:
    parent = os.getpid()

    def work(items: Iterable[int]) -> None:
        if os.getpid() == parent:
            raise KeyError
        list(items)

    before = children(parent)
    with pytest.raises(KeyError):
        parallel_map(work, range(10))
    assert children(parent) == before


@pytest.mark.usefixtures("two")
def test_siblings_share_the_memory_of_one(tmp_path: Path) -> None:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    before = [resource.getrlimit(kind) for kind in kinds]
    limit_bytes = 64 << 30

    def work(items: Iterable[int]) -> None:
        (tmp_path / str(os.getpid())).write_text(" ".join(str(resource.getrlimit(kind)[0]) for kind in kinds))
        list(items)

    for kind, (_, hard) in zip(kinds, before, strict=True):
        resource.setrlimit(kind, (limit_bytes, hard))
    try:
        parallel_map(work, range(10))
        assert [resource.getrlimit(kind)[0] for kind in kinds] == [limit_bytes, limit_bytes]
    finally:
        for kind, limits in zip(kinds, before, strict=True):
            resource.setrlimit(kind, limits)
    assert [note.read_text() for note in tmp_path.iterdir()] == [f"{limit_bytes // 2} {limit_bytes // 2}"] * 2


@pytest.mark.parametrize(("memory_mb", "at_most"), [(512, 1), (1535, 1), (1536, 2), (6144, 8)])
def test_no_more_work_than_memory_is_allowed_for(memory_mb: int, at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (memory_mb << 20, memory_mb << 20))
    assert max(parallel._processes(), 1) == at_most
