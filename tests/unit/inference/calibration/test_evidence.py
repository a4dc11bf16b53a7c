"""Displayed probabilities are bounded by calibration cases, and never certain."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from inference.calibration.evidence import (
    Evidence,
    Separation,
    displayed_for,
    displayed_limits,
    displayed_malignancy,
    exact_limits,
    read_evidence,
)
from inference.displayed import (
    NO_EVIDENCE,
    Censored,
    DisplayedProbability,
    NoPercentage,
    Question,
    SizeClass,
    displayed_of,
    read_displayed,
)

CERTAIN = re.compile(r"(?<![\d.])(0|100)(\.0+)? %")


def shown(k: int, n: int, question: Question = Question.MALIGNANCY) -> DisplayedProbability:
    return DisplayedProbability(*displayed_limits(k, n), n, k, question, "test")


@pytest.mark.parametrize(
    ("k", "n", "bounds", "censored"),
    [
        (32, 34, "> 82 %", Censored.HIGH),  # one-sided 95 %: 82.6; two-sided: 80.3 to 99.3
        (31, 34, "76 to 99 %", Censored.NONE),
        (34, 34, "> 91 %", Censored.HIGH),
        (2, 34, "< 18 %", Censored.LOW),
        (0, 34, "< 9 %", Censored.LOW),
        (17, 34, "32 to 68 %", Censored.NONE),
        (1, 1, "> 5 %", Censored.HIGH),
        (0, 1, "< 95 %", Censored.LOW),
        (1, 2, "1 to 99 %", Censored.NONE),
        (10**6, 10**6, "> 99 %", Censored.HIGH),
        (0, 10**6, "< 1 %", Censored.LOW),
    ],
)
def test_bounds_are_the_exact_limits_rounded_outwards(k: int, n: int, bounds: str, censored: Censored) -> None:
    one = shown(k, n)
    assert (one.bounds, one.censored) == (bounds, censored)
    assert one.text == f"{bounds} ({k} of {n} similar)"


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_share_has_no_limits(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="k of n"):
        displayed_limits(k, n)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from(Question))
def test_bounds_are_ordered_hold_the_share_and_are_never_certain(share: tuple[int, int], question: Question) -> None:
    k, n = share
    one = shown(k, n, question)
    assert 0 <= one.low <= k / n <= one.high <= 1
    for text in (one.bounds, one.text, one.sentence):
        assert not CERTAIN.search(text), text
    low, high = exact_limits(k, n)
    if one.censored is Censored.NONE:
        assert (one.low, one.high) == (low, high)
    else:  # one side is wider than the two-sided limit, the other the one-sided limit
        assert one.low == 0 or one.high == 1
        assert one.low <= low or one.high == 1


@given(st.integers(2, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_one_more_malignant_case_moves_no_bound_down(share: tuple[int, int]) -> None:
    k, n = share
    less, more = shown(k, n), shown(k + 1, n)
    assert less.low <= more.low
    assert less.high <= more.high


@given(st.integers(1, 60), st.integers(2, 12))
def test_more_cases_of_the_same_share_bound_no_wider(n: int, times: int) -> None:
    few, many = shown(n, n), shown(n * times, n * times)
    assert few.low <= many.low


@pytest.mark.parametrize("n", [7, 16, 34, 48, 200])
def test_limits_hold_the_true_share_in_nine_of_ten_at_least(n: int) -> None:
    """One side misses 2.5 %, the other 5 % where it is censored: 92.5 % at worst."""
    from scipy.stats import binom

    limits = [displayed_limits(k, n)[:2] for k in range(n + 1)]
    for share in np.linspace(0.005, 0.995, 199):
        held = sum(float(binom.pmf(k, n, share)) for k, (low, high) in enumerate(limits) if low <= share <= high)
        assert held >= 0.925 - 1e-9, share


def calibration_cases(patients: int, *, a_patient: int = 1, seed: int = 0) -> Evidence:
    """Cases whose scores are their true probabilities."""
    rng = np.random.default_rng(seed)
    scores = expit(rng.normal(0, 3, patients * a_patient))
    groups = [f"P{i // a_patient}" for i in range(len(scores))]
    return Evidence.of("test", Question.MALIGNANCY, scores, rng.random(len(scores)) < scores, groups)


def test_neighbours_are_of_as_many_patients() -> None:
    evidence = calibration_cases(100, a_patient=4)
    assert evidence.neighbour_count == math.ceil(100 ** (2 / 3)) == 22
    chosen = evidence.neighbours(0.7)
    assert len(chosen) == len(set(evidence.groups[chosen])) == 22


def test_a_patient_counts_once_however_many_nodules_it_has() -> None:
    scores = np.array([0.9] * 50 + [0.8, 0.85, 0.95])
    labels = np.array([True] * 50 + [False, False, True])
    evidence = Evidence.of("test", Question.MALIGNANCY, scores, labels, ["one"] * 50 + ["b", "c", "d"])
    one = evidence.displayed(0.9)
    assert one.n <= 4


def test_scores_that_tie_count_all() -> None:
    scores, labels = np.array([0.2] * 30 + [0.9] * 30), np.array([False] * 30 + [True] * 30)
    evidence = Evidence.of("test", Question.MALIGNANCY, scores, labels, [str(i) for i in range(60)])
    assert (evidence.displayed(0.99).k, evidence.displayed(0.99).n) == (30, 30)
    assert (evidence.displayed(0.01).k, evidence.displayed(0.01).n) == (0, 30)


def test_shown_bounds_hold_the_true_probability_of_new_nodules() -> None:
    """Known truth: scores are true probabilities; the bounds miss it no more often than they may, ends included."""
    missed = ends = count = 0
    for seed in range(20):
        evidence = calibration_cases(330, seed=seed)
        for score in np.random.default_rng(1000 + seed).permutation(evidence.scores)[:40]:
            one = evidence.displayed(float(score))
            count += 1
            ends += one.censored is not Censored.NONE
            missed += not one.low <= score <= one.high
    assert ends > 0.2 * count
    assert missed <= 0.1 * count


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(1, 60), st.integers(0, 50))
def test_whatever_the_score_the_text_is_no_certainty(score: float, patients: int, seed: int) -> None:
    one = calibration_cases(patients, seed=seed).displayed(score)
    assert 0 <= one.low <= one.high <= 1
    assert one.n >= 1
    assert not CERTAIN.search(one.text)
    assert read_displayed(json.loads(json.dumps(one.to_json())), one.question).text == one.text


def recipe(**parts: Any) -> dict[str, Any]:
    return {"evidence": calibration_cases(50).to_json(), **parts}


def test_a_recipe_keeps_its_evidence() -> None:
    evidence = calibration_cases(50)
    held = read_evidence(json.loads(json.dumps(recipe())), Question.MALIGNANCY)
    assert held is not None
    assert held.displayed(0.8) == evidence.displayed(0.8)


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"evidence": None},
        {"evidence": {"split": "test"}},
        {"evidence": {"split": "test", "scores": [], "labels": [], "groups": []}},
        {"evidence": {"split": "test", "scores": [0.5], "labels": [1, 0], "groups": [0]}},
        {"evidence": {"split": "test", "scores": [7.0], "labels": [1], "groups": [0]}},
        {"evidence": {"split": "test", "scores": ["x"], "labels": [1], "groups": [0]}},
    ],
)
def test_a_bundle_without_usable_evidence_shows_no_percentage(held: dict[str, Any]) -> None:
    one = displayed_for(held, Question.MALIGNANCY, 0.998)
    assert isinstance(one, NoPercentage)
    assert one.text == NO_EVIDENCE
    assert "%" not in one.text + one.sentence


def test_small_nodules_get_a_sentence_with_every_evidence() -> None:
    figures = (
        SizeClass(3, 6, "test split", 44, 0.39),
        SizeClass(6, 8, "test split", 22, 0.5753),
        SizeClass(3, 6, "cross-validation", 221, 0.86),
        SizeClass(6, 8, "cross-validation", 105, None),
    )
    small = recipe(separation=Separation(8.0, figures).to_json())
    one = displayed_malignancy(small, 0.998, 7.9)
    assert one.text == "No percentage below 8 mm"
    assert one.sentence == (
        "Below 8 mm the model does not separate benign from malignant nodules "
        "(two evaluations at 6 to 8 mm: AUC 0.58 in 22 nodules, test split; - in 105, cross-validation)"
    )
    assert (
        "(two evaluations at 3 to 6 mm: AUC 0.39 in 44 nodules, test split; 0.86 in 221"
        in displayed_malignancy(small, 0.1, 2.5).sentence
    )
    assert isinstance(displayed_malignancy(small, 0.998, 8.0), DisplayedProbability)
    assert read_displayed(one.to_json(), Question.MALIGNANCY) == one


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"displayed": None},
        {"displayed": {"malignancy": "99.8 %"}},
        {"displayed": {"malignancy": {"low": 0.9, "high": 0.1, "n": 3, "k": 3, "censored": "none", "split": "x"}}},
        {"displayed": {"malignancy": {"low": 0.1, "high": 0.9, "n": 3, "k": 4, "censored": "none", "split": "x"}}},
        {"displayed": {"malignancy": {"low": 0.1, "high": 0.9, "n": 3, "k": 3, "censored": "?", "split": "x"}}},
    ],
)
def test_an_older_or_odd_record_shows_no_percentage(attributes: dict[str, object]) -> None:
    one = displayed_of(attributes, Question.MALIGNANCY, 0.998)
    assert isinstance(one, NoPercentage)
    assert displayed_of(attributes, Question.MALIGNANCY, None) is None
