"""Metrics of discrimination and calibration with confidence intervals.

SciPy is imported where it is called: the worker imports this module for its watch and may never get to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def auc(labels: NDArray[np.bool_], values: Array) -> float:
    """Area under the ROC curve by ranks (Hanley & McNeil 1982); NaN with a single class."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    from scipy.stats import rankdata

    ranks = rankdata(values)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def brier_score(labels: NDArray[np.bool_], probabilities: Array) -> float:
    """Mean squared difference of probability and outcome (Brier 1950), binary form."""
    return float(np.mean((probabilities - labels) ** 2))


def negative_log_likelihood(labels: NDArray[np.bool_], probabilities: Array) -> float:
    """Mean negative log-likelihood in nats, probabilities clipped to 1e-7."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels, np.log(p), np.log(1 - p))))


def expected_calibration_error(labels: NDArray[np.bool_], probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error of the predicted class' confidence, equal-width bins (Guo et al. 2017, eq. 3)."""
    predicted = probabilities >= 0.5
    confidence = np.where(predicted, probabilities, 1 - probabilities)
    correct = (predicted == labels).astype(float)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        inside = bin_of == b
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(error)


def calibration_floor(probabilities: Array, *, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """ECE that a perfectly calibrated model with these probabilities would show: mean, 2.5 and 97.5 percentile."""
    rng = np.random.default_rng(seed)
    simulated = [
        expected_calibration_error(rng.random(len(probabilities)) < probabilities, probabilities) for _ in range(draws)
    ]
    low, high = np.percentile(simulated, [2.5, 97.5])
    return float(np.mean(simulated)), float(low), float(high)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int_]], float], groups: NDArray[np.str_], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of ``statistic(indices)``, whole groups (patients, clusters) drawn with replacement."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    values = []
    for _ in range(draws):
        chosen = rng.integers(0, len(members), len(members))
        value = statistic(np.concatenate([members[i] for i in chosen]))
        if np.isfinite(value):
            values.append(value)
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the share ``k`` of ``n`` (Wilson 1927); everything from 0 to 1 where ``n`` is 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    centre, half = k + z * z / 2, z * float(np.sqrt(k * (n - k) / n + z * z / 4))
    low, high = (centre - half) / (n + z * z), (centre + half) / (n + z * z)
    return (0.0 if k == 0 else low), (1.0 if k == n else high)


def roc_points(labels: NDArray[np.bool_], values: Array) -> dict[str, list[float]]:
    """False and true positive rates from the highest threshold to the lowest, one point per distinct value."""
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    positive, negative = np.cumsum(labels[order])[last], np.cumsum(~labels[order])[last]
    return {
        "fpr": [0.0, *(negative / max((~labels).sum(), 1)).tolist()],
        "tpr": [0.0, *(positive / max(labels.sum(), 1)).tolist()],
    }


def exact_interval(count: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share, ``count`` of ``n`` (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    low = float(betaincinv(count, n - count + 1, 0.025)) if count else 0.0
    return low, float(betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0


def reliability_bins(labels: NDArray[np.bool_], probabilities: Array, bins: int = 10) -> dict[str, list[float]]:
    """Observed share of positives per bin of predicted probability, with Clopper-Pearson 95 % intervals."""
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    table: dict[str, list[float]] = {name: [] for name in ("mean", "observed", "low", "high", "n")}
    for b in range(bins):
        inside = which == b
        n, k = int(inside.sum()), int(labels[inside].sum())
        if n == 0:
            continue
        low, high = exact_interval(k, n)
        for name, value in zip(table, (float(probabilities[inside].mean()), k / n, low, high, n), strict=True):
            table[name].append(value)
    return table


def confusion_figures(labels: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracy, sensitivity, specificity, precision and F1 of a binary decision; NaN where undefined."""
    tp, tn = int((labels & predicted).sum()), int((~labels & ~predicted).sum())
    fp, fn = int((~labels & predicted).sum()), int((labels & ~predicted).sum())

    def ratio(a: int, b: int) -> float:
        return a / b if b else float("nan")

    return {
        "accuracy": ratio(tp + tn, len(labels)),
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "precision": ratio(tp, tp + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


def binary_figures(
    labels: NDArray[np.bool_], before: Array, after: Array, groups: NDArray[np.str_], *, draws: int
) -> dict[str, Any]:
    """Return all metrics of a binary task; ``before`` and ``after`` are probabilities around calibration."""
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
        "brier_interval": bootstrap_interval(lambda i: brier_score(labels[i], after[i]), groups, draws=min(draws, 500)),
        "nll_before": negative_log_likelihood(labels, before),
        "nll": negative_log_likelihood(labels, after),
    }


def plain(value: Any) -> Any:
    """Convert to JSON values: NaN to null, tuples to lists, floats to six digits."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
