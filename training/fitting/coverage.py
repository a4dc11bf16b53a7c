"""Coverage of displayed probabilities: deciles of the score, shares with exact limits, displayed bounds.

Everything is nested by patient: the point and the calibration cases that bound it come from a combination, a
calibrator and cases that hold none of the patient. A decile fails where the exact limits of its share of positives
and its mean bounds do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.calibration.evidence import Evidence, exact_limits
from inference.displayed import Censored, DisplayedProbability
from inference.malignancy.ensemble import combine
from training.data.splits import group_folds
from training.fitting.combination import Unseen, calibrate_combination, with_temperatures

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
DECILES = 10
OUTER_FOLDS = 10


@dataclass(frozen=True, slots=True)
class ShownCases:
    """Cases with points ``(n,)``, labels ``(n,)`` and their displayed bounds."""

    points: Array
    labels: Labels
    displayed: tuple[DisplayedProbability, ...]


def nested_cases(unseen: Unseen, groups: list[str], features: tuple[str, ...], *, seed: int) -> ShownCases:
    """Return the displayed bounds of each fold of patients, by temperatures, combination and calibrator without it."""
    fold = group_folds(unseen.groups, list(unseen.labels), folds=OUTER_FOLDS, seed=seed + 1)
    points, displayed = np.zeros(len(fold)), dict[int, DisplayedProbability]()
    for k in np.unique(fold):
        held, others = unseen.where(fold == k), with_temperatures(unseen.where(fold != k))
        recipe, _, scores = calibrate_combination(others, groups, features, seed)
        points[fold == k] = combine(held.margins, recipe | {"members": others.members}, held.features).probabilities
        evidence = Evidence.of("nested", others.question, scores, others.labels, others.groups)
        for i in np.flatnonzero(fold == k):
            displayed[int(i)] = evidence.displayed(float(points[i]))
    return ShownCases(points, unseen.labels, tuple(displayed[i] for i in range(len(fold))))


def held_out_cases(evidence: Evidence, *, seed: int) -> ShownCases:
    """Return the displayed bounds of each case of an evidence by the cases of other folds."""
    names = [str(group) for group in evidence.groups]
    fold = group_folds(names, list(evidence.labels), folds=OUTER_FOLDS, seed=seed)
    displayed = [evidence.without(fold == fold[i]).displayed(float(score)) for i, score in enumerate(evidence.scores)]
    return ShownCases(evidence.scores, evidence.labels, tuple(displayed))


def decile_table(cases: ShownCases, *, deciles: int = DECILES) -> list[dict[str, Any]]:
    """Return a row for each decile of the point: n, share with exact limits, mean point, mean bounds, failure."""
    order = np.argsort(cases.points, kind="stable")
    return [_row(cases, part) for part in np.array_split(order, min(deciles, len(order))) if len(part)]


def _row(cases: ShownCases, part: NDArray[np.int64]) -> dict[str, Any]:
    n, k = len(part), int(cases.labels[part].sum())
    low, high = exact_limits(k, n)
    displayed = [cases.displayed[i] for i in part]
    shown_low, shown_high = (float(np.mean([getattr(one, side) for one in displayed])) for side in ("low", "high"))
    return {
        "n": n,
        "positives": k,
        "share": k / n,
        "limits": [low, high],
        "mean_point": float(cases.points[part].mean()),
        "mean_shown": [shown_low, shown_high],
        "censored": int(sum(one.censored is not Censored.NONE for one in displayed)),
        "fails": shown_high < low or high < shown_low,
    }


def display_coverage(cases: ShownCases, split: str) -> dict[str, Any]:
    """Return the recipe's part ``display_coverage``: the table by decile and the number of failing rows."""
    rows = decile_table(cases)
    return {
        "split": split,
        "n": len(cases.labels),
        "failing": sum(row["fails"] for row in rows),
        "deciles": rows,
        "widest_point_gap": max(abs(row["share"] - row["mean_point"]) for row in rows),
    }
