"""Size from which a nodule model separates benign from malignant nodules of similar size.

Large nodules are malignant more often, so an AUC over all sizes mostly measures size. Here only pairs of a malignant
and a benign nodule whose diameters lie within ``TOLERANCE_MM`` of each other count, in each size class of the
follow-up guidelines (MacMahon et al. 2017). A class is judged where it has nodules of ``MIN_PATIENTS`` patients of
either label; it separates where the lower limit of the AUC, patients drawn anew, exceeds 0.5. Splits are pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.calibration.evidence import Separation
from inference.displayed import SizeClass
from inference.metrics import bootstrap_interval

Array = NDArray[np.float64]
TOLERANCE_MM: Final = 1.0
EDGES_MM: Final = (3.0, 6.0, 8.0, 15.0, 40.0)
MIN_PATIENTS: Final = 4
DRAWS: Final = 2000
Z_95: Final = 1.96
MIN_STANDARD_ERROR: Final = 0.02
"""Lower bound of the standard error of an AUC, for degenerate intervals of few nodules."""


@dataclass(frozen=True, slots=True)
class SizedCases:
    """Nodules with score, label, patient and the readers' diameter."""

    scores: Array
    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    diameter_mm: Array

    def where(self, chosen: NDArray[np.bool_]) -> SizedCases:
        """Return the selected nodules."""
        return SizedCases(self.scores[chosen], self.labels[chosen], self.groups[chosen], self.diameter_mm[chosen])


def size_matched_auc(scores: Array, labels: NDArray[np.bool_], diameter_mm: Array) -> float:
    """Return the share of size-matched pairs in which the malignant nodule scores higher; NaN without a pair."""
    malignant, benign = np.flatnonzero(labels), np.flatnonzero(~labels)
    near = np.abs(diameter_mm[malignant][:, None] - diameter_mm[benign][None]) <= TOLERANCE_MM
    if not near.any():
        return float("nan")
    difference = scores[malignant][:, None] - scores[benign][None]
    return float(((difference > 0) + 0.5 * (difference == 0))[near].mean())


def size_figures(cases: SizedCases, *, draws: int = DRAWS) -> list[dict[str, Any]]:
    """Return for each size class n, patients per label, size-matched AUC with limits by patient, and separation.

    ``separates`` is None where too few patients judge it.
    """
    return [_class_figures(cases, low, high, draws=draws) for low, high in pairwise(EDGES_MM)]


def _class_figures(cases: SizedCases, low: float, high: float, *, draws: int) -> dict[str, Any]:
    is_first, is_last = low == EDGES_MM[0], high == EDGES_MM[-1]
    own = cases.where(((cases.diameter_mm >= low) | is_first) & ((cases.diameter_mm < high) | is_last))
    patients = [len(set(own.groups[own.labels == label])) for label in (True, False)]
    auc = size_matched_auc(own.scores, own.labels, own.diameter_mm)
    interval = bootstrap_interval(
        lambda i: size_matched_auc(own.scores[i], own.labels[i], own.diameter_mm[i]), own.groups, draws=draws
    ) if np.isfinite(auc) else (float("nan"), float("nan"))  # fmt: skip
    is_judged = min(patients) >= MIN_PATIENTS and np.isfinite(auc)
    return {
        "from_mm": low,
        "to_mm": high,
        "n": len(own.labels),
        "malignant": int(own.labels.sum()),
        "auc": auc,
        "auc_interval": interval,
        "separates": bool(interval[0] > 0.5) if is_judged else None,
    }


def separating_size_mm(figures: list[dict[str, Any]]) -> float | None:
    """Return the lower edge of the smallest size class from which all evaluable classes separate.

    None where no class separates. A class that cannot be judged separates where both its neighbours do, never at the
    lower end: nothing shows that it does.
    """
    limit = None
    for own in reversed(figures):
        if own["separates"] is False:
            break
        if own["separates"]:
            limit = float(own["from_mm"])
    return limit


def pooled_figures(evidences: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the size classes judged by all evidences together, weighted by the inverse variance of their AUCs.

    A class separates where the lower limit of the pooled AUC exceeds 0.5, and no evidence that judges it alone lies
    below the pooled limits: where evidences disagree, the class does not separate. A single small split neither shows
    nor hides a separation that way. The variance is that of a normal distribution with the interval's width.
    """
    return [_pooled(list(rows)) for rows in zip(*evidences, strict=True)]


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [row for row in rows if row["separates"] is not None]
    pooled = {"from_mm": rows[0]["from_mm"], "to_mm": rows[0]["to_mm"], "separates": None}
    if not judged:
        return pooled
    auc = np.array([row["auc"] for row in judged])
    low, high = np.array([row["auc_interval"] for row in judged], dtype=np.float64).T
    weights = 1.0 / np.maximum((high - low) / (2 * Z_95), MIN_STANDARD_ERROR) ** 2
    lower = float(np.average(auc, weights=weights) - Z_95 / np.sqrt(weights.sum()))
    return {**pooled, "separates": bool(lower > 0.5 and (auc >= lower).all())}


def separation_of(evidences: dict[str, list[dict[str, Any]]]) -> Separation | None:
    """Return the recipe's separation, from the ``size_figures`` of each split pooled.

    None where none of them judges any size, or they separate at every size.
    """
    judged = [own for own in evidences.values() if any(row["separates"] is not None for row in own)]
    if not judged:
        return None
    size = separating_size_mm(pooled_figures(judged))
    from_mm = EDGES_MM[-1] if size is None else size
    if from_mm <= EDGES_MM[0]:
        return None
    figures = tuple(
        SizeClass(row["from_mm"], row["to_mm"], split, row["n"], row["auc"] if np.isfinite(row["auc"]) else None)
        for split, own in evidences.items()
        for row in own
        if row["to_mm"] <= from_mm
    )
    return Separation(from_mm, figures)
