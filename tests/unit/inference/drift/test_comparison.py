"""Two models on the same findings: the figures are those of the book and of the bootstrap, and too few say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.drift.comparison import LEAST, Conclusion, compare_models, delong, mcnemar
from inference.metrics import auc

Array = NDArray[np.float64]


def findings(
    patients: int, each: int, *, second_noise: float, seed: int = 0, spread: float = 0.0
) -> tuple[NDArray[np.bool_], Array, Array, NDArray[np.str_]]:
    """Findings that two models see through noise of their own; those of one patient are alike by ``spread``."""
    rng = np.random.default_rng(seed)
    n = patients * each
    of = np.repeat(np.arange(patients), each)
    labels = rng.random(n) < 0.4
    common = labels * 1.2 + rng.normal(size=n) * 0.7 + spread * rng.normal(size=patients)[of]
    first, second = (
        1 / (1 + np.exp(-2 * (common + noise * rng.normal(size=n) - 0.6))) for noise in (0.5, second_noise)
    )
    return labels, first, second, of.astype(str)


def by_the_book(labels: NDArray[np.bool_], first: Array, second: Array) -> float:
    """Variance of the difference of two areas, pair by pair as DeLong et al. write it."""
    components = []
    for values in (first, second):
        x, y = values[labels], values[~labels]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        components.append((psi.mean(axis=1), psi.mean(axis=0)))
    v10, v01 = (np.cov(np.stack([one[k] for one in components])) for k in (0, 1))
    covariance = v10 / labels.sum() + v01 / (~labels).sum()
    return float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def error_of(interval: tuple[float, float]) -> float:
    return (interval[1] - interval[0]) / (2 * 1.959964)


@pytest.mark.parametrize("decimals", [9, 1])
def test_with_one_finding_each_it_is_delong_by_the_book_ties_too(decimals: int) -> None:
    labels, first, second, patients = findings(90, 1, second_noise=1.0)
    first, second = first.round(decimals), second.round(decimals)
    figure = delong(labels, first, second, patients)
    assert error_of(figure.difference_interval) ** 2 == pytest.approx(by_the_book(labels, first, second), rel=1e-6)
    assert (figure.first, figure.second) == (auc(labels, first), auc(labels, second))


@pytest.mark.parametrize(("each", "spread"), [(1, 0.0), (4, 1.5)])
def test_the_intervals_are_as_wide_as_those_of_a_bootstrap_of_patients(each: int, spread: float) -> None:
    labels, first, second, patients = findings(240 // each, each, second_noise=1.0, spread=spread)
    figure = delong(labels, first, second, patients)
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(patients == name) for name in np.unique(patients)]
    drawn = [np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]) for _ in range(1500)]
    areas = np.array([[auc(labels[i], first[i]), auc(labels[i], second[i])] for i in drawn])
    assert error_of(figure.first_interval) == pytest.approx(areas[:, 0].std(), rel=0.12)
    assert error_of(figure.difference_interval) == pytest.approx((areas[:, 1] - areas[:, 0]).std(), rel=0.12)


def test_two_equal_models_differ_by_chance_as_often_as_stated() -> None:
    p = [delong(*findings(80, 2, second_noise=0.5, seed=seed)).p or 0.0 for seed in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_mcnemar_counts_where_only_one_is_right() -> None:
    labels = np.array([True] * 10)
    first, second = np.array([0.9] * 9 + [0.1]), np.array([0.1] * 8 + [0.9] * 2)
    comparison = mcnemar(labels, first, second)
    assert (comparison.only_first_right, comparison.only_second_right) == (8, 1)
    assert comparison.p == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(labels, first, first).p == 1.0


def test_a_model_that_sees_worse_is_found_and_so_is_one_that_sees_better() -> None:
    labels, good, bad, patients = findings(200, 2, second_noise=3.0)
    assert compare_models(labels, good, bad, patients).conclusion is Conclusion.WORSE
    assert compare_models(labels, bad, good, patients).conclusion is Conclusion.BETTER
    same = compare_models(labels, good, good, patients)
    assert same.conclusion is Conclusion.NOT_WORSE
    assert same.auc is not None
    assert (same.auc.difference, same.auc.p) == (0.0, 1.0)


def test_a_model_that_is_calibrated_worse_is_found_though_it_ranks_alike() -> None:
    labels, good, _, patients = findings(200, 2, second_noise=1.0)
    comparison = compare_models(labels, good, good**0.2, patients)
    assert comparison.conclusion is Conclusion.WORSE
    assert comparison.brier is not None
    assert comparison.calibration_error is not None
    assert comparison.brier.difference_interval[0] > 0
    assert comparison.calibration_error.second > comparison.calibration_error.first


def test_too_few_of_a_kind_say_nothing_but_how_many_there_are() -> None:
    labels = np.array([True] * (LEAST - 1) + [False] * 50)
    probabilities = np.linspace(0, 1, len(labels))
    comparison = compare_models(labels, probabilities, probabilities, np.arange(len(labels)).astype(str))
    assert (comparison.conclusion, comparison.n, comparison.positives, comparison.auc) == (
        Conclusion.TOO_FEW,
        59,
        LEAST - 1,
        None,
    )
    assert "9 patients with positive and 50 with negative findings, 10 of each" in comparison.reason


def test_many_findings_of_few_patients_say_nothing_either() -> None:
    comparison = compare_models(*findings(LEAST - 1, 20, second_noise=1.0))
    assert (comparison.conclusion, comparison.n) == (Conclusion.TOO_FEW, 180)
