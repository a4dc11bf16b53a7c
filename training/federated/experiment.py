"""``python -m training.federated.experiment --data DIR --out DIR``: compare pooled, local and federated training.

Splits the data into four unequal sites, then trains the same network by the same schedule in each way: one pool of all
data, each site alone, federated by every strategy, with a poisoned and with an absent site, with differential privacy.
All are measured on the same patients of the split ``test``. Writes ``experiment.json``, ``.md`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from inference.calibration.calibration import calibrated
from inference.metrics import bootstrap_interval, brier_score, calibration_floor, expected_calibration_error
from training.data.records import DataError
from training.federated.client import make_app, network_of
from training.federated.counts import fit_jointly
from training.federated.partition import SITES, partition
from training.federated.plan import Plan
from training.federated.sabotage import broken_update, reversed_update
from training.federated.server import run_federation
from training.federated.simulation import InProcess
from training.federated.site import Site, new_network, train_round
from training.fitting.plots import plot_intervals
from training.fitting.report_metrics import auc_with_interval, gain_over

BAD_SITE = 1
"""Number of the harmful or absent site: neither the largest nor the smallest."""


def train_on(site: Site, plan: Plan) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train by the plan's schedule on one site's (or the pool's) nodules; return network and calibrator."""
    group = plan.network_group()
    network, samples = new_network(plan), site.samples(group)
    for number in range(1, plan.rounds + 1):
        train_round(network, samples, plan, number, mu=0.0)
    return network, fit_jointly(site.counts(network, group, "val"))


class Experiment:
    """Training experiments, evaluated on the split ``test`` of the pool."""

    def __init__(self, data: Path, out: Path, plan: Plan) -> None:
        self.plan, self.out = plan, out
        self.sizes = partition(data, out / "sites")
        self.folders = [out / "sites" / f"site-{i}" for i in range(len(self.sizes))]
        self.pool = Site.read(data)
        chosen = self.pool.chosen("test", labelled=True)
        self.labels = self.pool.task.labels[chosen]
        self.patients = np.array(self.pool.task.groups)[chosen]
        self.rows: list[dict[str, Any]] = []
        self.margins: dict[str, NDArray[np.float64]] = {}

    def run(self, name: str, train: Callable[[], tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]]) -> None:
        """Run one training, evaluate it, and record the row."""
        started = time.monotonic()
        network, calibrator, more = train()
        margins, _ = self.pool.margins(network, self.plan.network_group(), "test")
        self.margins[name] = margins
        row = {"name": name, **more, "seconds": round(time.monotonic() - started, 1)}
        self.rows.append(row)
        if not np.isfinite(margins).all():
            print(f"{name}: the network answers no numbers", file=sys.stderr, flush=True)
            return
        row |= self._figures(margins, calibrated(margins, calibrator["kind"], calibrator["parameters"]))
        low, high = row["auc_interval"]
        print(
            f"{name}: AUC {row['auc']:.3f} ({low:.3f} to {high:.3f}), {row['seconds']} s", file=sys.stderr, flush=True
        )

    def _figures(self, margins: NDArray[np.float64], p: NDArray[np.float64]) -> dict[str, Any]:
        labels = self.labels
        pooled = next(iter(self.margins.values()))
        return {
            **auc_with_interval(labels, margins, self.patients),
            **gain_over(labels, margins, pooled, self.patients),
            "brier": brier_score(labels, p),
            "brier_interval": bootstrap_interval(lambda i: brier_score(labels[i], p[i]), self.patients),
            "ece": expected_calibration_error(labels, p),
            "ece_floor": calibration_floor(p)[0],
        }

    def pooled(self) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
        """Train on the pooled nodules of all sites."""
        return *train_on(self.pool, self.plan), {}

    def single_site(self, number: int) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
        """Train and calibrate on one site only."""
        return *train_on(Site.read(self.folders[number]), self.plan), {}

    def federated(
        self, plan: Plan, apps: list[ClientApp | None]
    ) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
        """Train on all sites by a strategy, calibrated on the sum of their counts."""
        arrays, summary = run_federation(InProcess(self.folders, apps, plan), plan)
        accepted_counts = [r["accepted"] for r in summary["rounds"]]
        calibrator = summary["calibrator"] or {"kind": "none", "parameters": {}}
        return network_of(plan, arrays), calibrator, {"accepted": accepted_counts, "privacy": summary["privacy"]}


