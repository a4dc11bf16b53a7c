"""``python -m training.report.robustness --data DIR --split NAME --bundle DIR``: evaluate distorted nodules.

Every nodule of a split is distorted, one thing at a time, and assessed twice: by the networks alone at the marked
point, and as the service answers a reader's click, which refines the point, measures, and abstains outside the
validated domain. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import SHIPPED, Bundle, read_bundle
from inference.errors import BundleError
from inference.lungs.search_region import segment_lungs
from inference.malignancy.ensemble import Ensemble
from inference.metrics import (
    auc,
    bootstrap_interval,
    brier_score,
    calibration_floor,
    expected_calibration_error,
    plain,
)
from inference.nodules.measurement import measure_nodule
from inference.predictor import NoduleAnalyzer
from inference.types import Abstention, CtVolume, NoduleFinding
from inference.volumes.patches import cut_patch
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, nodule_folder, read_crop, read_rows
from training.data.series_io import read_scan
from training.data.splits import LeakError
from training.fitting.split_predictions import assessed
from training.fitting.tasks import scan_sources
from training.report.distortions import DISTORTIONS, Distort, NodulePoint
from training.train import choose_device

Array = NDArray[np.float64]
Progress = Callable[[str], None]
ROTATIONS = 2
"""Number of averaged rotations for all rows (8 in serving)."""
DRAWS = 500
SCAN_POINTS = 60


@dataclass(frozen=True, slots=True)
class Bench:
    """The evaluated models: the ensemble alone, and the analyzer with the service's gates."""

    nodule: Ensemble
    analyzer: NoduleAnalyzer

    @classmethod
    def of(cls, nodule: Bundle, nodule_filter: Bundle, device: torch.device, *, rotations: int = ROTATIONS) -> Bench:
        """Load both, without the gate's minimum number and extent of slices, which research crops do not have."""
        gate = {**nodule.recipe["gate"], "min_slices": 1, "min_extent_mm": 0}
        on_crops = replace(nodule, recipe={**nodule.recipe, "gate": gate})
        ensemble = Ensemble(on_crops, device, rotations=rotations)
        return cls(ensemble, NoduleAnalyzer(ensemble, Ensemble(nodule_filter, device, rotations=1)))

    def ungated(self, points: list[NodulePoint]) -> Array:
        """Return the ensemble's probabilities at the points, without gates."""
        measures = [measure_nodule(point.volume, point.index) for point in points]
        usable_measures = [None if isinstance(measure, Abstention) else measure for measure in measures]
        patches = [cut_patch(point.volume, point.index) for point in points]
        return assessed(self.nodule, patches, usable_measures).probabilities

    def served(self, points: list[NodulePoint]) -> list[NoduleFinding]:
        """Return the service's findings at the points."""
        return [self.analyzer.analyse_point(point.volume, point.index) for point in points]


@dataclass(frozen=True, slots=True)
class Nodules:
    """Labelled nodules of a split, with their patients."""

    points: list[NodulePoint]
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]

    @classmethod
    def read(cls, data: Path, split: str) -> Nodules:
        """Read the crops at the readers' centres.

        Raises
        ------
        DataError
            The split has no labelled nodule.
        """
        folder = nodule_folder(data)
        rows = [row for row in read_rows(data) if row.split == split and row.is_labelled]
        if not rows:
            raise DataError(f"no labelled nodule of the split {split!r} in {folder}")
        crops = [read_crop(folder, row) for row in rows]
        return cls(
            [NodulePoint(crop.volume, crop.centre) for crop in crops],
            np.array([row.is_malignant for row in rows]),
            np.array([row.patient_id for row in rows]),
        )


def answer_figures(labels: NDArray[np.bool_], p: Array) -> dict[str, Any]:
    """Return discrimination and calibration of answered nodules."""
    if not len(p):
        return {"n": 0}
    return {
        "n": len(p),
        "auc": auc(labels, p),
        "brier": brier_score(labels, p),
        "ece": expected_calibration_error(labels, p),
        "ece_floor": calibration_floor(p, draws=200)[0],
        "mean_probability": float(p.mean()),
    }


def served_figures(labels: NDArray[np.bool_], findings: list[NoduleFinding]) -> dict[str, Any]:
    """Return metrics of the service's answers, and abstentions by reason."""
    given = np.array([f.malignancy_probability is not None for f in findings])
    p = np.array([f.malignancy_probability for f in findings if f.malignancy_probability is not None])
    reasons = Counter(f.abstentions[0].code for f in findings if f.malignancy_probability is None and f.abstentions)
    return {
        **answer_figures(labels[given], p),
        "abstained": float(1 - given.mean()),
        "reasons": dict(reasons.most_common()),
    }


def distorted(nodules: Nodules, distort: Distort, seed: int) -> list[NodulePoint]:
    """Return all nodules distorted, each by its own generator: equal direction and noise for each strength."""
    return [distort(point, np.random.default_rng((seed, i))) for i, point in enumerate(nodules.points)]


def distortion_figures(
    bench: Bench, nodules: Nodules, *, seed: int = 0, progress: Progress = lambda _: None
) -> dict[str, dict[str, Any]]:
    """Return the results of each distortion: ``alone`` with the loss of AUC, and ``served``."""
    figures: dict[str, dict[str, Any]] = {}
    labels, groups = nodules.labels, nodules.groups
    usual: dict[str, Array] = {}
    for name, distort in DISTORTIONS.items():
        progress(name)
        points = distorted(nodules, distort, seed)
        findings = bench.served(points)
        # where the service abstains it loses nothing and gains nothing: such nodules leave both sides of the loss
        served = np.array([np.nan if f.malignancy_probability is None else f.malignancy_probability for f in findings])
        answers = {"alone": bench.ungated(points), "served": served}
        usual = usual or answers
        figures[name] = {
            "alone": answer_figures(labels, answers["alone"]),
            "served": served_figures(labels, findings),
        }
        for way, p in answers.items():
            figures[name][way] |= loss_figures(labels, usual[way], p, groups)
    return figures


