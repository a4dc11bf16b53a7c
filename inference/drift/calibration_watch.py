"""Calibration in use, by cases with a later reference standard.

The error is that of the reliability diagram: the mean gap between what was said and what came true, over bins of the
probability, weighted by cases. Unlike that of the confidence (Guo et al. 2017, eq. 3) it sees, too, a model that is
too sure of one class and as unsure of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.drift.series_drift import TooFew
from inference.metrics import brier_score, reliability_bins

Array = NDArray[np.float64]

MIN_CASES = 30
"""Minimum number of cases; with fewer, a perfectly calibrated model shows an error above 0.1."""
BINS, DRAWS, SIMULATIONS = 10, 500, 1999
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration error with 95 % interval (bootstrap by patient), and the error of a perfect model."""

    n: int
    positives: int
    patients: int
    ece: float
    ece_interval: tuple[float, float]
    ece_floor: float
    ece_floor_interval: tuple[float, float]
    p: float
    """Share of perfectly calibrated models with these probabilities that show so large an error."""
    brier: float
    brier_interval: tuple[float, float]
    reliability: dict[str, list[float]]


def watch_calibration(
    probabilities: Array, labels: NDArray[np.bool_], patients: NDArray[np.str_]
) -> Calibration | TooFew:
    """Measure the calibration of probabilities ``(n,)`` against labels, by patient."""
    n = len(labels)
    if n < MIN_CASES:
        return TooFew("cases", n, MIN_CASES)
    rng = np.random.default_rng(0)
    bins = _bins(probabilities)
    ece = float(np.abs((labels - probabilities) @ bins).sum() / n)
    perfect = _of_perfect_models(probabilities, bins, rng)
    names, of_patient = np.unique(patients, return_inverse=True)
    ece_drawn, brier_drawn = _drawn(probabilities, labels, of_patient, rng)
    return Calibration(
        n=n,
        positives=int(labels.sum()),
        patients=len(names),
        ece=ece,
        ece_interval=_middle(ece_drawn),
        ece_floor=float(perfect.mean()),
        ece_floor_interval=_middle(perfect),
        p=(1 + int(np.sum(perfect >= ece - 1e-12))) / (1 + SIMULATIONS),
        brier=brier_score(labels, probabilities),
        brier_interval=_middle(brier_drawn),
        reliability=reliability_bins(labels, probabilities, BINS),
    )


def _bins(probabilities: Array) -> Array:
    """Return the one-hot bins of cases, ``(n, BINS)``."""
    return np.eye(BINS)[np.minimum((probabilities * BINS).astype(int), BINS - 1)]


def _of_perfect_models(probabilities: Array, bins: Array, rng: np.random.Generator) -> Array:
    """Return the errors of simulated perfectly calibrated models, ``(SIMULATIONS,)``."""
    errors = []
    for first in range(0, SIMULATIONS, _AT_ONCE):
        labels = rng.random((min(_AT_ONCE, SIMULATIONS - first), len(probabilities))) < probabilities
        errors.append(np.abs((labels - probabilities) @ bins).sum(axis=1) / len(probabilities))
    return np.concatenate(errors)


def _drawn(
    probabilities: Array, labels: NDArray[np.bool_], of_patient: NDArray[np.intp], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return bootstrap samples of error and Brier score by patient, ``(DRAWS,)`` each."""
    count = int(of_patient.max()) + 1
    columns = np.column_stack(
        [
            (labels - probabilities)[:, None] * _bins(probabilities),
            (labels - probabilities) ** 2,
            np.ones(len(labels)),
        ]
    )
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, of_patient, columns)
    drawn = rng.multinomial(count, np.full(count, 1 / count), DRAWS) @ sums
    return np.abs(drawn[:, :BINS]).sum(axis=1) / drawn[:, -1], drawn[:, BINS] / drawn[:, -1]


def _middle(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
