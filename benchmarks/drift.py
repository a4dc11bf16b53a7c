"""Drift: an alarm raised by pushed series, false alarms, and what a look costs.

Usage: ``python -m benchmarks.drift --only push|simulate|look [--shift HU] [--scanners N] [--analyses N]``.

``push`` runs ``lungnode serve`` (a fast analyzer in the models' place) in a home of its own on loopback, and pushes
generated chest CT by C-STORE, each of another patient: the reference and a block as they are, then a block whose
values are shifted, then two blocks as they are. It records what the page, the metrics and a webhook report after each.
``simulate`` compares blocks of drawn series, as patients differ, with the reference of their scanner: how often is
drift reported without a change, and with one. ``look`` measures the CPU time of the watch over a database
with so many analyses (of ten scanners, in 25 days), and after 20 more.
"""

from __future__ import annotations

import http.server
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import requests

from benchmarks.measure import parser, report
from db.analyses.ground_truth import Judged
from db.database import Database
from db.domain.findings import Verdict
from db.domain.scanners import Scanner
from db.monitoring.drift_observations import Observation
from dicom_node.phantom.writer import SeriesIdentity
from inference.drift.calibration_watch import MIN_CASES, Calibration, watch_calibration
from inference.drift.output_drift import Answer, compare_answers
from inference.drift.series_drift import REFERENCE, WINDOW, compare
from inference.metrics import wilson_interval
from lungnode.monitoring.drift_watch import answers, collect_finished
from lungnode.monitoring.watch_report import RAISE_P, RECENT_VERDICTS, overrides, p_of_increase, run_watch
from tests.support.factories import ct_series, simple_chest, sqlite_database
from tests.support.service import Sender, Service
from tests.support.watched_series import Recorder, Source, summary

Row = dict[str, object]

SLICES, SIDE, SPACING_MM = 20, 128, (5.0, 1.5, 1.5)
BLOCKS = 10
VERDICTS, CASES = 600, 300
PATIENCE_S = 900.0


