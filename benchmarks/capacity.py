"""``python -m benchmarks.capacity``: how many machines a hospital, a group or a country needs, by simulation.

A discrete-event simulation (SimPy) of one weekday: studies arrive by a daily profile and in bursts, wait for a
listener, are received, lie quiet, wait for a worker and the database, and are delivered. For each scale the smallest
fleet is sought whose result comes within five minutes of a study's first byte at the 99th percentile. Costs are those
of ``capacity_costs.toml``, each with the command that measured it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simpy

from benchmarks.measure import report

GOAL_S = 300.0
HOURS = np.array([0.3, 0.2, 0.2, 0.2, 0.3, 0.4, 0.8, 1.6, 2.2, 2.4, 2.4, 2.2, 1.8, 1.8, 2.0, 2.0, 1.7, 1.3, 0.9, 0.7,
                  0.6, 0.5, 0.4, 0.3])  # fmt: skip
"""Studies an hour relative to each other: little at night, most before noon."""
SCALES = {"hospital": 200, "group": 5_000, "country": 100_000}
"""Chest CT a day."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes that run: listener processes, workers with one analysis at a time each, and PostgreSQL hosts."""

    listeners: int
    workers: int
    databases: int
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """One study on its way; seconds."""

    arrival: float
    slices: int
    luck: float
    """Factor of its analysis' time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one simulated day."""

    latencies: np.ndarray[Any, Any]
    busy: dict[str, float]
    """Share of the busiest hour that each kind was at work."""

    def percentile(self, q: float) -> float:
        """Seconds from a study's first byte to its delivered result."""
        return float(np.percentile(self.latencies, q))


def poisson_day(per_day: int, rng: np.random.Generator, *, burst: float = 3.0, hours: range = range(24)) -> list[float]:
    """Arrival times in seconds: bursts by an inhomogeneous Poisson process, ``burst`` studies in each on average."""
    rates = HOURS / HOURS.sum() * per_day / burst
    times: list[float] = []
    for hour in hours:
        starts = 3600 * (hour + rng.random(rng.poisson(rates[hour])))
        for start in starts:
            times += list(start + np.cumsum(rng.exponential(4.0, rng.geometric(1 / burst))))
    return sorted(times)


def draw_studies(times: Iterable[float], costs: dict[str, Any], rng: np.random.Generator) -> list[Study]:
    """Give each arrival its number of slices and its luck."""
    sigma, spread = costs["study"]["slices_sigma"], costs["analysis"]["spread"]
    width = math.sqrt(math.log(1 + spread**2))
    return [
        Study(
            t, max(30, int(costs["study"]["slices"] * rng.lognormal(0, sigma))), rng.lognormal(-(width**2) / 2, width)
        )
        for t in times
    ]


def receiving_s(study: Study, costs: dict[str, Any]) -> float:
    """Seconds that a listener's slot is taken by all series of a study: the sender's pace, or its share of ours."""
    pace = min(costs["sender"]["slices_per_s"], costs["receive"]["slices_per_s"] / places_of(costs))
    return study.slices * costs["study"]["series"] / pace