def loss_figures(labels: NDArray[np.bool_], usual: Array, p: Array, groups: NDArray[np.str_]) -> dict[str, Any]:
    """Return the loss of AUC among nodules answered both times, by paired bootstrap of patients."""
    both = np.isfinite(usual) & np.isfinite(p)
    y, a, b, g = labels[both], usual[both], p[both], groups[both]
    if not 0 < y.sum() < len(y):
        return {"auc_loss": None, "auc_loss_interval": None}
    interval = bootstrap_interval(lambda i: auc(y[i], a[i]) - auc(y[i], b[i]), g, draws=DRAWS)
    return {"auc_loss": auc(y, a) - auc(y, b), "auc_loss_interval": interval}


def lung_points(volume: CtVolume, count: int, seed: int) -> list[NodulePoint]:
    """Return random points in air-filled lung without a nodule.

    Raises
    ------
    DataError
        No lungs are found in the volume.
    """
    lungs = segment_lungs(volume)
    if isinstance(lungs, Abstention):
        raise DataError(lungs.text)
    rng = np.random.default_rng(seed)
    inside = np.argwhere(lungs.aerated)
    chosen = inside[rng.integers(0, len(inside), count)]
    at = np.clip((chosen + 0.5) * lungs.block - 0.5, 0, np.array(volume.volume_hu.shape) - 1)
    return [NodulePoint(volume, (float(z), float(y), float(x))) for z, y, x in at]


def wall_points(volume: CtVolume, count: int, seed: int) -> list[NodulePoint]:
    """Return random points in soft tissue outside the lung."""
    rng = np.random.default_rng(seed)
    soft = np.argwhere((volume.volume_hu > -100) & (volume.volume_hu < 300))
    return [NodulePoint(volume, (float(z), float(y), float(x))) for z, y, x in soft[rng.integers(0, len(soft), count)]]


def empty_figures(bench: Bench, points: list[NodulePoint]) -> dict[str, Any]:
    """Return abstentions and probabilities at points without a nodule."""
    findings = bench.served(points)
    malignancy = [f.malignancy_probability for f in findings if f.malignancy_probability is not None]
    nodule = [f.nodule_probability for f in findings if f.nodule_probability is not None]
    ungated = bench.ungated(points)
    reasons = Counter(f.abstentions[0].code for f in findings if f.malignancy_probability is None and f.abstentions)
    return {
        "n": len(points),
        "abstained": 1 - len(malignancy) / len(findings),
        "reasons": dict(reasons.most_common()),
        "mean_probability": float(np.mean(malignancy)) if malignancy else None,
        "share_above_half": sum(p >= 0.5 for p in malignancy) / len(findings),
        "median_nodule_probability": float(np.median(nodule)) if nodule else None,
        "alone_mean_probability": float(ungated.mean()),
    }


def robustness_figures(
    data: Path, split: str, bench: Bench, *, seed: int = 0, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return all results; ``empty`` and ``wall`` are None without a nodule-free series."""
    nodules = Nodules.read(data, split)
    figures: dict[str, Any] = {
        "n": len(nodules.labels),
        "positives": int(nodules.labels.sum()),
        "patients": len(np.unique(nodules.groups)),
        "distortions": distortion_figures(bench, nodules, seed=seed, progress=progress),
        "empty": None,
        "wall": None,
    }
    try:
        sources = scan_sources(data)
    except DataError:
        return figures
    progress("points without a nodule")
    volume = read_scan(sources[0])
    figures["empty"] = empty_figures(bench, lung_points(volume, SCAN_POINTS, seed))
    progress("points outside the lung")
    figures["wall"] = empty_figures(bench, wall_points(volume, SCAN_POINTS, seed))
    return figures


def print_progress(title: str, steps: int) -> Progress:
    """Return a callback that prints each step and the estimated remaining time to standard error."""
    started, done = time.monotonic(), 0

    def progress(step: str) -> None:
        nonlocal done
        left = (time.monotonic() - started) / done * (steps - done) if done else None
        done += 1
        rest = "" if left is None else f", about {left:.0f} s left"
        print(f"{title}: {done}/{steps} {step}{rest}", file=sys.stderr, flush=True)

    return progress


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.report.robustness", description="Distort and measure.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--bundle", type=Path, default=SHIPPED / "nodule", help="folder of a nodule bundle")
    parser.add_argument("--filter", type=Path, default=SHIPPED / "filter", help="folder of a filter bundle")
    parser.add_argument("--rotations", type=int, default=ROTATIONS, help="rotations to average, 1 to 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    started = time.monotonic()
    try:
        refuse_leaks("nodule", args.data)
        nodule, nodule_filter = read_bundle(args.bundle), read_bundle(args.filter)
        bench = Bench.of(nodule, nodule_filter, choose_device(args.device), rotations=args.rotations)
        progress = print_progress("robustness", len(DISTORTIONS) + 2)
        figures = robustness_figures(args.data, args.split, bench, seed=args.seed, progress=progress)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.report.robustness: {error}", file=sys.stderr)
        return 2
    shown = plain({"split": args.split, "bundle_sha256": nodule.sha256, "turns": args.rotations, **figures})
    if args.out is not None:
        args.out.write_text(json.dumps(shown, indent=1) + "\n")
    print(json.dumps({**shown, "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
