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
from scipy.special import expit

from inference.bundle import SHIPPED, Bundle, read_bundle, write_recipe
from inference.calibration import calibrated_classes, prediction_set
from inference.ensemble import Ensemble, combine
from inference.errors import BundleError
from training.cards import write_card
from training.leaks import refuse_leaks
from training.metrics import (
    auc,
    bootstrap_interval,
    brier_score,
    calibration_floor,
    confusion_figures,
    expected_calibration_error,
    negative_log_likelihood,
)
from training.nodules import DataError, NoduleRow, nodule_folder, read_rows
from training.plots import plot_histogram, plot_reliability, plot_roc
from training.slices import read_slices, slice_logits, thumbnail_scores
from training.splits import LeakError
from training.tasks import PatchTask, read_filter_task, read_nodule_task
from training.train import choose_device

Array = NDArray[np.float64]


def binary_figures(
    labels: NDArray[np.bool_], before: Array, after: Array, groups: NDArray[np.str_], *, draws: int
) -> dict[str, Any]:
    """All figures of one binary task; ``before`` and ``after`` are probabilities around the calibrator."""
    floor = calibration_floor(after, draws=300)
    return {
        "n": len(labels),
        "positives": int(labels.sum()),
        "groups": len(np.unique(groups)),
        "auc": auc(labels, after),
        "auc_interval": bootstrap_interval(lambda i: auc(labels[i], after[i]), groups, draws=draws),
        **confusion_figures(labels, after >= 0.5),
        "ece_before": expected_calibration_error(labels, before),
        "ece": expected_calibration_error(labels, after),
        "ece_interval": bootstrap_interval(
            lambda i: expected_calibration_error(labels[i], after[i]), groups, draws=min(draws, 500)
        ),
        "ece_floor": floor[0],
        "ece_floor_interval": floor[1:],
        "brier_before": brier_score(labels, before),
        "brier": brier_score(labels, after),
        "nll_before": negative_log_likelihood(labels, before),
        "nll": negative_log_likelihood(labels, after),
    }


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


def subgroup_figures(rows: list[NoduleRow], labels: NDArray[np.bool_], p: Array) -> dict[str, dict[str, float]]:
    """n, AUC, Brier and the diameter's AUC by size, slice spacing and agreement."""
    diameter = np.array([r.diameter_mm for r in rows])
    spacing = np.array([r.slice_mm for r in rows])
    rating = np.array([r.mean_malignancy for r in rows])
    parts = {
        "below 6 mm": diameter < 6,
        "6 to 8 mm": (diameter >= 6) & (diameter < 8),
        "8 mm and more": diameter >= 8,
        "slices below 1.5 mm": spacing < 1.5,
        "slices 1.5 mm and more": spacing >= 1.5,
        "ratings <= 2 against >= 4": (rating <= 2) | (rating >= 4),
    }
    return {
        name: {
            "n": int(inside.sum()),
            "auc": auc(labels[inside], p[inside]),
            "baseline_diameter_auc": auc(labels[inside], diameter[inside]),
            "brier": brier_score(labels[inside], p[inside]),
        }
        for name, inside in parts.items()
        if inside.any()
    }


def _margins(task: PatchTask, bundle: Bundle, chosen: NDArray[np.bool_], device: torch.device) -> Array:
    """Margins of every member for the chosen samples."""
    return Ensemble(bundle, device).margins([p for p, c in zip(task.patches, chosen, strict=True) if c])


def _answers(margins: Array, recipe: dict[str, Any]) -> tuple[Array, Array]:
    """Probabilities before (plain sigmoid of the combined margin) and after the calibrator."""
    answer = combine(margins, recipe)
    return np.asarray(expit(answer.margins)), answer.probabilities


def evaluate_nodules(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Figures on the labelled nodules of one split, with the diameter beside."""
    rows = read_rows(args.data)
    task = read_nodule_task(args.data)
    chosen = task.labelled & ((task.splits == args.split) if args.split != "all" else (task.splits != "e2e"))
    if not chosen.any():
        raise DataError(f"no labelled nodule of the split {args.split!r} in {nodule_folder(args.data)}")
    margins = _margins(task, bundle, chosen, device)
    before, after = _answers(margins, bundle.recipe)
    labels, groups = task.labels[chosen], np.array(task.groups)[chosen]
    kept = [row for row, c in zip(rows, chosen, strict=True) if c]
    diameter = np.array([row.diameter_mm for row in kept])
    figures = binary_figures(labels, before, after, groups, draws=args.draws)
    gain = bootstrap_interval(
        lambda i: auc(labels[i], after[i]) - auc(labels[i], diameter[i]), groups, draws=args.draws
    )
    _plots(args.out, labels, before, after, {"model": after, "diameter": diameter}, args.split)
    return {
        **figures,
        **coverage_figures(labels, after, bundle.recipe["conformal"], ("benign", "malignant")),
        "temperature": bundle.recipe["calibration"]["temperature"],
        "baseline_diameter_auc": auc(labels, diameter),
        "gain_over_diameter_interval": gain,
        "subgroups": subgroup_figures(kept, labels, after),
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
    before, after = _answers(_margins(task, bundle, chosen, device), bundle.recipe)
    labels, groups = task.labels[chosen], np.array(task.groups)[chosen]
    figures = binary_figures(labels, before, after, groups, draws=args.draws)
    _plots(args.out, labels, before, after, {"model": after}, args.split)
    threshold = bundle.recipe["operating_points"]["confirm"]
    return {
        **figures,
        **coverage_figures(labels, after, bundle.recipe["conformal"], ("not_nodule", "nodule")),
        "temperature": bundle.recipe["calibration"]["temperature"],
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


def plain(value: Any) -> Any:
    """JSON values: NaN becomes null, tuples become lists, floats keep six digits."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


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
