"""Displayed intervals cover outcomes by decile if scores are calibrated, and fail if not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from inference.calibration.evidence import Evidence
from inference.displayed import Censored, Question
from training.fitting.combination import Unseen
from training.fitting.coverage import ShownCases, decile_table, display_coverage, held_out_cases, nested_cases

MEMBERS = [{"group": "planar"}, {"group": "volumetric"}]


def evidence_of(truth: float, n: int = 600, *, seed: int = 0) -> Evidence:
    """Scores that are right where ``truth`` is 1, and too sure of themselves below."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2.5, n)
    labels = rng.random(n) < expit(truth * z)
    return Evidence.of("test", Question.MALIGNANCY, expit(z), labels, [f"P{i // 2}" for i in range(n)])


def test_every_decile_holds_where_scores_are_right() -> None:
    table = decile_table(held_out_cases(evidence_of(1.0), seed=0))
    assert len(table) == 10
    assert sum(row["n"] for row in table) == 600
    assert not any(row["fails"] for row in table)
    points = [row["mean_point"] for row in table]
    assert points == sorted(points)
    assert all(row["mean_shown"][0] <= row["mean_shown"][1] for row in table)


def test_bounds_follow_the_truth_even_where_points_are_too_sure() -> None:
    table = decile_table(held_out_cases(evidence_of(0.3), seed=0))
    assert abs(table[-1]["share"] - table[-1]["mean_point"]) > 0.1
    assert not any(row["fails"] for row in table)


def test_a_decile_fails_where_bounds_and_share_do_not_overlap() -> None:
    good, cases = evidence_of(1.0), evidence_of(-1.0, seed=1)
    displayed = tuple(good.displayed(float(score)) for score in cases.scores)
    summary = display_coverage(ShownCases(cases.scores, cases.labels, displayed), "test")
    assert summary["deciles"][0]["fails"]
    assert summary["deciles"][-1]["fails"]
    assert summary["failing"] >= 6
    json.dumps(summary)


def test_the_ends_are_censored() -> None:
    cases = held_out_cases(evidence_of(1.0, 1200), seed=0)
    order = np.argsort(cases.points)
    assert all(cases.displayed[i].censored is Censored.LOW for i in order[:20])
    assert all(cases.displayed[i].censored is Censored.HIGH for i in order[-20:])


def test_nested_refits_show_no_patient_by_its_own_cases() -> None:
    rng = np.random.default_rng(3)
    patients, n = 150, 300
    signal = rng.normal(0, 2, n)
    labels = rng.random(n) < expit(1.5 * signal)
    margins = np.stack([signal + rng.normal(0, 1, n), signal + rng.normal(0, 1, n)])
    groups = [f"P{i % patients}" for i in range(n)]
    unseen = Unseen(margins, None, labels, groups, MEMBERS, ("benign", "malignant"))
    summary = display_coverage(nested_cases(unseen, ["planar", "volumetric"], (), seed=0), "nested")
    assert summary["n"] == n
    assert summary["failing"] == 0
    assert summary["deciles"][-1]["share"] > summary["deciles"][0]["share"] + 0.5


def test_noise_is_shown_as_noise() -> None:
    """Without an informative column, the interval of every case spans the share of all, however sure the point."""
    rng = np.random.default_rng(4)
    n = 300
    labels = rng.random(n) < 0.4
    unseen = Unseen(rng.normal(0, 4, (2, n)), None, labels, [f"P{i}" for i in range(n)], MEMBERS, ("a", "b"))
    cases = nested_cases(unseen, ["planar", "volumetric"], (), seed=0)
    held = np.mean([one.low <= 0.4 <= one.high for one in cases.displayed])
    assert held > 0.85


@pytest.mark.parametrize("n", [3, 25])
def test_few_cases_give_fewer_rows(n: int) -> None:
    assert len(decile_table(held_out_cases(evidence_of(1.0, 2 * n), seed=0))) <= 10
