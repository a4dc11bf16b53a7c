"""Growth of memory, files and threads of the whole service, under studies, readers and hostile peers.

Usage: ``python -m benchmarks.soak --minutes N [--every 10] [--slices 24] [--rows 256] [--out runs/soak]``. ``lungnode
serve`` runs all its parts on loopback with SQLite. Every few seconds a study of a new patient is pushed: by DCMTK's
``storescu`` on one association, by our own sender on one, or on an association for each third of it. Meanwhile the
probes of ``benchmarks.hostile_peers`` hold connections open in turns, pages are requested, and sometimes a study is
sent again or left without an end. Each part is sampled with all its children: memory (RSS; pages that processes share
count in each), open files, threads; and the sizes of database and store.

A slope is that of a straight line through the means of twelve spans of time, the first fifth of the run left out, with
its 95 % interval; nothing grows where that holds zero. Read none into a run of minutes: what is cached grows at first.
The samples, the plot and what was measured are written to ``--out``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from scipy import stats

from benchmarks.hostile_peers import PROBES
from benchmarks.measure import descendants, parser, report
from benchmarks.receivers import AE_TITLE, path_without_ours
from benchmarks.sender import BrokenOffError, connect, send
from benchmarks.service import ENDS, instances_of, settings, study_of
from benchmarks.serving import Service, running_service
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import NoduleKind, NoduleSpec, Phantom, PhantomSpec

PARTS = ("dicom", "worker", "web")
SAMPLE_S, LOOK_S, ASK_S = 5.0, 1.0, 2.0
HOSTILE_PEERS = 5
"""Connections of a probe at once."""
RESULT_S = 300.0
"""After which a study without a result counts as failed."""
SPANS, WARM_UP = 12, 0.2
OWN = {"LUNGNODE_DICOM__AE_TITLE": AE_TITLE}
"""As the probes call it."""
NODULES = (NoduleSpec(NoduleKind.SOLID, 9.0, side="left"),)
PATHS = ("/livez", "/readyz", "/metrics", "/worklist", "/api/v1/worklist", "/admin", "/conformance")
SLICE_MM, PIXEL_MM = 2.5, 0.95
"""Few and coarse, and still what is analysed: the lungs beside the heart."""


@dataclass
class Record:
    """Observations of the run; threads append to it."""

    began: float = field(default_factory=time.monotonic)
    samples: list[dict[str, float]] = field(default_factory=list)
    stores_s: list[float] = field(default_factory=list)
    results_s: list[float] = field(default_factory=list)
    pages_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, float] = field(default_factory=dict)
    """Studies without a result, and when their last slice was acknowledged."""

    def count(self, what: str) -> None:
        """Note that something happened."""
        self.counts[what] += 1


def sample(service: Service, home: Path) -> dict[str, float]:
    """Read memory, files and threads of each part, and the sizes of what is kept."""
    status = json.loads((home / "run" / "serve.json").read_text())
    values: dict[str, float] = {}
    for part in PARTS:
        pid = int(status[part]["pid"])
        members = [pid, *descendants(pid)]
        values |= {f"{part}_mib": _status(members, "VmRSS") / 1024, f"{part}_threads": _status(members, "Threads")}
        values[f"{part}_files"] = sum(_open_files(member) for member in members)
    values["supervisor_mib"] = _status([service.pid], "VmRSS") / 1024
    values["database_mib"] = sum(path.stat().st_size for path in home.glob("*.db*")) / 2**20
    values["store_mib"] = _size(home / "store") / 2**20
    return values


def _status(members: Sequence[int], name: str) -> float:
    total = 0
    for member in members:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return total


def _open_files(member: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{member}/fd").iterdir())
    return 0


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it was renamed meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


class Soak:
    """One run: the threads that push, ask, annoy and look."""

    def __init__(self, service: Service, folder: Path, phantom: Phantom) -> None:
        self.record = Record()
        self._service, self._folder, self._phantom = service, folder, phantom
        self._random = random.Random(1)
        self._last: list[tuple[str, bytes]] = []

    def run(self, minutes: float, every_s: float) -> None:
        """Do everything until the time is over, then wait for the last results."""
        stop = threading.Event()
        turns: list[tuple[float, Callable[[int], None]]] = [
            (every_s, self._push),
            (every_s / 2, self._annoy),
            (ASK_S, self._ask),
            (LOOK_S, self._check),
            (SAMPLE_S, self._sample),
        ]
        threads = [threading.Thread(target=self._repeat, args=(stop, pause, action)) for pause, action in turns]
        for thread in threads:
            thread.start()
        stop.wait(60 * minutes)
        stop.set()
        for thread in threads:
            thread.join()
        end = time.monotonic() + RESULT_S
        while self.record.waiting and time.monotonic() < end:
            self._check(0)
            time.sleep(LOOK_S)
        self.record.counts["studies without a result"] += len(self.record.waiting)

    def _repeat(self, stop: threading.Event, pause_s: float, action: Callable[[int], None]) -> None:
        number, due = 0, time.monotonic()
        while not stop.is_set():
            try:
                action(number)
            except (OSError, ValueError, KeyError) as error:
                self.record.count(f"{action.__name__.strip('_')} failed: {type(error).__name__}")
            number, due = number + 1, max(due + pause_s, time.monotonic())
            stop.wait(due - time.monotonic())

    def _push(self, number: int) -> None:
        """Push a study in the next of the ways."""
        folder = self._folder / "study"
        study, instances = instances_of(self._phantom, folder, number)
        way = number % 3
        if way == 0 and (program := shutil.which("storescu", path=path_without_ours())):
            address = ["-aec", AE_TITLE, "+sd", "127.0.0.1", str(self._service.dicom_port), str(folder)]
            done = subprocess.run([program, *address], capture_output=True, check=False, timeout=120)
            is_complete = done.returncode == 0
            self.record.count("pushed by storescu" if is_complete else "storescu failed")
        else:
            step = max(1, len(instances) // 3) if way == 2 else len(instances)
            is_complete = True
            for at in range(0, len(instances), step):
                is_complete &= self._send(instances[at : at + step])
            self.record.count("pushed by our sender")
        if is_complete:
            self.record.waiting[study] = time.monotonic()
        if number % 10 == 9:
            self._send(self._last)  # a PACS that forgot that it had sent this
            self._leave(instances)
        self._last = instances
        shutil.rmtree(folder, ignore_errors=True)

    def _send(self, instances: Sequence[tuple[str, bytes]]) -> bool:
        """Send on one association, and note how long each instance took."""
        answered, asked = 0, time.monotonic()
        try:
            for _, status in send(self._service.dicom_port, AE_TITLE, instances):
                self.record.stores_s.append(time.monotonic() - asked)
                answered, asked = answered + 1, time.monotonic()
                self.record.count("stored" if status == 0 else f"refused with 0x{status:04X}")
        except BrokenOffError:
            self.record.count("associations that broke off")
        return answered == len(instances)

    def _leave(self, instances: Sequence[tuple[str, bytes]]) -> None:
        """Begin an association and go in the midst of an instance."""
        with contextlib.suppress(BrokenOffError):
            cut = ((uid, content[: len(content) // 2]) for uid, content in instances)
            for _ in send(self._service.dicom_port, AE_TITLE, cut, timeout_s=2):
                return

    def _annoy(self, number: int) -> None:
        """Hold some connections of a probe open for a while."""
        name = list(PROBES)[number % len(PROBES)]
        if name == "a PDU of 4 GiB" and number // len(PROBES) % 4:
            return  # each sends 64 MiB
        held = []
        for _ in range(HOSTILE_PEERS):
            with contextlib.suppress(OSError):
                connection = connect(self._service.dicom_port, 5)
                held.append(connection)
                PROBES[name](connection)
        self.record.count("probes")
        time.sleep(self._random.uniform(0.5, 3))
        for connection in held:
            connection.close()

    def _ask(self, number: int) -> None:
        """Ask for a page, as a reader or a monitor does."""
        asked = time.monotonic()
        url = f"http://127.0.0.1:{self._service.web_port}{PATHS[number % len(PATHS)]}"
        answer = requests.get(url, timeout=30)
        self.record.pages_s.append(time.monotonic() - asked)
        self.record.count("pages" if answer.ok else f"{PATHS[number % len(PATHS)]} answered {answer.status_code}")

    def _check(self, _number: int) -> None:
        """See which studies have their result."""
        for study, since in list(self.record.waiting.items()):
            study_state = study_of(self._service, study)
            now = time.monotonic()
            if study_state is not None and study_state["state"] in ENDS:
                self.record.results_s.append(now - since)
                self.record.count(" ".join([study_state["state"], *(one["code"] for one in study_state["reasons"])]))
                del self.record.waiting[study]
            elif now - since > RESULT_S:
                self.record.count("studies without a result")
                del self.record.waiting[study]

    def _sample(self, _number: int) -> None:
        at_h = (time.monotonic() - self.record.began) / 3600
        self.record.samples.append({"at_h": at_h, **sample(self._service, self._folder / "home")})


def slopes(samples: Sequence[dict[str, float]]) -> list[dict[str, object]]:
    """Slope of everything that was sampled, per hour, with the half width of its 95 % interval."""
    names = [name for name in samples[0] if name != "at_h"] if samples else []
    at_h = np.array([one["at_h"] for one in samples])
    warm = at_h >= at_h[-1] * WARM_UP if len(at_h) else at_h
    rows: list[dict[str, object]] = []
    for name in names:
        values = np.array([one[name] for one in samples])
        per_hour, half = slope(at_h[warm], values[warm])
        grows = None if half is None else bool(per_hour - half > 0)
        row: dict[str, object] = {"what": name, "first": float(values[warm][0]), "last": float(values[-1])}
        rows.append({**row, "most": float(values.max()), "per_hour": per_hour, "plus_minus": half, "grows": grows})
    return rows


def slope(at_h: np.ndarray, values: np.ndarray) -> tuple[float, float | None]:
    """Fit a line through the means of spans, since neighbouring samples say the same; None where there are too few."""
    if len(values) and np.ptp(values) == 0:
        return 0.0, 0.0
    spans = [chosen for chosen in np.array_split(np.arange(len(at_h)), SPANS) if len(chosen)]
    if len(spans) < 3:
        return float("nan"), None
    fitted = stats.linregress([at_h[one].mean() for one in spans], [values[one].mean() for one in spans])
    return float(fitted.slope), float(fitted.stderr * stats.t.ppf(0.975, len(spans) - 2))


def quantiles(times_s: Sequence[float]) -> dict[str, object]:
    """Median, 99th percentile and longest, in seconds."""
    if not times_s:
        return {"n": 0, "p50_s": None, "p99_s": None, "longest_s": None}
    p50, p99 = np.percentile(times_s, [50, 99])
    return {"n": len(times_s), "p50_s": float(p50), "p99_s": float(p99), "longest_s": max(times_s)}


def plot(samples: Sequence[dict[str, float]], path: Path) -> None:
    """Draw memory, open files, threads, and what is kept, over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(11, 7), sharex=True)
    minutes = [60 * one["at_h"] for one in samples]
    disk_series = ["database_mib", "store_mib"]
    shown = {
        "memory (RSS), MiB": [f"{part}_mib" for part in (*PARTS, "supervisor")],
        "open files": [f"{part}_files" for part in PARTS],
        "threads": [f"{part}_threads" for part in PARTS],
        "database and store, MiB": disk_series,
    }
    for panel, (title, names) in zip(panels.flat, shown.items(), strict=True):
        for name in names:
            panel.plot(minutes, [one[name] for one in samples], label=name.rpartition("_")[0])
        panel.set(title=title, xlabel="minutes", ylim=(0, None))
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run for the given minutes and report what grew."""
    options = parser(__doc__ or "")
    options.add_argument("--minutes", type=float, required=True)
    options.add_argument("--every", type=float, default=10.0, help="seconds from study to study")
    options.add_argument("--slices", type=int, default=24)
    options.add_argument("--rows", type=int, default=256)
    options.add_argument("--out", type=Path, default=Path("runs/soak"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    size = PhantomSpec(given.slices, SLICE_MM, given.rows, given.rows, PIXEL_MM, nodules=NODULES)
    phantom = make_phantom(size)
    with tempfile.TemporaryDirectory() as name, running_service(Path(name), settings() | OWN) as service:
        soak = Soak(service, Path(name), phantom)
        soak.run(given.minutes, given.every)
        record = soak.record
        shutil.copy(Path(name) / "log", given.out / "log")
    (given.out / "samples.json").write_text(json.dumps(record.samples))
    plot(record.samples, given.out / "soak.png")
    times = {"store": record.stores_s, "result": record.results_s, "page": record.pages_s}
    rows = slopes(record.samples)
    report(
        "soak",
        rows,
        minutes=given.minutes,
        counts=dict(record.counts),
        latency={what: quantiles(seconds) for what, seconds in times.items()},
        load=os.getloadavg(),
    )


if __name__ == "__main__":
    main()
