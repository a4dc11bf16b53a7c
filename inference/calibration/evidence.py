"""Calibration cases of a bundle, and the bounds of a new score by similar cases.

A case counts once a patient: of each patient the case nearest in score, so that the cases are independent and the
binomial limits exact. The ``k`` nearest patients bound a score; ``k`` is the number of patients to the power 2/3,
rounded up, so that with more patients both more cases count and these lie nearer (Stone 1977, Ann Stat 5:595-620).
Nearness is that of the log odds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, logit

from inference.displayed import Censored, Displayed, DisplayedProbability, NoPercentage, Question, SizeClass

Array = NDArray[np.float64]
CONFIDENCE: Final = 0.95
NEIGHBOUR_EXPONENT: Final = 2 / 3
SHOWN_DIGITS: Final = 2
"""Decimals of a displayed share (per cent)."""
EDGE: Final = 1e-9
"""Distance from 0 and 1 to which shares are clipped before comparing log odds."""


def exact_limits(k: int, n: int) -> tuple[float, float]:
    """Two-sided 95 % limits of a share (Clopper & Pearson 1934, Biometrika 26:404-413); (0, 1) where ``n`` is 0."""
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def displayed_limits(k: int, n: int) -> tuple[float, float, Censored]:
    """Return the displayed limits of the share ``k`` of ``n``.

    A two-sided limit that would be displayed as 0 % or 100 % is omitted: that side is open, and the other one is the
    one-sided 95 % limit. 32 of 34 gives 80.3 to 99.3 % on both sides, and so "> 82 %" on one.

    Raises
    ------
    ValueError
        ``n`` is not positive, or ``k`` not within 0..n.
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError("a share is k of n, with 0 <= k <= n and n > 0")
    low, high = exact_limits(k, n)
    unit = 10**SHOWN_DIGITS
    if 2 * k >= n and math.ceil(high * unit) >= unit:
        return float(betaincinv(k, n - k + 1, 1 - CONFIDENCE)), 1.0, Censored.HIGH
    if 2 * k <= n and math.floor(low * unit) <= 0:
        return 0.0, float(betaincinv(k + 1, n - k, CONFIDENCE)), Censored.LOW
    return low, high, Censored.NONE


@dataclass(frozen=True, slots=True)
class Evidence:
    """Calibration cases that neither networks nor combination nor calibrator were fitted on.

    Parameters
    ----------
    split
        Name of the cases, say ``test``.
    scores
        Calibrated probability of each, ``(cases,)``, 0..1, not clipped.
    labels
        Whether the statement of ``question`` was true, ``(cases,)``.
    groups
        Number of the patient (cluster of images) of each, ``(cases,)``; numbers mean nothing else.
    """

    split: str
    question: Question
    scores: Array
    labels: NDArray[np.bool_]
    groups: NDArray[np.int64]

    @classmethod
    def of(
        cls, split: str, question: Question, scores: Array, labels: NDArray[np.bool_], groups: Sequence[str]
    ) -> Evidence:
        """Number the groups and sort the cases by score, so that no table order remains."""
        order = np.argsort(scores, kind="stable")
        numbers: dict[str, int] = {}
        numbered = [numbers.setdefault(str(groups[i]), len(numbers)) for i in order]
        return cls(split, question, scores[order], labels[order], np.array(numbered, dtype=np.int64))

    @property
    def group_count(self) -> int:
        """Number of patients."""
        return len(np.unique(self.groups))

    @property
    def neighbour_count(self) -> int:
        """Number of patients whose cases bound a score."""
        return min(self.group_count, math.ceil(self.group_count**NEIGHBOUR_EXPONENT))

    def neighbours(self, score: float) -> NDArray[np.int64]:
        """Return the indices of the cases nearest to a score, one per patient, ties included."""
        distance = np.abs(_log_odds(self.scores) - _log_odds(np.array([score])))
        order = np.argsort(distance, kind="stable")
        _, first = np.unique(self.groups[order], return_index=True)
        nearest = order[np.sort(first)]
        limit = distance[nearest[self.neighbour_count - 1]]
        return nearest[distance[nearest] <= limit]

    def displayed(self, score: float) -> DisplayedProbability:
        """Return the displayed probability of a score, 0..1."""
        chosen = self.neighbours(score)
        n, k = len(chosen), int(self.labels[chosen].sum())
        low, high, censored = displayed_limits(k, n)
        return DisplayedProbability(low, high, censored, n, k, self.question, self.split)

    def without(self, group: NDArray[np.bool_]) -> Evidence:
        """Return the cases outside the mask ``group``, ``(cases,)``."""
        rest = ~group
        return Evidence(self.split, self.question, self.scores[rest], self.labels[rest], self.groups[rest])

    def to_json(self) -> dict[str, Any]:
        """Return the recipe's part ``evidence``."""
        return {
            "split": self.split,
            "question": self.question.value,
            "scores": [float(f"{score:.6g}") for score in self.scores],
            "labels": [int(label) for label in self.labels],
            "groups": [int(group) for group in self.groups],
        }


def read_evidence(recipe: dict[str, Any], question: Question) -> Evidence | None:
    """Return the evidence of a recipe; None if it is missing or unusable."""
    held = recipe.get("evidence")
    if not isinstance(held, dict):
        return None
    try:
        scores, labels, groups = (np.asarray(held[name], dtype=np.float64) for name in ("scores", "labels", "groups"))
        split, question = str(held["split"]), Question(held.get("question", question))
    except (KeyError, TypeError, ValueError):
        return None
    if not len(scores) == len(labels) == len(groups) > 0 or not ((scores >= 0) & (scores <= 1)).all():
        return None
    return Evidence(split, question, scores, labels > 0, groups.astype(np.int64))


def displayed_for(recipe: dict[str, Any], question: Question, score: float) -> Displayed:
    """Return the displayed form of a score by the evidence of a recipe."""
    evidence = read_evidence(recipe, question)
    return NoPercentage(question) if evidence is None else evidence.displayed(score)


def _log_odds(shares: Array) -> Array:
    return np.asarray(logit(np.clip(shares, EDGE, 1 - EDGE)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Separation:
    """Smallest size from which a nodule model separates the classes among nodules of similar size.

    ``figures`` say how it ranks smaller ones, by size class and split.
    """

    from_mm: float
    figures: tuple[SizeClass, ...]

    def of_size(self, diameter_mm: float) -> tuple[SizeClass, ...]:
        """Return the figures of a nodule's size class; the smallest class includes smaller ones."""
        to_mm = min((figure.to_mm for figure in self.figures if diameter_mm < figure.to_mm), default=None)
        return tuple(figure for figure in self.figures if figure.to_mm == to_mm)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe's part ``separation``."""
        return {
            "from_mm": self.from_mm,
            "figures": [figure.to_json() for figure in self.figures],
        }


def read_separation(recipe: dict[str, Any]) -> Separation | None:
    """Return the separation of a recipe; None without one."""
    held = recipe.get("separation")
    if not isinstance(held, dict):
        return None
    return Separation(float(held["from_mm"]), tuple(SizeClass.read(entry) for entry in held.get("figures", ())))


def displayed_malignancy(recipe: dict[str, Any], score: float, diameter_mm: float) -> Displayed:
    """Return the displayed malignancy; no percentage at sizes where the model does not separate the classes."""
    separation = read_separation(recipe)
    if separation is not None and diameter_mm < separation.from_mm:
        return NoPercentage(Question.MALIGNANCY, separation.from_mm, separation.of_size(diameter_mm))
    return displayed_for(recipe, Question.MALIGNANCY, score)
