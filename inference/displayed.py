"""Probabilities as every surface shows them: bounded by calibration cases, in one text.

The point estimate orders findings and measures the model. What is shown of it is a ``DisplayedProbability``, the
interval that calibration cases of a similar score bear, or ``NoPercentage`` with the reason. Both come from
``inference.calibration.evidence``; records hold them as JSON, and this module alone puts them into words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Question(StrEnum):
    """The statement that a probability is of."""

    MALIGNANCY = "malignancy"
    """Radiologists rate the nodule malignant."""
    NODULE = "nodule"
    """The finding is a nodule, and no vessel or scar."""
    SLICE = "slice"
    """The picture is labelled malignant in its data set."""
    MALIGNANCY_AT_SITE = "malignancy_at_site"
    """A site's own labels, pathology say, call the nodule malignant."""


class Censored(StrEnum):
    """The side on which the calibration cases bear no limit short of 0 % or 100 %."""

    NONE = "none"
    LOW = "low"
    HIGH = "high"


def english(text: str) -> str:
    """Mark a text for translators; records hold it in English."""
    return text


BOUNDS: Final = {
    Censored.NONE: english("{low} to {high} %"),
    Censored.LOW: english("< {high} %"),
    Censored.HIGH: english("> {low} %"),
}
TEXT: Final = english("{bounds} ({k} of {n} similar)")
SENTENCES: Final = {
    Question.MALIGNANCY: english(
        "{k} of {n} test nodules with a similar score were rated malignant by radiologists ({bounds})"
    ),
    Question.NODULE: english("{k} of {n} test structures with a similar score were nodules ({bounds})"),
    Question.SLICE: english("{k} of {n} test images with a similar score were labelled malignant ({bounds})"),
    Question.MALIGNANCY_AT_SITE: english(
        "{k} of {n} nodules of this site with a similar score were malignant by the site's labels ({bounds})"
    ),
}
NO_SEPARATION: Final = english("No percentage below {size} mm")
NO_SEPARATION_SENTENCES: Final = (
    english("Below {size} mm the model does not separate benign from malignant nodules"),
    english(
        "Below {size} mm the model does not separate benign from malignant nodules "
        "(AUC at {low} to {high} mm: {auc} in {n} nodules, {split})"
    ),
    english(
        "Below {size} mm the model does not separate benign from malignant nodules "
        "(two evaluations at {low} to {high} mm: AUC {auc} in {n} nodules, {split}; {auc2} in {n2}, {split2})"
    ),
)
"""With the figures of no evaluation, of one, and of two."""
TEST_SPLIT: Final = english("test split")
CROSS_VALIDATION: Final = english("cross-validation")
NO_EVIDENCE: Final = english("No percentage")
NO_EVIDENCE_SENTENCE: Final = english("The model that answered holds no calibration cases to bound a percentage by")


