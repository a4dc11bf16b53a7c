"""Fitting of combination, calibrator and thresholds on unseen patients, with cross-fitted evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inference.calibration.calibration import (
    CALIBRATORS,
    CLASS_CALIBRATORS,
    calibrated,
    calibrated_classes,
    conformal_thresholds,
    fit_temperature,
    prediction_set,
)
from inference.calibration.evidence import Evidence
from inference.displayed import Question
from inference.malignancy.ensemble import stack_columns
from inference.metrics import negative_log_likelihood
from training.data.splits import group_folds
from training.fitting.stacking import choose_penalty, combination_of, cross_fitted, fit_stack

Array = NDArray[np.float64]


def cross_validated_nll(
    z: Array, labels: NDArray[np.bool_], groups: list[str], *, seed: int
) -> dict[str, tuple[float, float]]:
    """Return mean and standard error of each calibrator's cross-validated NLL, by group."""
    fold = group_folds(groups, list(labels), folds=10, seed=seed)
    figures: dict[str, tuple[float, float]] = {}
    for kind in ("none", *CALIBRATORS):
        losses = []
        for k in range(10):
            held = fold == k
            if not held.any() or len(set(labels[~held])) < 2:
                continue
            parameters = {} if kind == "none" else CALIBRATORS[kind](z[~held], labels[~held])
            losses.append(negative_log_likelihood(labels[held], calibrated(z[held], kind, parameters)))
        figures[kind] = (float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))
    return figures


def choose_calibrator(figures: dict[str, tuple[float, float]]) -> str:
    """Return the simplest calibrator (``figures`` are in that order) within a standard error of the best."""
    if figures["none"][0] <= min(nll for nll, _ in figures.values()):
        return "none"
    fitted = {kind: figure for kind, figure in figures.items() if kind != "none"}
    best, error = min(fitted.values())
    return next(kind for kind, figure in fitted.items() if figure[0] <= best + error)


def operating_points(p: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Return thresholds with sensitivity 0.95 and specificity 0.90 on unseen patients."""
    return {
        "sensitivity_95": float(np.quantile(p[labels], 0.05)),
        "specificity_90": float(np.quantile(p[~labels], 0.90)),
    }


@dataclass(frozen=True, slots=True)
class Unseen:
    """Out-of-fold margins with labels, features and groups of the samples."""

    margins: Array  # (members, n)
    features: Array | None  # (n, FEATURES)
    labels: NDArray[np.bool_]
    groups: list[str]
    members: list[dict[str, Any]]
    classes: tuple[str, str]
    split: str = "unseen"
    """Name of the samples in the evidence."""
    question: Question = Question.MALIGNANCY


def calibrate_combination(
    unseen: Unseen, groups: list[str], features: tuple[str, ...], seed: int
) -> tuple[dict[str, Any], Array, Array]:
    """Fit combination, calibrator, thresholds and evidence; also return cross-fitted probabilities before and after.

    Everything that is judged is cross-fitted: the combination and the calibrator of a sample have not seen its patient.
    """
    raw = {"groups": groups, "features": list(features)}
    columns = stack_columns(unseen.margins, unseen.members, raw, unseen.features)
    penalty, losses = choose_penalty(columns, unseen.labels, unseen.groups, seed=seed)
    z = cross_fitted(columns, unseen.labels, unseen.groups, penalty, seed=seed)
    figures = cross_validated_nll(z, unseen.labels, unseen.groups, seed=seed)
    kind = choose_calibrator(figures)
    parameters = CALIBRATORS[kind](z, unseen.labels) if kind != "none" else {}
    p = cross_calibrated(z, unseen.labels, unseen.groups, kind, seed=seed)
    before = expit(columns[:, : len(groups)].mean(axis=1))
    stack = fit_stack(columns, unseen.labels, penalty)
    temperature = (
        1.0
        if kind == "none"
        else float(parameters.get("temperature", fit_temperature(z, unseen.labels)["temperature"]))
    )
    recipe = {
        "combination": {"turns": 8, **combination_of(stack, groups, features), "penalty": penalty,
                        "cross_validated_nll": losses},
        "calibration": {"kind": kind, "parameters": parameters, "temperature": temperature, "n": len(z),
                        "cross_validated_nll": {name: list(pair) for name, pair in figures.items()}},
        "conformal": conformal_thresholds(p, unseen.labels, unseen.classes),
        "operating_points": operating_points(p, unseen.labels),
        "evidence": Evidence.of(unseen.split, unseen.question, p, unseen.labels, unseen.groups).to_json(),
    }  # fmt: skip
    return recipe, before, p


def cross_calibrated(z: Array, labels: NDArray[np.bool_], groups: list[str], kind: str, *, seed: int) -> Array:
    """Return cross-fitted probabilities, by calibrators fitted without the sample's patient."""
    fold = group_folds(groups, list(labels), folds=10, seed=seed)
    p = np.zeros(len(z))
    for k in range(10):
        parameters = CALIBRATORS[kind](z[fold != k], labels[fold != k]) if kind != "none" else {}
        p[fold == k] = calibrated(z[fold == k], kind, parameters)
    return p


def cross_covered(
    p: Array, labels: NDArray[np.bool_], groups: list[str], classes: tuple[str, str], *, seed: int
) -> list[tuple[str, ...]]:
    """Return cross-fitted prediction sets, by thresholds set without the sample's patient."""
    fold = group_folds(groups, list(labels), folds=10, seed=seed)
    sets: list[tuple[str, ...]] = [()] * len(p)
    for k in range(10):
        thresholds = conformal_thresholds(p[fold != k], labels[fold != k], classes)
        for i in np.flatnonzero(fold == k):
            sets[i] = prediction_set(float(p[i]), thresholds, classes)
    return sets


def cross_validated_class_nll(
    logits: Array, labels: NDArray[np.int64], groups: list[str], *, seed: int
) -> dict[str, tuple[float, float]]:
    """``cross_validated_nll`` for logits ``(n, classes)``."""
    fold = group_folds(groups, [bool(label) for label in labels], folds=10, seed=seed)
    folds = [fold == k for k in range(10) if 0 < (fold == k).sum() < len(fold)]
    figures: dict[str, tuple[float, float]] = {}
    for kind, fit in (("none", None), *CLASS_CALIBRATORS.items()):
        losses = []
        for held in folds:
            parameters = fit(logits[~held], labels[~held]) if fit else {}
            p = calibrated_classes(logits[held], kind, parameters)
            losses.append(float(-np.log(np.maximum(p[np.arange(len(p)), labels[held]], 1e-7)).mean()))
        figures[kind] = (float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))
    return figures
