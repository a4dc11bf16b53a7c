"""The combination finds informative columns, is judged on unseen patients, and travels as plain numbers."""

from __future__ import annotations

import numpy as np
import pytest

from inference.malignancy.ensemble import combine
from inference.metrics import auc
from training.fitting.stacking import choose_penalty, combination_of, cross_fitted, fit_stack


def columns(n: int = 300) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One telling column, one of noise; two samples a patient."""
    rng = np.random.default_rng(0)
    labels = rng.random(n) < 0.5
    telling = np.where(labels, 1.0, -1.0) + rng.normal(0, 1, n)
    return np.stack([telling, rng.normal(5, 3, n)], axis=1), labels, [f"p{i // 2}" for i in range(n)]


def test_the_telling_column_gets_the_weight() -> None:
    x, labels, groups = columns()
    penalty, tried = choose_penalty(x, labels, groups, seed=0)
    stack = fit_stack(x, labels, penalty)
    assert stack.weights[0] > 5 * abs(stack.weights[1])
    assert min(tried.values()) == tried[str(penalty)]


def test_cross_fitting_does_not_find_what_is_not_there() -> None:
    _, labels, groups = columns()
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(len(labels), 60))
    fitted = fit_stack(noise, labels, 0.3).margins(noise)
    unseen = cross_fitted(noise, labels, groups, 0.3, seed=0)
    assert auc(labels, fitted) > 0.7
    assert auc(labels, unseen) < 0.6


def test_serving_combines_as_training_did() -> None:
    x, labels, _ = columns()
    stack = fit_stack(x, labels, 1.0)
    recipe = {
        "members": [{"group": "planar"}, {"group": "volumetric"}],
        "combination": combination_of(stack, ["planar", "volumetric"], ()),
        "calibration": {"kind": "none", "parameters": {}},
    }
    answer = combine(x.T, recipe)
    assert answer.margins == pytest.approx(stack.margins(x))
    assert answer.probabilities == pytest.approx(1 / (1 + np.exp(-stack.margins(x))))
