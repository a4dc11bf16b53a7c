"""``python -m training.evaluate --data DIR --split NAME --bundle DIR --out DIR``: what a bundle achieves on a split.

Prints one JSON object last: discrimination with a patient-bootstrap interval, calibration before and after with the
floor that a perfectly calibrated model of the same size would show, conformal coverage, and the trivial baselines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import SHIPPED, Bundle, read_bundle, write_recipe
from inference.calibration import calibrated_classes, prediction_set
from inference.ensemble import FEATURES, Ensemble, combine
from inference.errors import BundleError
from training.cards import write_card
from training.features import measured_features
from training.leaks import refuse_leaks
from training.metrics import (
    auc,
    binary_figures,
    bootstrap_interval,
    brier_score,
    plain,
    reliability_bins,
    roc_points,
)
from training.nodules import DataError, NoduleRow, nodule_folder, read_rows
from training.plots import plot_histogram, plot_reliability, plot_roc
from training.slices import read_slices, slice_logits, thumbnail_scores
from training.splits import LeakError
from training.tasks import read_filter_task, read_nodule_task
from training.train import choose_device

Array = NDArray[np.float64]


def coverage_figures(
    labels: NDArray[np.bool_], p: Array, thresholds: dict[str, float], classes: tuple[str, str]
) -> dict[str, Any]:
    """Share of prediction sets that hold the truth, overall and by class, and share that name one class only."""
    sets = [prediction_set(float(v), thresholds, classes) for v in p]
    held = np.array([classes[int(y)] in s for y, s in zip(labels, sets, strict=True)])
    by_class = {name: float(held[labels == bool(i)].mean()) if (labels == bool(i)).any() else None
                for i, name in enumerate(classes)}  # fmt: skip
    return {
        "coverage": float(held.mean()),
        "coverage_by_class": by_class,
        "single_answers": float(np.mean([len(s) == 1 for s in sets])),
    }


def subgroup_figures(rows: list[NoduleRow], labels: NDArray[np.bool_], p: Array, *, draws: int) -> list[dict[str, Any]]:
    """n, AUC with interval, Brier and the diameter's AUC by size, slice and pixel spacing, and agreement."""
    diameter = np.array([r.diameter_mm for r in rows])
    spacing, pixel = np.array([r.slice_mm for r in rows]), np.array([r.pixel_mm for r in rows])
    rating = np.array([r.mean_malignancy for r in rows])
    patients = np.array([r.patient_id for r in rows])
    parts = {
        "below 6 mm": diameter < 6,
        "6 to 8 mm": (diameter >= 6) & (diameter < 8),
        "8 to 15 mm": (diameter >= 8) & (diameter < 15),
        "15 mm and more": diameter >= 15,
        "slices below 1.5 mm": spacing < 1.5,
        "slices 1.5 mm and more": spacing >= 1.5,
        "pixels below 0.7 mm": pixel < 0.7,
        "pixels 0.7 mm and more": pixel >= 0.7,
        "ratings <= 2 against >= 4": (rating <= 2) | (rating >= 4),
    }

    def figures(name: str, at: NDArray[np.intp]) -> dict[str, Any]:
        y, q = labels[at], p[at]
        return {
            "name": name,
            "n": len(at),
            "positives": int(y.sum()),
            "auc": auc(y, q),
            "auc_interval": bootstrap_interval(lambda i: auc(y[i], q[i]), patients[at], draws=draws),
            "baseline_diameter_auc": auc(y, diameter[at]),
            "brier": brier_score(y, q),
        }

    return [figures(name, np.flatnonzero(inside)) for name, inside in parts.items() if inside.any()]


def curve_figures(labels: NDArray[np.bool_], before: Array, after: Array) -> dict[str, Any]:
    """What plots are drawn from: histogram, ROC, and reliability before and after."""
    edges = np.linspace(0, 1, 21)
    benign, malignant = (np.histogram(after[labels == side], edges)[0].tolist() for side in (False, True))
    return {
        "histogram": {"edges": edges.tolist(), "benign": benign, "malignant": malignant},
        "roc": roc_points(labels, after),
        "reliability_before": reliability_bins(labels, before),
        "reliability": reliability_bins(labels, after),
    }


