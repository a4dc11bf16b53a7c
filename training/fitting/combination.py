"""Fitting of combination, calibrator and thresholds on unseen patients, with cross-fitted evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    fit_class_temperature,
    fit_temperature,
    prediction_set,
)
from inference.calibration.evidence import Evidence
from inference.calibration.temperatures import MEAN, STACKED
from inference.displayed import Question
from inference.malignancy.ensemble import group_margins, stack_columns, temperature_scaled
from inference.metrics import binary_figures, negative_log_likelihood
from training.data.splits import group_folds
from training.fitting.stacking import choose_penalty, combination_of, cross_fitted, fit_stack

Array = NDArray[np.float64]
TEMPERATURE_FIGURES = (
    "auc", "ece_before", "ece", "ece_floor", "ece_floor_interval", "brier_before", "brier", "nll_before", "nll",
)  # fmt: skip


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


def plainest(figures: dict[str, tuple[float, float]]) -> str:
    """Return the first (``figures`` run from plain to rich) within a standard error of the lowest loss."""
    best, error = min(figures.values())
    return next(name for name, (loss, _) in figures.items() if loss <= best + error)


def operating_points(p: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Return thresholds with sensitivity 0.95 and specificity 0.90 on unseen patients."""
    return {
        "sensitivity_95": float(np.quantile(p[labels], 0.05)),
        "specificity_90": float(np.quantile(p[~labels], 0.90)),
    }


@dataclass(frozen=True, slots=True)
class Candidate:
    """A combination of groups of networks: their mean, or stacked with measured features."""

    kind: str
    groups: tuple[str, ...]
    features: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the recipe's table of candidates."""
        parts = [*self.groups, *(["measures"] if self.features else [])]
        return f"{self.kind} of {', '.join(parts)}"