def places_of(costs: dict[str, Any]) -> int:
    """Senders that one listener serves at their own pace."""
    return max(1, int(costs["receive"]["slices_per_s"] // costs["sender"]["slices_per_s"]))


def analysis_s(study: Study, costs: dict[str, Any], *, gpu: bool) -> float:
    """Seconds of one worker."""
    a = costs["analysis"]
    networks = a["networks_gpu_s"] if gpu else a["networks_s"]
    per_slice = (a["decode_ms_per_slice"] + a["search_ms_per_slice"]) / 1000
    return study.luck * (a["fixed_s"] + networks + study.slices * per_slice)


def database_s(study: Study, costs: dict[str, Any]) -> float:
    """Seconds of one of the database's connections."""
    d = costs["database"]
    return (d["ms_per_slice"] * study.slices * costs["study"]["series"] + d["ms_per_study"]) / 1000


Stage = tuple[str, int, Callable[[Study], float]]
"""Name, servers (0: no waiting), and seconds of service."""


def stages_of(fleet: Fleet, costs: dict[str, Any]) -> list[Stage]:
    """A study's way through the fleet."""
    return [
        ("listeners", fleet.listeners * places_of(costs), lambda s: receiving_s(s, costs)),
        ("database", fleet.databases * costs["database"]["connections"], lambda s: database_s(s, costs)),
        ("quiet", 0, lambda _: costs["analysis"]["quiet_s"]),
        ("workers", fleet.workers, lambda s: analysis_s(s, costs, gpu=fleet.gpu)),
        ("delivery", 0, lambda _: costs["delivery"]["seconds"]),
    ]


def simulate(studies: list[Study], stages: list[Stage]) -> Outcome:
    """Send the studies through the stages, first come first served at each."""
    environment = simpy.Environment()
    pools = {name: simpy.Resource(environment, capacity=n) for name, n, _ in stages if n}
    hour = np.zeros((len(stages), 26))
    latencies = np.zeros(len(studies))

    def way(index: int, study: Study) -> Generator[Any, Any, None]:
        yield environment.timeout(study.arrival)
        for number, (name, servers, service) in enumerate(stages):
            seconds = service(study)
            if not servers:
                yield environment.timeout(seconds)
                continue
            with pools[name].request() as slot:
                yield slot
                hour[number, min(25, int(environment.now // 3600))] += seconds
                yield environment.timeout(seconds)
        latencies[index] = environment.now - study.arrival

    for index, study in enumerate(studies):
        environment.process(way(index, study))
    environment.run()
    busy = {name: float(hour[i].max() / 3600 / n) for i, (name, n, _) in enumerate(stages) if n}
    return Outcome(latencies, busy)


def smallest_fleet(
    per_day: int, costs: dict[str, Any], *, gpu: bool, seed: int = 0, hours: range = range(24)
) -> tuple[Fleet, Outcome]:
    """The fewest workers, then the fewest listeners and databases, that reach the goal.

    Listeners and databases start at what keeps them below 70 % in the busiest hour; workers are found by bisection.
    """
    rng = np.random.default_rng(seed)
    studies = draw_studies(poisson_day(per_day, rng, hours=hours), costs, rng)
    peak = max(np.histogram([s.arrival for s in studies], bins=24, range=(0, 86400))[0]) / 3600

    def needed(service: Callable[[Study], float], places: int) -> int:
        mean = float(np.mean([service(s) for s in studies]))
        return max(1, math.ceil(peak * mean / 0.7 / places))

    fleet = Fleet(
        needed(lambda s: receiving_s(s, costs), places_of(costs)),
        1,
        needed(lambda s: database_s(s, costs), costs["database"]["connections"]),
        gpu,
    )

    def reached(workers: int) -> Outcome | None:
        outcome = simulate(studies, stages_of(replace(fleet, workers=workers), costs))
        return outcome if outcome.percentile(99) <= GOAL_S else None

    load = needed(lambda s: analysis_s(s, costs, gpu=gpu), 1)
    low, high, best = 0, load, reached(load)
    while best is None:
        low, high = high, math.ceil(high * 1.3) + 1
        best = reached(high)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        outcome = reached(middle)
        low, high, best = (low, middle, outcome) if outcome else (middle, high, best)
    return replace(fleet, workers=high), best


def row_of(scale: str, per_day: int, fleet: Fleet, outcome: Outcome, costs: dict[str, Any]) -> dict[str, object]:
    """One row of the table: the fleet, what it reaches, and what a year brings."""
    slices = costs["study"]["slices"] * math.exp(costs["study"]["slices_sigma"] ** 2 / 2) * costs["study"]["series"]
    size = slices * costs["study"]["bytes_per_slice"]
    peak_per_s = per_day * HOURS.max() / HOURS.sum() / 3600
    rows = costs["database"]["bytes_per_slice"] * slices + costs["database"]["bytes_per_study"]
    return {
        "scale": scale,
        "CT a day": per_day,
        "with": "GPU" if fleet.gpu else "CPU",
        "listeners": fleet.listeners,
        "workers": fleet.workers,
        "databases": fleet.databases,
        "median s": outcome.percentile(50),
        "99 % s": outcome.percentile(99),
        "workers busy": outcome.busy["workers"],
        "peak Gbit/s": peak_per_s * size * 8 / 1e9,
        "images TB/year": per_day * 365 * size / 1e12,
        "rows/year 1e6": per_day * 365 * (slices + 40) / 1e6,
        "database GB/year": per_day * 365 * rows / 1e9,
    }


def plot(path: Path, results: list[tuple[str, Fleet, Outcome]]) -> None:
    """Distribution of the latency at each scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for scale, fleet, outcome in results:
        values = np.sort(outcome.latencies)
        kind = "GPU" if fleet.gpu else "CPU"
        axes.plot(values, np.linspace(0, 1, len(values)), label=f"{scale}, {fleet.workers} workers, {kind}",
                  linestyle="--" if fleet.gpu else "-")  # fmt: skip
    axes.axvline(GOAL_S, color="#adb5bd", linestyle=":")
    axes.set(
        xlabel="seconds from first byte to result", ylabel="share of studies", xlim=(0, GOAL_S * 1.15), ylim=(0, 1.01)
    )
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_workers(path: Path, per_day: int, fleet: Fleet, costs: dict[str, Any], hours: range, seed: int) -> None:
    """Plot the median and the 99th percentile of waiting against the number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(seed)
    studies = draw_studies(poisson_day(per_day, rng, hours=hours), costs, rng)
    numbers = sorted({max(1, round(fleet.workers * share)) for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)})
    outcomes = [simulate(studies, stages_of(replace(fleet, workers=n), costs)) for n in numbers]
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for q, colour in ((50, "#0b7285"), (99, "#e8590c")):
        axes.plot(numbers, [o.percentile(q) for o in outcomes], "o-", color=colour, label=f"{q} % of studies")
    axes.axhline(GOAL_S, color="#adb5bd", linestyle=":")
    axes.set(xlabel=f"workers ({per_day:,} chest CT a day)", ylabel="seconds to result", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Parse, simulate every scale, print the table and one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__.split("\n")[0])
    parser.add_argument("--scales", default=",".join(SCALES), help="of hospital, group, country")
    parser.add_argument("--costs", type=Path, default=Path(__file__).with_name("capacity_costs.toml"))
    parser.add_argument("--plots", type=Path, default=None, help="folder for pictures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    costs = tomllib.loads(args.costs.read_text())
    rows, results = [], []
    for scale in args.scales.split(","):
        if scale not in SCALES:
            print(f"benchmarks.capacity: {scale!r} is none of {', '.join(SCALES)}", file=sys.stderr)
            return 2
        per_day = SCALES[scale]
        hours = range(24) if per_day < 50_000 else range(7, 12)  # a country: the hours before noon decide
        for gpu in (False, True):
            fleet, outcome = smallest_fleet(per_day, costs, gpu=gpu, seed=args.seed, hours=hours)
            rows.append(row_of(scale, per_day, fleet, outcome, costs))
            results.append((scale, fleet, outcome))
            print(f"{scale}: {fleet}", file=sys.stderr, flush=True)
            if args.plots and scale == "country" and not gpu:
                args.plots.mkdir(parents=True, exist_ok=True)
                plot_workers(args.plots / "workers.png", per_day, fleet, costs, hours, args.seed)
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        plot(args.plots / "latency.png", results)
    report("capacity", rows, goal_s=GOAL_S)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