def _answers(margins: Array, recipe: dict[str, Any], features: Array | None = None) -> tuple[Array, Array]:
    """Probabilities before (the networks' plain mean) and after combination and calibration."""
    answer = combine(margins, recipe, features)
    return answer.uncalibrated, answer.probabilities


def _baseline(labels: NDArray[np.bool_], values: Array, groups: NDArray[np.str_], draws: int) -> dict[str, Any]:
    return {
        "auc": auc(labels, values),
        "auc_interval": bootstrap_interval(lambda i: auc(labels[i], values[i]), groups, draws=draws),
    }


def evaluate_nodules(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Figures on the labelled nodules of one split, with the diameter beside; no reader's input but the centre."""
    rows = read_rows(args.data)
    task = read_nodule_task(args.data)
    chosen = task.labelled & ((task.splits == args.split) if args.split != "all" else (task.splits != "e2e"))
    if not chosen.any():
        raise DataError(f"no labelled nodule of the split {args.split!r} in {nodule_folder(args.data)}")
    kept = [row for row, c in zip(rows, chosen, strict=True) if c]
    ensemble = Ensemble(bundle, device)
    margins = ensemble.margins([p for p, c in zip(task.patches, chosen, strict=True) if c])
    features = measured_features(args.data, kept)
    before, after = _answers(margins, bundle.recipe, features)
    labels, groups = task.labels[chosen], np.array(task.groups)[chosen]
    diameter = np.array([row.diameter_mm for row in kept])
    measured = np.nan_to_num(features[:, FEATURES.index("longest_mm")])
    figures = binary_figures(labels, before, after, groups, draws=args.draws)

    def gain_over(values: Array) -> tuple[float, float]:
        return bootstrap_interval(
            lambda i: auc(labels[i], after[i]) - auc(labels[i], values[i]), groups, draws=args.draws
        )

    _plots(args.out, labels, before, after, {"model": after, "diameter": diameter}, args.split)
    return {
        **figures,
        **coverage_figures(labels, after, bundle.recipe["conformal"], ("benign", "malignant")),
        "temperature": bundle.recipe["calibration"]["temperature"],
        "baseline_diameter_auc": auc(labels, diameter),
        "gain_over_diameter_interval": gain_over(diameter),
        "gain_over_measured_interval": gain_over(measured),
        "baselines": {
            "diameter by readers": _baseline(labels, diameter, groups, args.draws),
            "diameter measured by the software": _baseline(labels, measured, groups, args.draws),
        },
        "networks": {
            member["group"]: _baseline(labels, margins[i], groups, args.draws)
            for i, member in enumerate(bundle.recipe["members"])
        },
        "subgroups": subgroup_figures(kept, labels, after, draws=min(args.draws, 1000)),
        **curve_figures(labels, before, after),
        "single_slice": single_slice_figures(bundle, margins, labels, groups, args.draws),
    }


def single_slice_figures(
    bundle: Bundle, margins: Array, labels: NDArray[np.bool_], groups: NDArray[np.str_], draws: int
) -> dict[str, Any] | None:
    """Figures of the answer to one slice alone, where the bundle gives one."""
    if "single_slice" not in bundle.recipe:
        return None
    before, after = _answers(margins, {**bundle.recipe, **bundle.recipe["single_slice"]})
    return binary_figures(labels, before, after, groups, draws=draws)


def evaluate_filter(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Figures on one split's nodules and the blobs beside them."""
    task = read_filter_task(args.data, splits=(args.split,))
    chosen = task.labelled & (task.splits == args.split)
    if not chosen.any():
        raise DataError(f"no sample of the split {args.split!r} for the filter")
    patches = [p for p, c in zip(task.patches, chosen, strict=True) if c]
    before, after = _answers(Ensemble(bundle, device).margins(patches), bundle.recipe)
    labels, groups = task.labels[chosen], np.array(task.groups)[chosen]
    figures = binary_figures(labels, before, after, groups, draws=args.draws)
    _plots(args.out, labels, before, after, {"model": after}, args.split)
    threshold = bundle.recipe["operating_points"]["confirm"]
    return {
        **figures,
        **coverage_figures(labels, after, bundle.recipe["conformal"], ("not_nodule", "nodule")),
        "temperature": bundle.recipe["calibration"]["temperature"],
        **curve_figures(labels, before, after),
        "confirm_threshold": threshold,
        "confirm_sensitivity": float((after[labels] >= threshold).mean()),
        "confirm_false_share": float((after[~labels] >= threshold).mean()),
    }


def evaluate_slices(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Figures on one split's pictures, with the share of dark pixels and an 8x8 thumbnail beside."""
    slices = read_slices(args.data, len(bundle.recipe["classes"]))
    chosen = slices.splits == args.split if args.split != "all" else np.ones(len(slices.splits), dtype=bool)
    if not chosen.any():
        raise DataError(f"no picture of the split {args.split!r}")
    (_, network), *_ = bundle.members(device)
    logits = slice_logits(network, slices.pictures[chosen], device)
    calibration = bundle.recipe["calibration"]
    positive = slices.classes.index("malignant")
    labels = slices.labels[chosen] == positive
    before = calibrated_classes(logits, "none", {})[:, positive]
    after = calibrated_classes(logits, calibration["kind"], calibration["parameters"])[:, positive]
    groups = np.array(slices.clusters)[chosen]
    dark = -(slices.pictures[chosen] < 30).mean(axis=(1, 2))
    figures = binary_figures(labels, before, after, groups, draws=args.draws)
    _plots(args.out, labels, before, after, {"model": after, "dark pixels": dark}, args.split)
    classes = ("benign", "malignant")
    extra = coverage_figures(labels, after, bundle.recipe["conformal"], classes) if len(slices.classes) == 2 else {}
    return {
        **figures,
        **extra,
        **curve_figures(labels, before, after),
        "accuracy_all_classes": float((logits.argmax(axis=1) == slices.labels[chosen]).mean()),
        "temperature": calibration["temperature"],
        "baseline_dark_pixels_auc": max(auc(labels, dark), 1 - auc(labels, dark)),
        "baseline_thumbnail_auc": auc(labels, thumbnail_scores(slices, chosen)),
    }


def _plots(
    out: Path | None, labels: NDArray[np.bool_], before: Array, after: Array, scores: dict[str, Array], split: str
) -> None:
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    title = f"{split}, n = {len(labels)}"
    plot_reliability(out / "reliability_before.png", labels, before, f"before calibration, {title}")
    plot_reliability(out / "reliability_after.png", labels, after, f"after calibration, {title}")
    plot_histogram(out / "histogram.png", labels, after, title)
    if 0 < labels.sum() < len(labels):
        plot_roc(out / "roc.png", labels, scores, title)


EVALUATORS: dict[str, Callable[[Bundle, argparse.Namespace, torch.device], dict[str, Any]]] = {
    "nodule": evaluate_nodules,
    "filter": evaluate_filter,
    "slice": evaluate_slices,
}


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, print one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a bundle on a split.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None, help="folder for plots")
    parser.add_argument("--split", default="test", help="a value of the split column, or all")
    parser.add_argument("--bundle", type=Path, default=None, help="bundle folder; default: the shipped one of --task")
    parser.add_argument("--task", choices=sorted(EVALUATORS), default="nodule", help="which shipped bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--record", action="store_true", help="write the figures into the bundle's bundle.json")
    args = parser.parse_args(argv)
    started = time.monotonic()
    try:
        bundle = read_bundle(args.bundle or SHIPPED / args.task)
        refuse_leaks(bundle.task, args.data)
        figures = EVALUATORS[bundle.task](bundle, args, choose_device(args.device))
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.evaluate: {error}", file=sys.stderr)
        return 2
    shown = plain({"task": bundle.task, "split": args.split, **figures})
    if args.record:
        recipe = {**bundle.recipe, "metrics": shown}
        write_recipe(bundle.folder, recipe)
        write_card(bundle.folder, recipe)
    print(json.dumps({**shown, "bundle_sha256": bundle.sha256, "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
