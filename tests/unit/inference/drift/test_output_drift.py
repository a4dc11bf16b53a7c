"""Drift of answers is reported where they changed, seldom where they did not, and never from too few."""

from __future__ import annotations

import numpy as np
import pytest

from inference.drift.output_drift import Answer, Counts, compare_answers, compare_shares
from inference.drift.series_drift import Stability, TooFew


def answers(
    rng: np.random.Generator, n: int, *, more: float = 0.0, findings: float = 2.0, unanswered: float = 0.05
) -> list[Answer]:
    """Answers to series of one scanner; ``more`` is added to the log odds of every malignancy."""
    drawn = []
    for _ in range(n):
        if rng.random() < unanswered:
            drawn.append(Answer(is_answered=False))
            continue
        count = int(rng.poisson(findings))
        patient = rng.normal(0, 1)
        odds = rng.normal(patient - 1 + more, 1, count)
        nodule = rng.beta(8, 2, count)
        drawn.append(Answer(True, tuple(nodule.tolist()), tuple((1 / (1 + np.exp(-odds))).tolist())))
    return drawn


def test_answers_that_stay_the_same_seldom_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(bool(compare_answers(answers(rng, 40), answers(rng, 20)).drifted) for _ in range(40))
    assert alarms <= 1


def test_higher_probabilities_are_reported_as_such() -> None:
    rng = np.random.default_rng(1)
    comparison = compare_answers(answers(rng, 40), answers(rng, 20, more=3))
    assert "malignancy_probability" in comparison.drifted
    assert "nodule_probability" not in comparison.drifted
    assert isinstance(comparison.malignancy, Stability)
    assert comparison.malignancy.psi > comparison.malignancy.floor
    assert comparison.malignancy.interval[0] <= comparison.malignancy.psi <= comparison.malignancy.interval[1] * 1.5
    assert sum(comparison.malignancy.reference) == pytest.approx(1, abs=1e-3)


def test_many_more_findings_and_refusals_are_reported() -> None:
    rng = np.random.default_rng(2)
    comparison = compare_answers(answers(rng, 40), answers(rng, 20, findings=7, unanswered=0.4))
    assert {"findings", "unanswered"} <= set(comparison.drifted)
    assert isinstance(comparison.findings, Counts)
    assert comparison.findings.recent.mean > comparison.findings.reference.interval[1]


def test_too_few_findings_or_series_are_reported_as_too_few() -> None:
    few = [Answer(True, (0.9,), (0.5,))] * 5
    comparison = compare_answers(few, few)
    assert comparison.malignancy == TooFew("findings", 5, 20)
    assert comparison.findings == TooFew("series", 5, 10)
    assert comparison.drifted == ()


def test_shares_are_compared_exactly() -> None:
    assert compare_shares((1, 40), (15, 20)).p < 1e-6
    assert compare_shares((0, 0), (0, 20)).p == 1.0
    assert compare_shares((2, 40), (1, 20)).p == pytest.approx(1.0)
