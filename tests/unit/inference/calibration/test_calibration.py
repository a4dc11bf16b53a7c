"""Calibrators keep the order, lower the loss, and conformal sets cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax

from inference.calibration.calibration import (
    CALIBRATORS,
    CLASS_CALIBRATORS,
    calibrated,
    calibrated_classes,
    conformal_class_thresholds,
    conformal_thresholds,
    prediction_set,
)
from inference.metrics import expected_calibration_error, negative_log_likelihood

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


margins = st.lists(st.tuples(st.floats(-12, 12).map(lambda v: round(v, 3)), st.booleans()), min_size=4, max_size=60)
"""Margins with labels that need not follow them: adverse, tied, separable, of one class."""


@settings(max_examples=40, deadline=None)
@given(samples=margins)
@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
def test_every_calibrator_keeps_the_order_and_gives_probabilities(kind: str, samples: list[tuple[float, bool]]) -> None:
    z, labels = np.array([v for v, _ in samples]), np.array([y for _, y in samples])
    p = calibrated(np.linspace(-20, 20, 401), kind, CALIBRATORS[kind](z, labels))
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= -1e-12).all()


@settings(max_examples=40, deadline=None)
@given(samples=margins)
@pytest.mark.parametrize("kind", ["temperature", "bias_corrected_temperature", "beta"])
def test_a_calibrator_whose_family_holds_the_identity_never_raises_the_loss(
    kind: str, samples: list[tuple[float, bool]]
) -> None:
    z, labels = np.array([v for v, _ in samples]), np.array([y for _, y in samples])
    p = calibrated(z, kind, CALIBRATORS[kind](z, labels))
    assert negative_log_likelihood(labels, p) <= negative_log_likelihood(labels, expit(z)) + 1e-6


@settings(max_examples=40, deadline=None)
@given(samples=margins)
def test_platt_fits_its_smoothed_targets_better_than_the_identity(samples: list[tuple[float, bool]]) -> None:
    z, labels = np.array([v for v, _ in samples]), np.array([y for _, y in samples])
    positives, negatives = int(labels.sum()), int((~labels).sum())
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(p: np.ndarray) -> float:
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return float(-np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    assert loss(calibrated(z, "platt", CALIBRATORS["platt"](z, labels))) <= loss(expit(z)) + 1e-6


def overconfident_classes(n: int = 3000, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits three times too large, the last class moreover favoured by 2."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, (n, classes))
    p = np.exp(log_softmax(truth, axis=1))
    labels = np.array([rng.choice(classes, p=row) for row in p])
    return truth * 3 + np.eye(classes)[-1] * 2, labels


@pytest.mark.parametrize("classes", [2, 3])
def test_vector_scaling_mends_a_bias_that_temperature_cannot(classes: int) -> None:
    logits, labels = overconfident_classes(classes=classes)
    rows = np.arange(len(labels))
    loss = {"none": -np.log(calibrated_classes(logits, "none", {})[rows, labels]).mean()}
    for kind, fit in CLASS_CALIBRATORS.items():
        p = calibrated_classes(logits, kind, fit(logits, labels))
        assert p.sum(axis=1) == pytest.approx(1.0)
        loss[kind] = -np.log(p[rows, labels]).mean()
    assert loss["vector"] < loss["temperature"] - 0.02 < loss["none"] - 0.1


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(*[st.floats(-15, 15)] * 3, st.integers(0, 2)), min_size=3, max_size=40))
def test_calibrators_of_classes_never_raise_the_loss_and_temperature_keeps_the_class(
    rows: list[tuple[float, float, float, int]],
) -> None:
    logits, labels = np.array([row[:3] for row in rows]), np.array([row[3] for row in rows])
    chosen = np.arange(len(rows)), labels
    before = -log_softmax(logits, axis=1)[chosen].mean()
    for kind, fit in CLASS_CALIBRATORS.items():
        p = calibrated_classes(logits, kind, fit(logits, labels))
        assert -np.log(np.maximum(p[chosen], 1e-300)).mean() <= before + 1e-6
        if kind == "temperature":
            assert (p.max(axis=1) == p[np.arange(len(p)), logits.argmax(axis=1)]).all()


def test_an_unknown_calibrator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown calibrator"):
        calibrated(np.zeros(1), "vector", {})
    with pytest.raises(ValueError, match="unknown calibrator"):
        calibrated_classes(np.zeros((1, 2)), "platt", {})


@pytest.mark.parametrize(("classes", "n"), [(2, 5), (2, 187), (3, 200)])
def test_conformal_sets_are_those_of_crepes(classes: int, n: int) -> None:
    """By class, unsmoothed; crepes counts p = 0.1 in and we do not, so no n + 1 of a class may be a multiple of 10."""
    from crepes import ConformalClassifier

    rng = np.random.default_rng(n)
    names = ("normal", "benign", "malignant")[:classes]
    p = rng.dirichlet(np.ones(classes), 2 * n)
    labels = np.array([rng.choice(classes, p=row) for row in p])
    own = 1 - p[:n][np.arange(n), labels[:n]]
    thresholds = conformal_class_thresholds(p[:n], labels[:n], names)
    for number, name in enumerate(names):
        within = own[labels[:n] == number]
        assert (len(within) + 1) % 10
        theirs = ConformalClassifier().fit(within).predict_set(1 - p[n:, number], confidence=0.9, smoothing=False)
        assert ((p[n:, number] >= thresholds[name]) == theirs.astype(bool)).all()
