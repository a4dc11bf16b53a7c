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

from inference.calibration.calibration import CALIBRATORS, calibrated
from inference.calibration.evidence import Evidence, exact_limits
from inference.displayed import Censored, DisplayedProbability, Question
from inference.malignancy.ensemble import stack_columns
from training.data.splits import group_folds
from training.fitting.combination import Unseen, choose_calibrator, cross_calibrated, cross_validated_nll
from training.fitting.stacking import choose_penalty, cross_fitted, fit_stack

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
    """Return the displayed bounds of each fold of patients, by a refit without that fold."""
    raw = {"groups": groups, "features": list(features)}
    columns = stack_columns(unseen.margins, unseen.members, raw, unseen.features)
    labels, names = unseen.labels, np.array(unseen.groups)
    fold = group_folds(unseen.groups, list(labels), folds=OUTER_FOLDS, seed=seed + 1)
    points, displayed = np.zeros(len(labels)), dict[int, DisplayedProbability]()
    for k in range(OUTER_FOLDS):
        inner, outer = fold != k, fold == k
        if not outer.any():
            continue
        others = Fold(columns[inner], labels[inner], list(names[inner]), unseen.question)
        point, evidence = _refitted(others, columns[outer], seed=seed)
        points[outer] = point
        for i, score in zip(np.flatnonzero(outer), point, strict=True):
            displayed[int(i)] = evidence.displayed(float(score))
    return ShownCases(points, labels, tuple(displayed[i] for i in range(len(labels))))


@dataclass(frozen=True, slots=True)
class Fold:
    """Cases of a refit: columns of the combination, labels and patients."""

    columns: Array
    labels: Labels
    groups: list[str]
    question: Question


def _refitted(others: Fold, held_out: Array, *, seed: int) -> tuple[Array, Evidence]:
    """Return points of ``held_out`` and their evidence, from the other cases."""
    columns, labels, groups = others.columns, others.labels, others.groups
    penalty, _ = choose_penalty(columns, labels, groups, seed=seed)
    z = cross_fitted(columns, labels, groups, penalty, seed=seed)
    kind = choose_calibrator(cross_validated_nll(z, labels, groups, seed=seed))
    parameters = CALIBRATORS[kind](z, labels) if kind != "none" else {}
    scores = cross_calibrated(z, labels, groups, kind, seed=seed)
    point = calibrated(fit_stack(columns, labels, penalty).margins(held_out), kind, parameters)
    return point, Evidence.of("nested", others.question, scores, labels, groups)


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
