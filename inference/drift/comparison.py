"""Comparison of two models on the same findings: discrimination, calibration and decisions.

AUC by DeLong's method (DeLong et al. 1988, by midranks as Sun & Xu 2014), where the findings of one patient count as
one cluster (Obuchowski 1997; with one finding each the two are the same). Decisions by McNemar's exact test. Brier
score and calibration error with a bootstrap of patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, rankdata

from inference.metrics import auc, bootstrap_interval, brier_score, expected_calibration_error

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Bounds = tuple[float, float]

LEAST = 10
"""Minimum number of patients per class; with fewer, intervals of clusters are too narrow."""
MARGIN = 0.02
"""An AUC lower by more than this counts as worse, significant or not."""
DECISION = 0.5
"""Decision threshold for malignant."""
DRAWS = 500


class Conclusion(StrEnum):
    """Conclusion about the second model."""

    TOO_FEW = "too_few"
    WORSE = "worse"
    NOT_WORSE = "not_worse"
    BETTER = "better"


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of both models and their difference (second minus first), with 95 % intervals."""

    first: float
    first_interval: Bounds
    second: float
    second_interval: Bounds
    difference: float
    difference_interval: Bounds
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """Discordant decisions at ``DECISION``, with the p-value of McNemar's exact test."""

    only_first_right: int
    only_second_right: int
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of a comparison; metrics are None with too few findings."""

    conclusion: Conclusion
    reason: str
    n: int
    positives: int
    patients: int
    auc: Figure | None = None
    decisions: Decisions | None = None
    brier: Figure | None = None
    calibration_error: Figure | None = None


def compare_models(labels: Labels, first: Array, second: Array, patients: NDArray[np.str_]) -> Comparison:
    """Compare the probabilities of two models on the same findings.

    Parameters
    ----------
    labels
        ``(n,)``: which findings turned out to be what the models look for.
    first, second
        ``(n,)``, 0..1.
    patients
        ``(n,)``: patient of each finding.
    """
    counts = (len(labels), int(labels.sum()), len(np.unique(patients)))
    positive, negative = (len(np.unique(patients[chosen])) for chosen in (labels, ~labels))
    if min(positive, negative) < LEAST:
        reason = f"{positive} patients with positive and {negative} with negative findings, {LEAST} of each are needed"
        return Comparison(Conclusion.TOO_FEW, reason, *counts)
    areas, brier = delong(labels, first, second, patients), _bootstrapped(brier_score, labels, first, second, patients)
    conclusion, reason = _concluded(areas, brier)
    error = _bootstrapped(expected_calibration_error, labels, first, second, patients)
    return Comparison(conclusion, reason, *counts, areas, mcnemar(labels, first, second), brier, error)


def delong(labels: Labels, first: Array, second: Array, patients: NDArray[np.str_]) -> Figure:
    """Return the AUCs of two correlated ROC curves with intervals and two-sided p-value of the difference."""
    areas = np.array([auc(labels, first), auc(labels, second)])
    influence = np.stack([_influence(labels, first, areas[0]), _influence(labels, second, areas[1])])  # (2, n)
    _, cluster = np.unique(patients, return_inverse=True)
    summed = np.stack([np.bincount(cluster, weights=own) for own in influence])  # (2, patients)
    covariance = summed @ summed.T
    errors = np.sqrt(np.diag(covariance))
    difference = float(areas[1] - areas[0])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else 1.0
    intervals = (_wald(areas[0], errors[0], 0.0), _wald(areas[1], errors[1], 0.0), _wald(difference, error, -1.0))
    return _figure(float(areas[0]), float(areas[1]), intervals, p)


def mcnemar(labels: Labels, first: Array, second: Array) -> Decisions:
    """Compare the decisions of two models on the same findings (McNemar 1947, exact binomial)."""
    right = (first >= DECISION) == labels
    also = (second >= DECISION) == labels
    only_first, only_second = int((right & ~also).sum()), int((~right & also).sum())
    apart = only_first + only_second
    return Decisions(only_first, only_second, float(binomtest(only_first, apart).pvalue) if apart else 1.0)


def _influence(labels: Labels, values: Array, area: float) -> Array:
    """Return the contribution of each finding to the AUC; squares sum up to DeLong's variance."""
    m, n = int(labels.sum()), int((~labels).sum())
    of_all, moved = rankdata(values), np.empty(len(values))
    moved[labels] = ((of_all[labels] - rankdata(values[labels])) / n - area) / np.sqrt(m * (m - 1))
    moved[~labels] = (1 - (of_all[~labels] - rankdata(values[~labels])) / m - area) / np.sqrt(n * (n - 1))
    return moved


def _bootstrapped(
    figure: Callable[[Labels, Array], float], labels: Labels, first: Array, second: Array, patients: NDArray[np.str_]
) -> Figure:
    statistics: tuple[Callable[[NDArray[np.int_]], float], ...] = (
        lambda i: figure(labels[i], first[i]),
        lambda i: figure(labels[i], second[i]),
        lambda i: figure(labels[i], second[i]) - figure(labels[i], first[i]),
    )
    first_interval, second_interval, difference_interval = (
        bootstrap_interval(statistic, patients, draws=DRAWS) for statistic in statistics
    )
    return _figure(
        figure(labels, first), figure(labels, second), (first_interval, second_interval, difference_interval)
    )


def _figure(first: float, second: float, intervals: tuple[Bounds, Bounds, Bounds], p: float | None = None) -> Figure:
    """Return a metric of both models; intervals of the first, the second and their difference."""
    return Figure(first, intervals[0], second, intervals[1], second - first, intervals[2], p)


def _concluded(areas: Figure, brier: Figure) -> tuple[Conclusion, str]:
    low, high = areas.difference_interval
    if areas.difference < -MARGIN:
        return Conclusion.WORSE, f"its AUC is lower by {-areas.difference:.3f}, more than {MARGIN}"
    if high < 0:
        return Conclusion.WORSE, "its AUC is lower, which is hardly chance"
    if brier.difference_interval[0] > 0:
        return Conclusion.WORSE, "its Brier score is higher, which is hardly chance"
    if low > 0:
        return Conclusion.BETTER, "its AUC is higher, which is hardly chance"
    return Conclusion.NOT_WORSE, "nothing says that it is worse"


def _wald(value: float, error: float, least: float) -> Bounds:
    half = float(norm.ppf(0.975)) * float(error)
    return max(least, float(value) - half), min(1.0, float(value) + half)