def candidates_of(groups: list[str], features: tuple[str, ...]) -> list[Candidate]:
    """Return the combinations to choose from, plainest first: 3D networks alone, then all, then all with measures."""
    volumetric = tuple(group for group in groups if group != "planar")
    parts = [volumetric] if volumetric and len(volumetric) < len(groups) else []
    plain = [Candidate(MEAN, own) for own in (*parts, tuple(groups))]
    stacked = [Candidate(STACKED, own, columns) for columns in ((), features) for own in (*parts, tuple(groups))]
    return [*plain, *dict.fromkeys(stacked)]


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

    def where(self, chosen: NDArray[np.bool_]) -> Unseen:
        """Return the selected samples."""
        return replace(
            self,
            margins=self.margins[:, chosen],
            features=None if self.features is None else self.features[chosen],
            labels=self.labels[chosen],
            groups=[group for group, is_chosen in zip(self.groups, chosen, strict=True) if is_chosen],
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted combination with margins ``(n,)`` that are cross-fitted by patient."""

    recipe: dict[str, Any]
    margins: Array


def with_temperatures(unseen: Unseen) -> Unseen:
    """Return the same samples with the temperature of each network, by L-BFGS on its margins of unseen patients."""
    members = [
        {**member, **fit_temperature(margins, unseen.labels)}
        for member, margins in zip(unseen.members, unseen.margins, strict=True)
    ]
    return replace(unseen, members=members)


def temperature_figures(unseen: Unseen, *, draws: int = 200) -> list[dict[str, Any]]:
    """Return for each network its temperature with an interval, and ECE, Brier score and NLL before and after.

    The interval holds 95 % of the temperatures that are fitted to patients drawn with replacement. Figures after are
    cross-fitted: a sample's temperature has not seen its patient.
    """
    names = np.array(unseen.groups)
    rows = []
    for member, margins in zip(unseen.members, unseen.margins, strict=True):
        after = cross_calibrated(margins, unseen.labels, unseen.groups, "temperature", seed=0)
        own = binary_figures(unseen.labels, expit(margins), after, names, draws=draws)
        rows.append({
            "network": member["prefix"],
            **fit_temperature(margins, unseen.labels),
            "interval": temperature_interval(fit_temperature, margins, unseen.labels, names, draws=draws),
            "n": len(unseen.labels),
            **{key: own[key] for key in TEMPERATURE_FIGURES},
        })  # fmt: skip
    return rows


def temperature_interval(
    fit: Callable[[Any, Any], dict[str, float]],
    logits: Array,
    labels: NDArray[Any],
    groups: NDArray[Any],
    *,
    draws: int,
) -> list[float]:
    """Return the range of 95 % of the temperatures that are fitted to groups drawn with replacement."""
    rows_of = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    rng = np.random.default_rng(0)
    temperatures = []
    for _ in range(draws):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        temperatures.append(fit(logits[rows], labels[rows])["temperature"])
    return [float(v) for v in np.percentile(temperatures, [2.5, 97.5])]


def mean_margins(margins: Array, labels: NDArray[np.bool_], held_out: Array) -> Array:
    """Return the mean of the margins ``(groups, held_out)`` at the temperatures that fit ``margins`` best."""
    scaled = [z / fit_temperature(own, labels)["temperature"] for own, z in zip(margins, held_out, strict=True)]
    return np.asarray(np.mean(scaled, axis=0))


def fit_combination(unseen: Unseen, candidate: Candidate, seed: int) -> Fitted:
    """Fit one combination; the margins of a sample come from a fit without its patient."""
    groups, features = list(candidate.groups), candidate.features
    if candidate.kind == MEAN:
        own = group_margins(unseen.margins, unseen.members, groups)
        fold = group_folds(unseen.groups, list(unseen.labels), folds=10, seed=seed)
        z = np.zeros(len(unseen.labels))
        for k in np.unique(fold):
            z[fold == k] = mean_margins(own[:, fold != k], unseen.labels[fold != k], own[:, fold == k])
        return Fitted({"kind": MEAN, "groups": groups, "features": []}, z)
    raw = {"groups": groups, "features": list(features)}
    columns = stack_columns(temperature_scaled(unseen.margins, unseen.members), unseen.members, raw, unseen.features)
    penalty, losses = choose_penalty(columns, unseen.labels, unseen.groups, seed=seed)
    z = cross_fitted(columns, unseen.labels, unseen.groups, penalty, seed=seed)
    stack = fit_stack(columns, unseen.labels, penalty)
    recipe = {"kind": STACKED, **combination_of(stack, groups, features), "penalty": penalty,
              "cross_validated_nll": losses}  # fmt: skip
    return Fitted(recipe, z)


def choose_combination(unseen: Unseen, candidates: list[Candidate], seed: int) -> tuple[Fitted, dict[str, Any]]:
    """Return the plainest combination within a standard error of the best, and the figures of all.

    Figures are the negative log-likelihood of the cross-fitted margins: its mean and standard error over ten folds of
    patients.
    """
    fold = group_folds(unseen.groups, list(unseen.labels), folds=10, seed=seed + 1)
    fits = {candidate.name: fit_combination(unseen, candidate, seed) for candidate in candidates}
    figures = {}
    for name, fitted in fits.items():
        p = expit(fitted.margins)
        losses = [negative_log_likelihood(unseen.labels[fold == k], p[fold == k]) for k in np.unique(fold)]
        figures[name] = (float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))
    chosen = plainest(figures)
    table = {name: list(pair) for name, pair in figures.items()}
    return fits[chosen], {"chosen": chosen, "cross_validated_nll": table}


def calibrate_combination(
    unseen: Unseen, groups: list[str], features: tuple[str, ...], seed: int
) -> tuple[dict[str, Any], Array, Array]:
    """Fit combination, calibrator, thresholds and evidence; also return cross-fitted probabilities before and after.

    Everything that is judged is cross-fitted: the combination and the calibrator of a sample have not seen its patient.
    """
    fitted, choice = choose_combination(unseen, candidates_of(groups, features), seed)
    z = fitted.margins
    figures = cross_validated_nll(z, unseen.labels, unseen.groups, seed=seed)
    kind = plainest(figures)
    parameters = CALIBRATORS[kind](z, unseen.labels) if kind != "none" else {}
    p = cross_calibrated(z, unseen.labels, unseen.groups, kind, seed=seed)
    before = expit(group_margins(unseen.margins, unseen.members, fitted.recipe["groups"]).mean(axis=0))
    recipe = {
        "combination": {"turns": 8, **fitted.recipe, "candidates": choice},
        "calibration": {"kind": kind, "parameters": parameters, "n": len(z),
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


def cross_calibrated_classes(
    logits: Array, labels: NDArray[np.int64], groups: list[str], kind: str, *, seed: int
) -> Array:
    """Return cross-fitted probabilities ``(n, classes)``: temperature, then ``kind`` on top, without the own group."""
    fold = group_folds(groups, [bool(label) for label in labels], folds=10, seed=seed)
    p = np.zeros_like(logits)
    for k in np.unique(fold):
        inner, outer = fold != k, fold == k
        temperature = fit_class_temperature(logits[inner], labels[inner])["temperature"]
        scaled = logits / temperature
        parameters = CLASS_CALIBRATORS[kind](scaled[inner], labels[inner]) if kind != "none" else {}
        p[outer] = calibrated_classes(scaled[outer], kind, parameters)
    return p


def class_temperature_figures(
    logits: Array, labels: NDArray[np.int64], groups: list[str], judged: dict[str, Any], *, draws: int = 200
) -> dict[str, Any]:
    """Return the temperature of a classifier with its interval by group, and its figures before and after."""
    return {
        "network": "planar0",
        **fit_class_temperature(logits, labels),
        "interval": temperature_interval(fit_class_temperature, logits, labels, np.array(groups), draws=draws),
        "n": len(labels),
        **{key: judged[key] for key in TEMPERATURE_FIGURES},
    }
