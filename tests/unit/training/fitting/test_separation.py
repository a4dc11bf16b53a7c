"""From which size a model separates nodules of about the same size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from training.fitting.separation import (
    EDGES_MM,
    SizedCases,
    separating_size_mm,
    separation_of,
    size_figures,
    size_matched_auc,
)


def cases(from_mm: float, n: int = 900, *, seed: int = 0) -> SizedCases:
    """Nodules whose scores tell malignant ones apart from ``from_mm`` on, and below it follow the size alone."""
    rng = np.random.default_rng(seed)
    diameter = rng.uniform(3, 25, n)
    labels = rng.random(n) < expit((diameter - 9) / 3)
    knows = np.where(diameter >= from_mm, np.where(labels, 1.5, -1.5), 0.0)
    scores = expit((diameter - 9) / 3 + knows + rng.normal(0, 1, n))
    return SizedCases(scores, labels, np.array([f"P{i // 2}" for i in range(n)]), diameter)


def test_size_alone_is_no_separation_of_nodules_of_one_size() -> None:
    one = cases(100.0)
    assert size_matched_auc(one.diameter_mm, one.labels, one.diameter_mm) == pytest.approx(0.55, abs=0.06)
    assert size_matched_auc(one.labels.astype(float), one.labels, one.diameter_mm) == 1.0
    assert np.isnan(size_matched_auc(np.array([0.1, 0.9]), np.array([False, True]), np.array([3.0, 9.0])))


def test_the_size_is_recovered_from_nodules_of_which_it_is_known() -> None:
    assert separating_size_mm(size_figures(cases(8.0), draws=300)) == 8.0
    assert separating_size_mm(size_figures(cases(0.0), draws=300)) == EDGES_MM[0]
    assert separating_size_mm(size_figures(cases(100.0), draws=300)) is None


NO, YES = (0.55, 0.4, 0.7), (0.85, 0.75, 0.95)
"""AUC of a class with its limits: not shown to separate, and shown to."""
FEW = (0.85, 0.45, 1.0)
"""A split of so few nodules that it shows nothing by itself."""
LOW = (0.55, 0.3, 0.8)
"""The same, but against what a larger one shows."""
Class = tuple[float, float, float] | None


def rows(*classes: Class) -> list[dict[str, Any]]:
    return [
        {"from_mm": low, "to_mm": high, "n": 50, "malignant": 9, "auc": own[0] if own else 0.6,
         "auc_interval": own[1:] if own else (float("nan"), float("nan")), "separates": own[1] > 0.5 if own else None}
        for low, high, own in zip(EDGES_MM, EDGES_MM[1:], classes, strict=False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("held_out", "folds", "from_mm"),
    [
        ((None, NO, YES, None), (YES, YES, YES, YES), 8.0),
        ((YES, YES, YES, YES), (None, NO, YES, None), 8.0),
        ((None, YES, YES, None), (NO, YES, YES, YES), 6.0),
        ((None, LOW, FEW, None), (YES, YES, YES, YES), 8.0),
        ((None, FEW, FEW, None), (NO, YES, YES, YES), 6.0),
        ((YES, NO, YES, YES), (YES, YES, YES, YES), 8.0),
        ((NO, NO, NO, None), (YES, YES, YES, None), 40.0),
        ((YES, YES, YES, YES), (YES, YES, YES, YES), None),
        ((None, None, None, None), (None, NO, YES, YES), 8.0),
        ((None, None, None, None), (None, None, None, None), None),
    ],
)
def test_evidences_are_pooled_and_the_cautious_one_speaks_where_they_disagree(
    held_out: tuple[Class, ...], folds: tuple[Class, ...], from_mm: float | None
) -> None:
    separation = separation_of({"test split": rows(*held_out), "cross-validation": rows(*folds)})
    if from_mm is None:
        assert separation is None
        return
    assert separation is not None
    assert separation.from_mm == from_mm
    assert {one.split for one in separation.figures} == {"test split", "cross-validation"}
    assert all(one.to_mm <= from_mm for one in separation.figures)
    assert {one.to_mm for one in separation.of_size(3.5)} == {6.0}