def ways(experiment: Experiment) -> dict[str, Callable[[], tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]]]:
    """Return all trainings by name, the pool first."""
    plan = experiment.plan
    honest = make_app()

    def federated(bad: ClientApp | None = honest, **changed: Any) -> Callable[[], Any]:
        apps: list[ClientApp | None] = [bad if i == BAD_SITE else honest for i in range(plan.sites)]
        return lambda: experiment.federated(replace(plan, **changed), apps)

    reverse, broken = make_app([reversed_update(3.0)]), make_app([broken_update()])
    trainings = {"pool of all data": experiment.pooled}
    for number, name in enumerate(SITES):
        size = experiment.sizes[number].get("train", 0)
        trainings[f"alone: {name} ({size})"] = lambda number=number: experiment.single_site(number)  # type: ignore[misc]
    for strategy in ("fedavg", "fedprox", "trimmed", "median"):
        trainings[f"{strategy}"] = federated(strategy=strategy)
    for strategy in ("fedavg", "trimmed", "median"):
        trainings[f"{strategy}, a site learns backwards"] = federated(reverse, strategy=strategy)
    trainings["fedavg, a site sends no numbers"] = federated(broken, strategy="fedavg")
    trainings["fedavg, a site is absent"] = federated(None, strategy="fedavg")
    for noise in (0.01, 0.1, 1.0):
        trainings[f"private, noise {noise:g}"] = federated(strategy="private", noise_multiplier=noise)
    return trainings


def _spent(row: dict[str, Any]) -> str:
    return f", epsilon {row['privacy']['epsilon']:.3g}" if row.get("privacy") else ""


def table(rows: list[dict[str, Any]], n: int, malignant: int, patients: int) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        f"Split test: n = {n} ({malignant} malignant), {patients} patients; 95 % intervals by patient bootstrap.",
        "",
        "| Way | AUC | against the pool | Brier | ECE (floor) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if "auc" not in row:
            lines.append(f"| {row['name']}{_spent(row)} | answers no numbers | | | |")
            continue
        (a, b), (c, d), (e, f) = row["auc_interval"], row["gain_interval"], row["brier_interval"]
        lines.append(
            f"| {row['name']}{_spent(row)} | {row['auc']:.3f} ({a:.3f} to {b:.3f}) "
            f"| {row['gain']:+.3f} ({c:+.3f} to {d:+.3f}) | {row['brier']:.3f} ({e:.3f} to {f:.3f}) "
            f"| {row['ece']:.3f} ({row['ece_floor']:.3f}) |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command and write the table."""
    parser = argparse.ArgumentParser(prog="python -m training.federated.experiment", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--group", default=Plan().group)
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--local-epochs", type=int, default=Plan().local_epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=None, help="words of the ways to train; the pool always is")
    args = parser.parse_args(argv)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    try:
        plan = Plan(group=args.group, rounds=args.rounds, local_epochs=args.local_epochs, seed=args.seed)
        experiment = Experiment(args.data, args.out, plan)
    except (DataError, OSError) as error:
        print(f"training.federated.experiment: {error}", file=sys.stderr)
        return 2
    for number, (name, train) in enumerate(ways(experiment).items()):
        if number == 0 or args.only is None or any(word in name for word in args.only):
            experiment.run(name, train)
    rows = experiment.rows
    text = table(rows, len(experiment.labels), int(experiment.labels.sum()), len(set(experiment.patients)))
    summary = {"plan": plan.config(), "sites": dict(zip(SITES, experiment.sizes, strict=True)), "rows": rows}
    (args.out / "experiment.json").write_text(json.dumps(summary, indent=1))
    (args.out / "experiment.md").write_text(text)
    plot_intervals(
        args.out / "experiment.png",
        [(r["name"], r["auc"], r["auc_interval"]) for r in rows if "auc" in r],
        f"AUC on the split test, n = {len(experiment.labels)}",
    )
    print(json.dumps({"rows": [{k: r.get(k) for k in ("name", "auc", "brier", "ece")} for r in rows]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
