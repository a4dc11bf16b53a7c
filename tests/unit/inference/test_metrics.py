"""Figures agree with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.metrics import (
    auc,
    bootstrap_interval,
    brier_score,
    calibration_floor,
    confusion_figures,
    wilson_interval,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40))
def test_auc_is_the_share_of_ordered_pairs(samples: list[tuple[bool, int]]) -> None:
    labels = np.array([y for y, _ in samples])
    values = np.array([float(v) for _, v in samples])
    pairs = [(p > n) + 0.5 * (p == n) for p in values[labels] for n in values[~labels]]
    if pairs:
        assert auc(labels, values) == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(auc(labels, values))


def test_figures_of_a_known_table() -> None:
    labels = np.array([True] * 4 + [False] * 6)
    predicted = np.array([True, True, True, False, True, True, False, False, False, False])
    figures = confusion_figures(labels, predicted)
    assert figures == pytest.approx(
        {"accuracy": 0.7, "sensitivity": 0.75, "specificity": 4 / 6, "precision": 0.6, "f1": 2 / 3}
    )
    assert brier_score(labels, predicted.astype(float)) == pytest.approx(0.3)


def test_a_perfectly_calibrated_model_shows_an_error_that_shrinks_with_n() -> None:
    rng = np.random.default_rng(0)
    small, large = (calibration_floor(rng.random(n), draws=100)[0] for n in (100, 5000))
    assert 0.03 < small < 0.2
    assert large < small / 3


def test_the_bootstrap_draws_whole_groups() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=20), 50)
    groups = np.repeat([f"patient{i}" for i in range(20)], 50)
    singles = np.array([str(i) for i in range(1000)])
    by_group = bootstrap_interval(lambda i: float(values[i].mean()), groups, draws=300)
    by_sample = bootstrap_interval(lambda i: float(values[i].mean()), singles, draws=300)
    assert by_group[1] - by_group[0] > 4 * (by_sample[1] - by_sample[0])


def test_the_interval_of_a_share_is_that_of_a_worked_example() -> None:
    assert wilson_interval(4, 10) == pytest.approx((0.1682, 0.6873), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