class Hook:
    """A webhook on loopback that records the states of drift that it received."""

    def __init__(self) -> None:
        self.states: list[str] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if message["alert"] == "drift":
                    hook.states.append(str(message["state"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running(folder: Path, hook: Hook) -> Iterator[Service]:
    """Run the service, which notifies the webhook."""
    settings = {
        "LUNGNODE_ALERTS__WEBHOOKS": json.dumps([hook.url]),
        "LUNGNODE_WEB__AUTH": "off",
        "LUNGNODE_DICOM__RESULTS": "[]",  # they would take most of the time
    }
    service = Service(folder / "home", quiet_s=2.0, environment=settings)
    service.start()
    try:
        yield service
    finally:
        service.stop()
        service.close()


def push(shift_hu: int) -> list[Row]:
    """Push blocks of series through the SCP and record what is reported after each."""
    plan = (
        ("reference and a block", REFERENCE + WINDOW, 0, ""),
        ("a shifted block", WINDOW, shift_hu, "raised"),
        ("a block as before", WINDOW, 0, "raised"),
        ("another", WINDOW, 0, "raised cleared"),
    )
    rows: list[Row] = []
    hook, sent = Hook(), 0
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), hook) as service:
        for name, count, shift, expected in plan:
            began = time.monotonic()
            for number in range(sent, sent + count):
                _send(service, Path(folder) / "sent", number, shift)
            sent += count
            metrics = _wait(partial(_metrics, service), f"lungnode_drift_series{{}} {sent}.0")
            seconds = round(time.monotonic() - began, 1)
            page = requests.get(f"{service.addresses['web']['url']}monitoring", timeout=60).text
            notified = _wait(lambda: " ".join(hook.states), expected)
            alarms = {"metrics": "lungnode_drift_alarm{} 1.0" in metrics, "page": "chip failed" in page}
            rows.append(
                {"pushed": name, "shift_hu": shift, "series": sent, "seconds": seconds, **alarms, "hook": notified}
            )
    hook.close()
    return rows


def _wait(observe: Callable[[], str], expected: str) -> str:
    """Observe once a second until the text holds what is expected."""
    deadline = time.monotonic() + PATIENCE_S
    while expected not in (observed := observe()):
        if time.monotonic() > deadline:
            raise SystemExit(f"no {expected!r} within {PATIENCE_S:.0f} s: {observed[-500:]}")
        time.sleep(1.0)
    return observed


def _send(service: Service, folder: Path, number: int, shift_hu: int) -> None:
    """Push the chest of one more patient."""
    rng = np.random.default_rng(number)
    volume = simple_chest(SLICES, SIDE, SIDE, SPACING_MM, seed=number, noise_hu=float(rng.lognormal(2.5, 0.2)))
    volume += np.where(volume < -500, rng.normal(0, 30), rng.normal(0, 10)).astype(np.int16) + np.int16(shift_hu)
    who = SeriesIdentity(patient_name=f"Phantom^{number}", patient_id=f"P{number}")
    series = ct_series(folder / str(number), volume_hu=volume, spacing_mm=SPACING_MM, identity=who)
    sender = Sender(int(service.addresses["dicom"]["port"]))
    while len(sender.acknowledged) < len(series.paths):
        sender.send(series.paths)
    for path in series.paths:
        path.unlink()


def _metrics(service: Service) -> str:
    """Read the metrics, without the labels of the only scanner."""
    lines = requests.get(f"{service.addresses['web']['url']}metrics", timeout=60).text.splitlines()
    return "\n".join(line.partition("{")[0] + "{}" + line.partition("}")[2] for line in lines if "{" in line)


def simulate(scanners: int) -> list[Row]:
    """Return how often comparisons find drift, unshifted and shifted."""
    return [
        _simulated("nothing", scanners, Source()),
        *(_simulated(f"+{hu} HU", scanners // 10, Source(shift_hu=hu)) for hu in (10, 20, 50)),
        *(_simulated(f"malignancy odds x {np.exp(m):.1f}", scanners // 10, Source(more_malignant=m)) for m in (1, 2)),
        *(_simulated_verdicts(rate, scanners // 5) for rate in (0.1, 0.2, 0.4)),
        *(_simulated_calibration(factor, scanners // 20) for factor in (1.0, 0.5)),
    ]


def _simulated_verdicts(rate: float, streams: int) -> Row:
    """Look after each verdict of streams in which readers override 10 % at first and ``rate`` in the last 100."""
    rng, alarm_count, alarmed = np.random.default_rng(2), 0, 0
    where, looks = Scanner("", "", ""), VERDICTS - 2 * RECENT_VERDICTS + 1
    for _ in range(streams):
        overridden = rng.random(VERDICTS) < np.where(np.arange(VERDICTS) < VERDICTS - 100, 0.1, rate)
        judged = [Judged(where, "", "", Verdict.REJECT if one else Verdict.ACCEPT, False, None) for one in overridden]
        raised = [p_of_increase(overrides(judged[:n])) < RAISE_P for n in range(2 * RECENT_VERDICTS, VERDICTS + 1)]
        alarm_count, alarmed = alarm_count + sum(raised), alarmed + any(raised)
    return _row(f"overrides 10 % to {rate:.0%}", (alarm_count, looks * streams), (alarmed, streams))


def _simulated_calibration(factor: float, streams: int) -> Row:
    """Look after every fifth case of streams in which probabilities come true, times ``factor``."""
    rng, alarm_count, alarmed = np.random.default_rng(3), 0, 0
    sizes = range(MIN_CASES, CASES + 1, 5)
    for _ in range(streams):
        probabilities = rng.beta(0.7, 1.3, CASES)
        labels, patients = rng.random(CASES) < factor * probabilities, np.arange(CASES).astype(np.str_)
        watches = [watch_calibration(probabilities[:n], labels[:n], patients[:n]) for n in sizes]
        raised = [isinstance(one, Calibration) and one.p < RAISE_P for one in watches]
        alarm_count, alarmed = alarm_count + sum(raised), alarmed + any(raised)
    return _row(f"outcomes x {factor:g}", (alarm_count, len(sizes) * streams), (alarmed, streams))


def _simulated(name: str, scanners: int, changed: Source) -> Row:
    """Compare ``BLOCKS`` blocks of each scanner with its own reference."""
    rng = np.random.default_rng(1)
    alarm_count, of_scanner, comparisons = 0, 0, 0
    for _ in range(scanners):
        reference = _drawn(rng, REFERENCE, Source())
        alarms = [_has_drifted(reference, _drawn(rng, WINDOW, changed)) for _ in range(BLOCKS)]
        alarm_count, of_scanner, comparisons = alarm_count + sum(alarms), of_scanner + any(alarms), comparisons + BLOCKS
    return _row(name, (alarm_count, comparisons), (of_scanner, scanners))


def _row(name: str, comparisons: tuple[int, int], streams: tuple[int, int]) -> Row:
    (alarm_count, n), (alarmed, of) = comparisons, streams
    low, high = wilson_interval(alarm_count, n)
    by_scanner = {"scanners": of, "alarmed": alarmed}
    return {
        "changed": name,
        "looks": n,
        "alarms": alarm_count,
        "share": alarm_count / n,
        "low": low,
        "high": high,
        **by_scanner,
    }


def _drawn(rng: np.random.Generator, n: int, source: Source) -> tuple[list[dict[str, object]], list[Answer]]:
    """Draw series and the answers to them."""
    observed = []
    for _ in range(n):
        count = int(rng.poisson(1.6))
        odds = rng.normal(-1.5, 1.6, count) + source.more_malignant
        nodule, malignancy = rng.beta(6, 1.2, count), 1 / (1 + np.exp(-odds))
        sizes = {"nodule_mm": float(np.median(rng.lognormal(2, 0.4, count))) if count else None}
        probabilities = (tuple(nodule.tolist()), tuple(malignancy.tolist()))
        observed.append(Observation("", (), summary(rng, source.shift_hu) | sizes, *probabilities))
    return [one.summary or {} for one in observed], answers(observed)


def _has_drifted(
    reference: tuple[list[dict[str, object]], list[Answer]], recent: tuple[list[dict[str, object]], list[Answer]]
) -> bool:
    return bool(compare(reference[0], recent[0]).drifted or compare_answers(reference[1], recent[1]).drifted)


def look_costs(analyses: int) -> list[Row]:
    """Measure the CPU time of the first look over many analyses, and of later ones."""
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite_database(Path(folder))
        every = timedelta(days=25) / analyses
        recorder = Recorder(database, began=datetime.now(UTC) - timedelta(days=25), every=every)
        for number in range(10):
            recorder.record(Source(f"Phantom {number}", judged=0.05, proven=0.01), analyses // 10)
        rows = [_timed(f"until all of {analyses} analyses are collected", partial(_collect_all, database))]
        rows.append(_timed("the look after it", partial(run_watch, database)))
        for _ in range(2):
            recorder.record(Source("Phantom 3", judged=0.5), WINDOW)
            rows.append(_timed(f"with {WINDOW} new ones", partial(run_watch, database)))
        rows.append(_timed("with nothing new", partial(run_watch, database)))
        database.dispose()
    return rows


def _collect_all(database: Database) -> None:
    while collect_finished(database):
        pass


def _timed(name: str, act: Callable[[], object]) -> Row:
    began, cpu = time.perf_counter(), time.process_time()
    act()
    return {"look": name, "cpu_s": time.process_time() - cpu, "seconds": time.perf_counter() - began}


def main() -> None:
    """Measure."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--only", choices=("push", "simulate", "look"), default="simulate")
    arguments.add_argument("--shift", type=int, default=50, help="HU that are added to the shifted block")
    arguments.add_argument("--scanners", type=int, default=200, help="scanners that are simulated")
    arguments.add_argument("--analyses", type=int, default=100_000, help="analyses in the database")
    given = arguments.parse_args()
    measure = {
        "push": partial(push, given.shift),
        "simulate": partial(simulate, given.scanners),
        "look": partial(look_costs, given.analyses),
    }
    report("drift", measure[given.only]())


if __name__ == "__main__":
    main()
