"""Shared parts of the benchmarks: a process' use of the machine, a table, one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of a process and of its children that ended, and the most memory it had at once."""

    cpu_s: float
    peak_mib: float


def usage(pid: int) -> Usage:
    """Read the use of a process and of its living descendants from /proc."""
    cpu_ticks, peak_kib = 0, 0
    for member in (pid, *descendants(pid)):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        cpu_ticks += sum(int(value) for value in fields[11:15])  # utime, stime, cutime, cstime
        peak_kib += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return Usage(cpu_ticks / _TICKS_PER_S, peak_kib / 1024)


def forget_peak(pid: int) -> None:
    """Have the peak memory of a process and its descendants count from now on."""
    for member in (pid, *descendants(pid)):
        with suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text("5")


def descendants(pid: int) -> list[int]:
    """Give the living descendants of a process."""
    pids = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            for child in task.read_text().split():
                pids += [int(child), *descendants(int(child))]
    return pids


def machine() -> dict[str, object]:
    """Describe what was measured on, without naming it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with what all benchmarks take."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repeat", type=int, default=3, help="runs of each; the median counts")
    return options


def report(name: str, rows: Sequence[dict[str, object]], **more: object) -> None:
    """Print the table to standard error and one JSON object to standard output."""
    print(table(rows), file=sys.stderr)
    print(json.dumps({"benchmark": name, "machine": machine(), **more, "rows": list(rows)}))


def table(rows: Sequence[dict[str, object]]) -> str:
    """Lay rows out in columns; numbers to the right."""
    if not rows:
        return "(nothing measured)"
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def end_process(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask a process of ours to end, and kill it where it does not."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def sync_ms(folder: Path, count: int = 20) -> float:
    """Time one write and fsync of 4 KiB in ``folder``, in milliseconds (median)."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)
