"""Metrics of the report: intervals, floors and baselines, by subgroup, and against pathology."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.calibration.calibration import prediction_set
from inference.malignancy.submodels import Variant, submodel_answers
from inference.metrics import (
    auc,
    binary_figures,
    bootstrap_interval,
    brier_score,
    calibration_floor,
    exact_interval,
    expected_calibration_error,
    reliability_bins,
)
from training.data.nodules import nodule_folder, read_rows
from training.data.slices import read_slices
from training.fitting.combination import cross_covered
from training.fitting.split_predictions import DENSITIES, Answers

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
DRAWS = 1000


def coverage_figures(labels: Mask, p: Array, thresholds: dict[str, float], classes: tuple[str, str]) -> dict[str, Any]:
    """Return the coverage of prediction sets, overall and by class, and the share of single-class sets."""
    return set_figures(labels, [prediction_set(float(v), thresholds, classes) for v in p], classes)


def set_figures(labels: Mask, sets: list[tuple[str, ...]], classes: tuple[str, str]) -> dict[str, Any]:
    """Return ``coverage_figures`` of given prediction sets."""
    held = np.array([classes[int(y)] in s for y, s in zip(labels, sets, strict=True)])
    by_class = {name: float(held[labels == bool(i)].mean()) if (labels == bool(i)).any() else None
                for i, name in enumerate(classes)}  # fmt: skip
    return {
        "coverage": float(held.mean()),
        "coverage_by_class": by_class,
        "single_answers": float(np.mean([len(s) == 1 for s in sets])),
    }


def auc_with_interval(labels: Mask, values: Array, groups: NDArray[np.str_], *, draws: int = DRAWS) -> dict[str, Any]:
    """Return the AUC with its interval by group."""
    interval = bootstrap_interval(lambda i: auc(labels[i], values[i]), groups, draws=draws)
    return {"auc": auc(labels, values), "auc_interval": interval}


def gain_over(
    labels: Mask, p: Array, baseline: Array, groups: NDArray[np.str_], *, draws: int = DRAWS
) -> dict[str, Any]:
    """Return the AUC gain over a baseline, by paired bootstrap of patients."""
    interval = bootstrap_interval(lambda i: auc(labels[i], p[i]) - auc(labels[i], baseline[i]), groups, draws=draws)
    return {"gain": auc(labels, p) - auc(labels, baseline), "gain_interval": interval}


def baseline_figures(answers: Answers, baselines: dict[str, Array], *, draws: int = DRAWS) -> dict[str, dict[str, Any]]:
    """Return each baseline's AUC, and the model's gain over it; a baseline may be inverted."""
    figures = {}
    for name, values in baselines.items():
        turned = values if auc(answers.labels, values) >= 0.5 else -values
        figures[name] = {
            **auc_with_interval(answers.labels, turned, answers.groups, draws=draws),
            **gain_over(answers.labels, answers.after, turned, answers.groups, draws=draws),
        }
    return figures


def size_parts(diameter_mm: Array) -> dict[str, Mask]:
    """Return masks of the size classes of follow-up (MacMahon et al. 2017), with masses."""
    return {
        "below 6 mm": diameter_mm < 6,
        "6 to 8 mm": (diameter_mm >= 6) & (diameter_mm < 8),
        "8 to 15 mm": (diameter_mm >= 8) & (diameter_mm < 15),
        "15 mm and more": diameter_mm >= 15,
    }


def nodule_parts(columns: dict[str, Array]) -> dict[str, dict[str, Mask]]:
    """Return masks of all subgroups of nodules, by criterion."""
    slices, pixels, rating = columns["slice_mm"], columns["pixel_mm"], columns["mean_rating"]
    spread = columns["rating_spread"]
    return {
        "size": size_parts(columns["diameter_mm"]),
        "slice thickness": {
            "below 1.25 mm": slices < 1.25,
            "1.25 to 2 mm": (slices >= 1.25) & (slices < 2),
            "2 mm and more": slices >= 2,
        },
        "pixel spacing": {
            "below 0.6 mm": pixels < 0.6,
            "0.6 to 0.7 mm": (pixels >= 0.6) & (pixels < 0.7),
            "0.7 mm and more": pixels >= 0.7,
        },
        "density, automatic": {str(name): columns["density"] == i for i, name in enumerate(DENSITIES)},
        "readers' agreement": {
            "spread of ratings below 0.5": spread < 0.5,
            "0.5 to 1": (spread >= 0.5) & (spread < 1),
            "1 and more": spread >= 1,
            "mean rating <= 2 or >= 4": (rating <= 2) | (rating >= 4),
            "mean rating between": (rating > 2) & (rating < 4),
        },
    }


def part_figures(answers: Answers, *, draws: int = DRAWS) -> dict[str, Any]:
    """Return metrics of a subgroup of labelled nodules; AUC only with both classes."""
    labels, p, groups = answers.labels, answers.after, answers.groups
    reader, automatic = answers.columns["diameter_mm"], answers.columns["automatic_diameter_mm"]
    return {
        "n": len(labels),
        "positives": int(labels.sum()),
        "groups": len(np.unique(groups)),
        **auc_with_interval(labels, p, groups, draws=draws),
        "reader_diameter_auc": auc(labels, reader),
        "automatic_diameter_auc": auc(labels, automatic),
        **gain_over(labels, p, reader, groups, draws=draws),
        "brier": brier_score(labels, p),
        "mean_probability": float(p.mean()),
        "observed_share": float(labels.mean()),
    }


def figures_of_parts(answers: Answers, parts: dict[str, Mask], *, draws: int = DRAWS) -> dict[str, dict[str, Any]]:
    """Return ``part_figures`` of each non-empty part."""
    return {name: part_figures(answers.where(own), draws=draws) for name, own in parts.items() if own.any()}


def subgroup_figures(answers: Answers, *, draws: int = DRAWS) -> dict[str, dict[str, Any]]:
    """Return metrics of all subgroups of labelled nodules, by criterion."""
    parted = nodule_parts(answers.columns)
    return {kind: figures_of_parts(answers, parts, draws=draws) for kind, parts in parted.items()}


def submodel_metrics(answers: Answers, bundle: Bundle, *, draws: int = DRAWS) -> dict[str, dict[str, Any]]:
    """Return the metrics of each submodel; empty without submodels."""
    classes = (str(bundle.recipe["classes"][0]), str(bundle.recipe["classes"][1]))
    return {
        name: {
            **binary_figures(answers.labels, own.uncalibrated, own.probabilities, answers.groups, draws=draws),
            **coverage_figures(
                answers.labels, own.probabilities, bundle.recipe["opinions"][name]["conformal"], classes
            ),
        }
        for name, own in submodel_answers(answers.margins, bundle.recipe, answers.features).items()
        if name != Variant.ENSEMBLE
    }


def disagreement_figures(labels: Mask, p: Array, planar: Array, volumetric: Array, above: float) -> dict[str, Any]:
    """Return the error rates of ``p`` at 0.5 where the submodels differ by more than ``above``, and elsewhere."""
    apart = np.abs(planar - volumetric) > above

    def side(which: Mask) -> dict[str, Any]:
        if not which.any():
            return {"n": 0}
        wrong = (p[which] >= 0.5) != labels[which]
        return {
            "n": int(which.sum()),
            "wrong": float(wrong.mean()),
            "brier": brier_score(labels[which], p[which]),
            "auc": auc(labels[which], p[which]),
        }

    return {"above": above, "apart": side(apart), "together": side(~apart)}


def cross_fitted_coverage(
    labels: Mask, p: Array, groups: list[str], classes: tuple[str, str], *, seed: int
) -> dict[str, Any]:
    """Return the coverage of cross-fitted prediction sets."""
    return set_figures(labels, cross_covered(p, labels, groups, classes, seed=seed), classes)


def undecided_figures(answers: Answers) -> dict[str, Any]:
    """Return probabilities of nodules with a mean rating of 3, which have no label."""
    usable = answers.columns["ratings_ok"] > 0
    p = answers.after[usable & (answers.columns["mean_rating"] == 3.0)]
    if not len(p):
        return {"n": 0}
    return {
        "n": len(p),
        "mean_probability": float(p.mean()),
        "quartiles": [float(q) for q in np.percentile(p, [25, 50, 75])],
        "share_above_half": float((p >= 0.5).mean()),
        "rating_correlation": float(np.corrcoef(*_finite(answers.columns["mean_rating"], answers.after))[0, 1]),
    }


def _finite(a: Array, b: Array) -> tuple[Array, Array]:
    both = np.isfinite(a) & np.isfinite(b)
    return a[both], b[both]


def calibration_figures(answers: Answers) -> dict[str, Any]:
    """Return calibration errors before and after with intervals, and the floor of a perfect model."""
    figures: dict[str, Any] = {}
    for name, p in (("before", answers.before), ("after", answers.after)):
        labels = answers.labels
        mean, low, high = calibration_floor(p, draws=300)
        figures[name] = {
            "ece": expected_calibration_error(labels, p),
            "ece_interval": bootstrap_interval(
                lambda i, p=p, labels=labels: expected_calibration_error(labels[i], p[i]),  # type: ignore[misc]
                answers.groups,
                draws=300,
            ),
            "floor": mean,
            "floor_interval": (low, high),
            "brier": brier_score(labels, p),
            "bins": reliability_bins(labels, p),
        }
    return figures


def coverage_with_intervals(answers: Answers, bundle: Bundle) -> dict[str, Any]:
    """Return conformal coverage of each class with intervals by group, and the share of single-class sets."""
    classes = (str(bundle.recipe["classes"][0]), str(bundle.recipe["classes"][1]))
    thresholds = bundle.recipe["conformal"]
    figures = coverage_figures(answers.labels, answers.after, thresholds, classes)

    def interval(read: Callable[[dict[str, Any]], float | None]) -> Interval:
        def statistic(i: NDArray[np.int_]) -> float:
            value = read(coverage_figures(answers.labels[i], answers.after[i], thresholds, classes))
            return float("nan") if value is None else value

        return bootstrap_interval(statistic, answers.groups, draws=300)

    figures["coverage_interval"] = interval(lambda f: f["coverage"])
    figures["single_answers_interval"] = interval(lambda f: f["single_answers"])
    figures["coverage_by_class_interval"] = {
        name: interval(lambda f, name=name: f["coverage_by_class"][name])  # type: ignore[misc]
        for name in classes
    }
    return figures


def pathology_figures(data: Path, answers: Answers) -> dict[str, Any] | None:
    """Return metrics of each patient's highest probability against the diagnosis; None without a table."""
    path = nodule_folder(data) / "pathology.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        diagnosis = {line["patient_id"]: line["patient_diagnosis"] for line in csv.DictReader(file)}
    diagnosed = [g for g in np.unique(answers.groups) if diagnosis.get(str(g), "unknown") != "unknown"]
    if not diagnosed:
        return {"n": 0}
    malignant = np.array([diagnosis[str(g)] != "benign" for g in diagnosed])
    patients = np.array(diagnosed)

    def highest(values: Array) -> Array:
        return np.array([values[answers.groups == g].max() for g in diagnosed])

    p, diameter = highest(answers.after), highest(answers.columns["diameter_mm"])
    agree = (p >= 0.5) == malignant
    return {
        "n": len(diagnosed),
        "positives": int(malignant.sum()),
        **auc_with_interval(malignant, p, patients),
        "reader_diameter": auc_with_interval(malignant, diameter, patients),
        "agreement": float(agree.mean()),
        "agreement_interval": bootstrap_interval(lambda i: float(agree[i].mean()), patients, draws=DRAWS),
        "above_half_if_malignant": float((p[malignant] >= 0.5).mean()) if malignant.any() else None,
        "above_half_if_benign": float((p[~malignant] >= 0.5).mean()) if (~malignant).any() else None,
    }


