"""Calibration in use: near the floor where probabilities come true, far above it where they do not."""

from __future__ import annotations

import numpy as np

from inference.drift.calibration_watch import Calibration, watch_calibration
from inference.drift.series_drift import TooFew


def test_probabilities_that_come_true_lie_at_the_floor_and_others_do_not() -> None:
    rng = np.random.default_rng(7)
    probabilities = rng.random(150)
    patients = np.array([str(i // 2) for i in range(150)])
    true = watch_calibration(probabilities, rng.random(150) < probabilities, patients)
    false = watch_calibration(probabilities, rng.random(150) < probabilities**3, patients)
    assert isinstance(true, Calibration)
    assert isinstance(false, Calibration)
    assert true.p > 0.05
    assert true.ece_floor_interval[0] <= true.ece <= true.ece_floor_interval[1]
    assert false.p < 0.001
    assert false.ece_interval[0] > true.ece_floor
    assert false.brier > true.brier
    assert (true.n, true.patients) == (150, 75)
    assert sum(true.reliability["n"]) == 150


def test_few_cases_are_reported_as_too_few() -> None:
    assert watch_calibration(np.full(29, 0.5), np.ones(29, bool), np.array(["p"] * 29)) == TooFew("cases", 29, 30)
