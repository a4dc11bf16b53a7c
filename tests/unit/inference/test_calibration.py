"""Calibrators keep the order, lower the loss, and conformal sets cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from inference.calibration import CALIBRATORS, calibrated, conformal_thresholds, prediction_set
from training.metrics import expected_calibration_error, negative_log_likelihood

CLASSES = ("benign", "malignant")


def overconfident(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, n)
    return truth * 3, rng.random(n) < expit(truth)


@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
def test_every_calibrator_mends_overconfidence(kind: str) -> None:
    z, labels = overconfident()
    p = calibrated(z, kind, CALIBRATORS[kind](z, labels))
    raw = expit(z)
    assert negative_log_likelihood(labels, p) < negative_log_likelihood(labels, raw) - 0.1
    assert expected_calibration_error(labels, p) < 0.03 < expected_calibration_error(labels, raw)


def test_the_temperature_of_a_threefold_overconfident_model_is_three() -> None:
    z, labels = overconfident(20000)
    assert CALIBRATORS["temperature"](z, labels)["temperature"] == pytest.approx(3.0, rel=0.06)


@settings(max_examples=50, deadline=None)
@given(z=st.lists(st.floats(-30, 30), min_size=2, max_size=30), temperature=st.floats(0.05, 20))
def test_temperature_keeps_the_decision_and_the_order(z: list[float], temperature: float) -> None:
    margins = np.array(sorted(z))
    p = calibrated(margins, "temperature", {"temperature": temperature})
    assert ((p > 0.5) == (expit(margins / temperature) > 0.5)).all()
    assert (np.diff(p) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
)
def test_the_calibration_error_lies_between_zero_and_one(p: list[float], seed: int) -> None:
    labels = np.random.default_rng(seed).random(len(p)) < 0.5
    assert 0.0 <= expected_calibration_error(labels, np.array(p)) <= 1.0


def test_conformal_sets_cover_each_class_at_the_chosen_rate() -> None:
    z, labels = overconfident(4000, seed=1)
    p = expit(z / 3)
    thresholds = conformal_thresholds(p[:2000], labels[:2000], CLASSES, coverage=0.9)
    sets = [prediction_set(v, thresholds, CLASSES) for v in p[2000:]]
    for number, name in enumerate(CLASSES):
        own = [name in s for s, y in zip(sets, labels[2000:], strict=True) if y == bool(number)]
        assert 0.87 <= np.mean(own) <= 0.94


def test_a_prediction_set_is_never_empty() -> None:
    assert prediction_set(0.7, {"benign": 0.99, "malignant": 0.99}, CLASSES) == ("malignant",)