@dataclass(frozen=True, slots=True)
class DisplayedProbability:
    """Bounds of a probability, 0..1, that ``k`` of ``n`` calibration cases of a similar score bear.

    ``low`` is 0.0 where ``censored`` is ``low`` and ``high`` is 1.0 where it is ``high``; the other bound is then the
    one-sided exact limit. ``split`` names the calibration cases.
    """

    low: float
    high: float
    censored: Censored
    n: int
    k: int
    question: Question
    split: str

    @property
    def low_percent(self) -> int:
        """The lower bound in whole per cent, rounded down, at least 1."""
        return max(math.floor(100 * self.low + _SLACK), 1)

    @property
    def high_percent(self) -> int:
        """The upper bound in whole per cent, rounded up, at most 99."""
        return min(math.ceil(100 * self.high - _SLACK), 99)

    @property
    def bounds(self) -> str:
        """The bounds in whole per cent, rounded outwards: never 0 % or 100 %."""
        return BOUNDS[self.censored].format(low=self.low_percent, high=self.high_percent)

    @property
    def text(self) -> str:
        """The bounds and what they rest on, for a line of a list."""
        return TEXT.format(bounds=self.bounds, k=self.k, n=self.n)

    @property
    def sentence(self) -> str:
        """What was true of the calibration cases, and whose opinion that is."""
        return SENTENCES[self.question].format(k=self.k, n=self.n, bounds=self.bounds)

    def to_json(self) -> dict[str, Any]:
        """The record of it, texts included."""
        return {
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "censored": self.censored.value,
            "n": self.n,
            "k": self.k,
            "question": self.question.value,
            "split": self.split,
            "bounds": self.bounds,
            "text": self.text,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class SizeClass:
    """How the model ranks nodules of ``from_mm`` to ``to_mm``: AUC in ``n`` nodules of a split, None without pairs."""

    from_mm: float
    to_mm: float
    split: str
    n: int
    auc: float | None

    def to_json(self) -> dict[str, Any]:
        """The record of it."""
        return {"from_mm": self.from_mm, "to_mm": self.to_mm, "split": self.split, "n": self.n, "auc": self.auc}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> SizeClass:
        """Read what ``to_json`` wrote."""
        auc = record["auc"]
        sizes = float(record["from_mm"]), float(record["to_mm"])
        return cls(*sizes, str(record["split"]), int(record["n"]), None if auc is None else float(auc))


@dataclass(frozen=True, slots=True)
class NoPercentage:
    """No percentage is shown, although a point estimate is recorded.

    Either the model does not separate the classes below ``below_mm``, or (None) no calibration case bounds the point.
    ``figures`` are those of the nodule's size class, one a split.
    """

    question: Question
    below_mm: float | None = None
    figures: tuple[SizeClass, ...] = ()

    @property
    def bounds(self) -> str:
        """The same as ``text``."""
        return self.text

    @property
    def text(self) -> str:
        """What stands in place of the percentage."""
        return NO_EVIDENCE if self.below_mm is None else NO_SEPARATION.format(size=f"{self.below_mm:g}")

    @property
    def sentence(self) -> str:
        """Why there is no percentage."""
        if self.below_mm is None:
            return NO_EVIDENCE_SENTENCE
        figures = self.figures[:2]
        places: dict[str, object] = {"size": f"{self.below_mm:g}"}
        for number, one in enumerate(figures, start=1):
            end = "" if number == 1 else str(number)
            auc = "-" if one.auc is None else f"{one.auc:.2f}"
            places |= {"low": f"{one.from_mm:g}", "high": f"{one.to_mm:g}"}
            places |= {f"auc{end}": auc, f"n{end}": one.n, f"split{end}": one.split}
        return NO_SEPARATION_SENTENCES[len(figures)].format(**places)

    def to_json(self) -> dict[str, Any]:
        """The record of it, texts included."""
        return {
            "question": self.question.value,
            "below_mm": self.below_mm,
            "figures": [one.to_json() for one in self.figures],
            "bounds": self.bounds,
            "text": self.text,
            "sentence": self.sentence,
        }


Displayed = DisplayedProbability | NoPercentage
_SLACK = 1e-9
"""Per cent; keeps 29.000000000000004 from becoming 30."""


def displayed_of(attributes: Mapping[str, object], question: Question, point: float | None) -> Displayed | None:
    """What to show of a recorded point estimate; None where there is none.

    Parameters
    ----------
    attributes
        Attributes of a recorded finding; ``displayed`` holds a record for each question.
    point
        The recorded estimate. One without a usable record gives no percentage: its bounds are not known.
    """
    if point is None:
        return None
    records = attributes.get("displayed")
    record = records.get(question.value) if isinstance(records, Mapping) else None
    return read_displayed(record, question)


def read_displayed(record: object, question: Question) -> Displayed:
    """Read what ``to_json`` wrote; a record of another form bounds nothing."""
    if not isinstance(record, Mapping):
        return NoPercentage(question)
    try:
        if "below_mm" in record:
            below, figures = record["below_mm"], tuple(SizeClass.read(one) for one in record.get("figures", ()))
            return NoPercentage(question, None if below is None else float(below), figures)
        low, high, n, k = float(record["low"]), float(record["high"]), int(record["n"]), int(record["k"])
        if not (0 <= low <= high <= 1 and 0 <= k <= n and n > 0):
            return NoPercentage(question)
        censored, split = Censored(record["censored"]), str(record["split"])
        question = Question(record.get("question", question))
    except (KeyError, TypeError, ValueError):
        return NoPercentage(question)
    return DisplayedProbability(low, high, censored, n, k, question, split)
