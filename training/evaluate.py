"""``python -m training.evaluate --data DIR --split NAME --bundle DIR --out DIR``: evaluate a bundle on a split.

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
from inference.calibration.temperatures import answer_temperature
from inference.errors import BundleError
from inference.malignancy.ensemble import combine
from inference.malignancy.submodels import Variant, submodel_answers
from inference.metrics import binary_figures, plain, reliability_bins, roc_points
from training.data.features import measured_crops
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, rows_of
from training.data.splits import LeakError
from training.fitting.cards import write_card
from training.fitting.plots import plot_histogram, plot_reliability, plot_roc
from training.fitting.report_metrics import (
    auc_with_interval,
    baseline_figures,
    coverage_figures,
    disagreement_figures,
    refused_figures,
    subgroup_figures,
    submodel_metrics,
)
from training.fitting.split_predictions import Answers, answered, filter_answers, nodule_answers, slice_answers
from training.train import choose_device

Array = NDArray[np.float64]


def curve_figures(labels: NDArray[np.bool_], before: Array, after: Array) -> dict[str, Any]:
    """Return the data of plots: histogram, ROC, and reliability before and after calibration."""
    edges = np.linspace(0, 1, 21)
    benign, malignant = (np.histogram(after[labels == side], edges)[0].tolist() for side in (False, True))
    return {
        "histogram": {"edges": edges.tolist(), "benign": benign, "malignant": malignant},
        "roc": roc_points(labels, after),
        "reliability_before": reliability_bins(labels, before),
        "reliability": reliability_bins(labels, after),
    }


def task_figures(bundle: Bundle, answers: Answers, draws: int) -> dict[str, Any]:
    """Return the metrics of every task: discrimination, calibration before and after, coverage, and curves."""
    classes = tuple(bundle.recipe["classes"])
    sets = {}
    if len(classes) == 2:
        sets = coverage_figures(answers.labels, answers.after, bundle.recipe["conformal"], (classes[0], classes[1]))
    return {
        **binary_figures(answers.labels, answers.before, answers.after, answers.groups, draws=draws),
        **sets,
        **curve_figures(answers.labels, answers.before, answers.after),
        "temperature": answer_temperature(bundle.recipe),
    }


def evaluate_nodules(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return metrics on the labelled nodules of one split, with the diameter as baseline."""
    everyone = nodule_answers(bundle, measured_crops(args.data, rows_of(args.data, args.split)), device)
    if not everyone.labelled.any():
        raise DataError(f"no labelled nodule of the split {args.split!r}")
    answers, draws = everyone.where(everyone.labelled), min(args.draws, 1000)
    reader, measured = answers.columns["diameter_mm"], answers.columns["automatic_diameter_mm"]
    named = {"diameter by readers": reader, "diameter measured by the software": measured}
    baselines = baseline_figures(answers, named, draws=args.draws)
    by_readers, by_software = baselines.values()
    _plots(args.out, answers, {"model": answers.after, "diameter": reader}, args.split)
    return {
        **task_figures(bundle, answers, args.draws),
        "baseline_diameter_auc": by_readers["auc"],
        "gain_over_diameter_interval": by_readers["gain_interval"],
        "gain_over_measured_interval": by_software["gain_interval"],
        "baselines": baselines,
        "networks": {
            member["prefix"]: auc_with_interval(answers.labels, answers.margins[i], answers.groups, draws=draws)
            for i, member in enumerate(bundle.recipe["members"])
        },
        "opinions": submodel_metrics(answers, bundle, draws=draws),
        "disagreement": _disagreement(bundle, answers),
        "subgroups": [
            {"name": name if kind == "size" else f"{kind}: {name}", **part}
            for kind, parts in subgroup_figures(answers, draws=draws).items()
            for name, part in parts.items()
        ],
        "single_slice": single_slice_figures(bundle, answers, args.draws),
    }


def _disagreement(bundle: Bundle, answers: Answers) -> dict[str, Any] | None:
    by_variant = submodel_answers(answers.margins, bundle.recipe, answers.features)
    if not by_variant:
        return None
    planar, volumetric = (by_variant[name].probabilities for name in (Variant.PLANAR, Variant.VOLUMETRIC))
    above = bundle.recipe["gate"]["opinions_apart"]
    return disagreement_figures(answers.labels, answers.after, planar, volumetric, above)


def single_slice_figures(bundle: Bundle, answers: Answers, draws: int) -> dict[str, Any] | None:
    """Return metrics of the single-slice answer, if the bundle has one."""
    if "single_slice" not in bundle.recipe:
        return None
    answer = combine(answers.margins, {**bundle.recipe, **bundle.recipe["single_slice"]})
    return binary_figures(answers.labels, answer.uncalibrated, answer.probabilities, answers.groups, draws=draws)


def evaluate_filter(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return metrics on one split's nodules and distractor blobs."""
    everyone = filter_answers(bundle, args.data, args.split, device)
    if not everyone.labelled.any():
        raise DataError(f"no sample of the split {args.split!r} for the filter")
    answers = everyone.where(everyone.labelled)
    _plots(args.out, answers, {"model": answers.after}, args.split)
    threshold = bundle.recipe["operating_points"]["confirm"]
    confirmed = answers.after >= threshold
    return {
        **task_figures(bundle, answers, args.draws),
        "confirm_threshold": threshold,
        "confirm_sensitivity": float(confirmed[answers.labels].mean()),
        "confirm_false_share": float(confirmed[~answers.labels].mean()),
    }


def evaluate_slices(bundle: Bundle, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return metrics on the answered images of one split, and refusals by class."""
    everyone = slice_answers(bundle, args.data, args.split, device)
    answers = answered(everyone)
    dark, thumbnail = answers.columns["dark_pixels"], answers.columns["thumbnail"]
    baselines = baseline_figures(answers, {"dark": dark, "thumbnail": thumbnail}, draws=args.draws)
    _plots(args.out, answers, {"model": answers.after, "dark pixels": -dark}, args.split)
    return {
        **task_figures(bundle, answers, args.draws),
        "n_pictures": len(everyone.labels),
        "n_refused": len(everyone.labels) - len(answers.labels),
        "refused": refused_figures(everyone, tuple(bundle.recipe["classes"])[:2]),
        "accuracy_all_classes": float(answers.columns["is_right"].mean()),
        "baseline_dark_pixels_auc": baselines["dark"]["auc"],
        "baseline_thumbnail_auc": baselines["thumbnail"]["auc"],
    }


def _plots(out: Path | None, answers: Answers, scores: dict[str, Array], split: str) -> None:
    if out is None:
        return
    labels, before, after = answers.labels, answers.before, answers.after
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
    """Run the command; prints one JSON object last."""
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
