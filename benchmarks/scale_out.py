"""Many hosts on one machine: how long a crowd of series takes with one worker and with several, and what kills cost.

Usage: ``python -m benchmarks.scale_out [--series 40] [--workers 1 3] [--kills 0] [--analysis-s 2]``. Listeners, workers
and webs are process trees with state folders of their own over one PostgreSQL and one S3-compatible store; small series
are pushed over 8 associations at once. The analyzer takes the densest voxel after ``--analysis-s`` seconds in which it
uses no processor, as a GPU's host does, so that more workers on one machine show their effect; receiving, decoding and
making results are real. Each row says how long it took from the first image to the last result. With ``--kills``,
listeners, workers and the database are killed with -9 in turn at random moments and started again; anything lost,
altered or made twice ends the run with status 1. The log of the run goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.measure import report
from tests.support.factories import CtSeries
from tests.support.scale_out import (
    SLICES,
    cluster,
    kill_at_random,
    make_series,
    outcome,
    push,
    wait_for_results,
)


def run(folder: Path, series: list[CtSeries], options: argparse.Namespace, workers: int) -> dict[str, object]:
    """Push all series to that many workers; gives one row."""
    with cluster(folder / f"hosts-{workers}") as hosts:
        hosts.start(workers=workers, delay_s=options.analysis_s)
        began_s = time.monotonic()
        killing = kill_at_random(hosts, options.kills, options.seed, threading.Event())
        pushed = push(series, [service.ports[0] for service in hosts.listeners])
        pushed_s = time.monotonic() - began_s
        hosts.note(f"all {len(series)} series are acknowledged, over {pushed.associations} associations")
        killing.join()
        done_s = wait_for_results(hosts, series, timeout_s=1200) - began_s
        hosts.note("every series has its result")
        result = outcome(hosts, pushed, folder)
        print("\n".join(hosts.log), file=sys.stderr)
    is_right = (result.lost, result.damaged, result.reports) == (0, 0, len(series)) and result.current == [
        SLICES
    ] * len(series)
    return {
        "workers": workers,
        "kills": options.kills,
        "associations": pushed.associations,
        "acknowledged": sum(len(one) for one in pushed.acknowledged.values()),
        "lost": result.lost,
        "damaged": result.damaged,
        "results": result.reports,
        "is_right": is_right,
        "pushed_s": round(pushed_s, 1),
        "done_s": round(done_s, 1),
    }


def main() -> int:
    """Run, report, and say by the status whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 3], help="how many, one run for each")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--analysis-s", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = [make_series(folder, number) for number in range(options.series)]
        rows = [run(folder, series, options, workers) for workers in options.workers]
    report("scale_out", rows, series=options.series, slices=SLICES)
    return 0 if all(row["is_right"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