def nodule_splits(data: Path) -> dict[str, dict[str, Any]]:
    """Return numbers of nodules and patients of each split, and of those left out."""
    rows = read_rows(data)
    table = {}
    for split in dict.fromkeys(row.split for row in rows):
        own = [row for row in rows if row.split == split]
        labelled = [row for row in own if row.is_labelled]
        table[split] = {
            "nodules": len(own),
            "patients": len({row.patient_id for row in own}),
            "labelled": len(labelled),
            "malignant": sum(row.is_malignant for row in labelled),
            "mean_rating_3": sum(row.ratings_ok and row.mean_malignancy == 3.0 for row in own),
            "ratings_unusable": sum(not row.ratings_ok for row in own),
            "median_diameter_mm": float(np.median([row.diameter_mm for row in own])),
        }
    return table


def refused_figures(everyone: Answers, classes: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """Return the shares of samples refused by the gate, by class, with exact limits."""
    refused = everyone.columns["in_domain"] == 0
    parts = {"all": np.ones(len(refused), dtype=bool), classes[0]: ~everyone.labels, classes[1]: everyone.labels}
    return {
        name: {
            "n": int(part.sum()),
            "refused": int(refused[part].sum()),
            "share_interval": list(exact_interval(int(refused[part].sum()), int(part.sum()))),
        }
        for name, part in parts.items()
        if part.any()
    }


def slice_splits(data: Path, class_count: int) -> dict[str, dict[str, Any]]:
    """Return numbers of images and clusters of each split, without exact duplicates."""
    slices = read_slices(data, class_count)
    clusters = np.array(slices.clusters)
    return {
        str(split): {
            "pictures": int((slices.splits == split).sum()),
            "clusters": len(np.unique(clusters[slices.splits == split])),
            **{name: int(((slices.splits == split) & (slices.labels == i)).sum())
               for i, name in enumerate(slices.classes)},
        }
        for split in dict.fromkeys(slices.splits.tolist())
    }  # fmt: skip


def operating_figures(answers: Answers, bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Return sensitivity and specificity at each operating point, with intervals by group."""
    labels, p = answers.labels, answers.after
    figures = {}
    for name, threshold in bundle.recipe["operating_points"].items():
        called = p >= threshold

        def share(which: Mask, hit: Mask) -> dict[str, Any]:
            def statistic(i: NDArray[np.int_]) -> float:
                return float(hit[i][which[i]].mean()) if which[i].any() else float("nan")

            everyone = np.arange(len(labels))
            return {"value": statistic(everyone), "interval": bootstrap_interval(statistic, answers.groups, draws=300)}

        figures[name] = {
            "threshold": threshold,
            "sensitivity": share(labels, called),
            "specificity": share(~labels, ~called),
        }
    return figures


def samples_of(answers: Answers) -> dict[str, list[Any]]:
    """Return the data of plots as columns, with numbered groups."""
    _, group = np.unique(answers.groups, return_inverse=True)
    columns = {"before": answers.before, "after": answers.after, **answers.columns}
    return {
        "label": answers.labels.astype(int).tolist(),
        "labelled": answers.labelled.astype(int).tolist(),
        "group": group.tolist(),
        **{name: [round(float(v), 5) if np.isfinite(v) else None for v in values] for name, values in columns.items()},
    }
