"""Kill -9 at any moment: what was acknowledged is there afterwards, whole and indexed.

Usage: ``python -m benchmarks.kill_cycles [--cycles 100] [--associations 4] [--seed N]``. Each cycle starts the port,
has associations push slices, kills its processes, and starts again on what they left. All the while another program
opens the database, reads and closes it again, as administrators' tools do. Every other cycle the kill comes
at a moment drawn at random; in between, strace (where it is installed) delivers it at a named step: the n-th write,
sync, rename or send. An acknowledged instance that is missing or altered ends the run with status 1. With 0 of N lost,
N acknowledged, the share that could be lost is below 3/N (95 %).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.receive import encoded_slice
from benchmarks.receivers import AE_TITLE, ANNOUNCEMENT, free_port, wait_until_it_listens
from benchmarks.sender import BrokenOffError, send
from dicom_node.storage.instance_store import dataset_sha256

STEPS = ("pwrite64", "ftruncate", "fdatasync", "rename", "fsync", "sendto")
"""System calls at whose start strace delivers the signal."""
LONGEST_S = 2.0
LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class Tally:
    """Counts over all cycles."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    restart_s: list[float] = field(default_factory=list)
    partial_files: int = 0
    looks: int = 0
    """Number of times another program opened the database, read and closed it."""


def can_trace() -> bool:
    """Return True if strace is installed and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def start(folder: Path, step: str = "", nth: int = 0) -> tuple[subprocess.Popen[bytes], int, float]:
    """Start the port; gives process, port, and the seconds until it listened."""
    port = free_port()
    (folder / ANNOUNCEMENT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.receivers", "lungnode", str(port), str(folder)]
    if step:
        inject = f"inject={step}:signal=SIGKILL:when={nth}"
        command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={step}", "-e", inject, *command]
    began = time.monotonic()
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    try:
        wait_until_it_listens(process, port, folder / ANNOUNCEMENT)
    except SystemExit:
        if not step:
            raise
    return process, port, time.monotonic() - began


def slices(rng: random.Random, cycle: int, association: int) -> Iterator[tuple[str, bytes]]:
    """Slices without end: one study a cycle, one series an association."""
    number = 0
    study = f"2.25.{rng.getrandbits(96)}"
    while True:
        number += 1
        uid = f"{study}.{cycle}.{association}.{number}"
        yield uid, encoded_slice(study, f"{study}.{association}", uid, number, rows=128)


def push(port: int, rng: random.Random, cycle: int, associations: int, tally: Tally) -> list[threading.Thread]:
    """Begin to send on so many associations until the receiver is gone."""

    def send_on(association: int, seed: int) -> None:
        try:
            for uid, status in send(port, AE_TITLE, slices(random.Random(seed), cycle, association)):
                tally.acknowledged[uid] = status
        except BrokenOffError:
            return

    threads = [threading.Thread(target=send_on, args=(number, rng.getrandbits(64))) for number in range(associations)]
    for thread in threads:
        thread.start()
    return threads


def any_ends(threads: Sequence[threading.Thread], limit_s: float) -> bool:
    """Wait until a sender has lost its receiver, which the signal hit then, but not longer than so many seconds."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if not all(thread.is_alive() for thread in threads):
            return True
        time.sleep(0.005)
    return False


@contextlib.contextmanager
def looking_in(database: Path, tally: Tally) -> Iterator[None]:
    """Open, read and close the database again and again while the block runs."""
    stop = threading.Event()

    def open_and_close() -> None:
        while not stop.wait(LOOK_EVERY_S):
            with contextlib.closing(sqlite3.connect(database, timeout=5)) as index:
                index.execute("SELECT count(*) FROM instances").fetchone()
            tally.looks += 1

    thread = threading.Thread(target=open_and_close)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def check(folder: Path, uids: set[str], tally: Tally) -> None:
    """Look for what was acknowledged, in index and store."""
    with sqlite3.connect(folder / "lungnode.db") as index:
        rows = {
            uid: (path, sha) for uid, path, sha in index.execute("SELECT sop_instance_uid, path, sha256 FROM instances")
        }
    index.close()
    for uid in uids:
        if uid not in rows or not (folder / "store" / rows[uid][0]).is_file():
            tally.lost.append(uid)
        elif dataset_sha256(folder / "store" / rows[uid][0]) != rows[uid][1]:
            tally.damaged.append(uid)


def run_cycle(folder: Path, rng: random.Random, cycle: int, associations: int, tally: Tally, step: str) -> None:
    """Start, push, kill, start again, check what was acknowledged."""
    before = set(tally.acknowledged)
    process, port, _ = start(folder, step, rng.randrange(5, 60))
    with looking_in(folder / "lungnode.db", tally):
        threads = push(port, rng, cycle, associations, tally)
        try:
            is_hit = any_ends(threads, LONGEST_S * 5 if step else rng.uniform(0.02, LONGEST_S))
            tally.steps[step if is_hit else "random"] += 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for thread in threads:
        thread.join()
    again, _, took_s = start(folder)
    tally.restart_s.append(took_s)
    tally.partial_files += len(list((folder / "store" / "incoming").rglob("*.part")))
    again.terminate()
    again.wait()
    check(folder, set(tally.acknowledged) - before, tally)


def run(cycles: int, associations: int, seed: int) -> dict[str, object]:
    """Run so many cycles on one store; gives what came of them."""
    rng, tally, traced = random.Random(seed), Tally(), can_trace()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "receiver"
        folder.mkdir()
        for cycle in range(cycles):
            step = STEPS[cycle // 2 % len(STEPS)] if traced and cycle % 2 else ""
            run_cycle(folder, rng, cycle, associations, tally, step)
            summary = f"{len(tally.acknowledged)} instances answered, {len(set(tally.lost))} lost"
            print(f"cycle {cycle + 1} of {cycles}: {summary}", file=sys.stderr, flush=True)
        check(folder, set(tally.acknowledged), tally)
    statuses = Counter(tally.acknowledged.values())
    return {
        "cycles": cycles,
        "associations": associations,
        "acknowledged": statuses[0],
        "other_statuses": {f"0x{status:04X}": count for status, count in statuses.items() if status},
        "lost": len(set(tally.lost)),
        "damaged": len(set(tally.damaged)),
        "partial_files_after_restart": tally.partial_files,
        "killed_at": dict(tally.steps),
        "looks_of_another_program": tally.looks,
        "restart_s_median": statistics.median(tally.restart_s),
        "restart_s_p95": sorted(tally.restart_s)[int(0.95 * (len(tally.restart_s) - 1))],
    }


def main() -> int:
    """Run the cycles asked for and report."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cycles", type=int, default=100)
    options.add_argument("--associations", type=int, default=4)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    result = run(given.cycles, given.associations, given.seed)
    print(json.dumps(result))
    return int(any(result[name] for name in ("lost", "damaged", "partial_files_after_restart")))


if __name__ == "__main__":
    sys.exit(main())
