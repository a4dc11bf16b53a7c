"""Whether what models say still comes true, by cases whose truth became known in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.drift import TooFew
from inference.metrics import (
    bootstrap_interval,
    brier_score,
    probability_calibration_error,
    reliability_bins,
    simulated_errors,
)

Array = NDArray[np.float64]

MIN_CASES = 30
"""Fewer cases tell nothing: a perfectly calibrated model would show an error of more than 0.1."""
DRAWS, SIMULATIONS = 500, 1999


@dataclass(frozen=True, slots=True)
class Calibration:
    """Error of calibration with its 95 % interval (bootstrap of patients), and what a perfect model would show."""

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
    """Measure the calibration of probabilities ``(n,)`` against what was true, by patient."""
    n = len(labels)
    if n < MIN_CASES:
        return TooFew("cases", n, MIN_CASES)
    ece = probability_calibration_error(labels, probabilities)
    simulated = simulated_errors(probability_calibration_error, probabilities, draws=SIMULATIONS)
    low, high = np.percentile(simulated, (2.5, 97.5))
    return Calibration(
        n=n,
        positives=int(labels.sum()),
        patients=len(np.unique(patients)),
        ece=ece,
        ece_interval=bootstrap_interval(
            lambda i: probability_calibration_error(labels[i], probabilities[i]), patients, draws=DRAWS
        ),
        ece_floor=float(simulated.mean()),
        ece_floor_interval=(float(low), float(high)),
        p=(1 + int(np.sum(simulated >= ece - 1e-12))) / (1 + SIMULATIONS),
        brier=brier_score(labels, probabilities),
        brier_interval=bootstrap_interval(lambda i: brier_score(labels[i], probabilities[i]), patients, draws=DRAWS),
        reliability=reliability_bins(labels, probabilities),
    )
