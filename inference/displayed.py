"""Displayed probabilities: texts bounded by calibration cases, the same on every surface.

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
    """The statement that a probability refers to."""

    MALIGNANCY = "malignancy"
    """Radiologists rate the nodule malignant."""
    NODULE = "nodule"
    """The finding is a nodule, and no vessel or scar."""
    SLICE = "slice"
    """The picture is labelled malignant in its data set."""
    MALIGNANCY_AT_SITE = "malignancy_at_site"
    """The nodule is malignant by a site's own labels, such as pathology."""


class Censored(StrEnum):
    """The side on which the calibration cases give no limit short of 0 % or 100 %."""

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
        "{k} of {n} calibration nodules with a similar score were rated malignant by radiologists ({bounds})"
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
"""Sentences by number of evaluations (0, 1 or 2)."""
TEST_SPLIT: Final = english("test split")
CROSS_VALIDATION: Final = english("cross-validation")
NO_EVIDENCE: Final = english("No percentage")
NO_EVIDENCE_SENTENCE: Final = english("The model that answered holds no calibration cases to bound a percentage by")


@dataclass(frozen=True, slots=True)
class DisplayedProbability:
    """Bounds of a probability, 0..1, from ``k`` of ``n`` calibration cases of a similar score.

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
        """Lower bound in per cent, rounded down, at least 1."""
        return max(math.floor(100 * self.low + _SLACK), 1)

    @property
    def high_percent(self) -> int:
        """Upper bound in per cent, rounded up, at most 99."""
        return min(math.ceil(100 * self.high - _SLACK), 99)

    @property
    def bounds(self) -> str:
        """Bounds in per cent, rounded outwards: never 0 % or 100 %."""
        return BOUNDS[self.censored].format(low=self.low_percent, high=self.high_percent)

    @property
    def text(self) -> str:
        """Bounds with number of cases, for one line of a list."""
        return TEXT.format(bounds=self.bounds, k=self.k, n=self.n)

    @property
    def sentence(self) -> str:
        """Sentence about the calibration cases and their reference standard."""
        return SENTENCES[self.question].format(k=self.k, n=self.n, bounds=self.bounds)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, texts included."""
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
    """AUC of the model for nodules of ``from_mm`` to ``to_mm``, in ``n`` nodules of a split; None without pairs."""

    from_mm: float
    to_mm: float
    split: str
    n: int
    auc: float | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"from_mm": self.from_mm, "to_mm": self.to_mm, "split": self.split, "n": self.n, "auc": self.auc}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> SizeClass:
        """Parse the output of ``to_json``."""
        auc = record["auc"]
        sizes = float(record["from_mm"]), float(record["to_mm"])
        return cls(*sizes, str(record["split"]), int(record["n"]), None if auc is None else float(auc))


@dataclass(frozen=True, slots=True)
class NoPercentage:
    """A probability without a displayed percentage.

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
        """Text in place of the percentage."""
        return NO_EVIDENCE if self.below_mm is None else NO_SEPARATION.format(size=f"{self.below_mm:g}")

    @property
    def sentence(self) -> str:
        """Reason for the missing percentage."""
        if self.below_mm is None:
            return NO_EVIDENCE_SENTENCE
        figures = self.figures[:2]
        values: dict[str, object] = {"size": f"{self.below_mm:g}"}
        for number, size_class in enumerate(figures, start=1):
            end = "" if number == 1 else str(number)
            auc = "-" if size_class.auc is None else f"{size_class.auc:.2f}"
            values |= {"low": f"{size_class.from_mm:g}", "high": f"{size_class.to_mm:g}"}
            values |= {f"auc{end}": auc, f"n{end}": size_class.n, f"split{end}": size_class.split}
        return NO_SEPARATION_SENTENCES[len(figures)].format(**values)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, texts included."""
        return {
            "question": self.question.value,
            "below_mm": self.below_mm,
            "figures": [size_class.to_json() for size_class in self.figures],
            "bounds": self.bounds,
            "text": self.text,
            "sentence": self.sentence,
        }


Displayed = DisplayedProbability | NoPercentage
_SLACK = 1e-9
"""Rounding tolerance in per cent: 29.000000000000004 is 29."""


def displayed_of(attributes: Mapping[str, object], question: Question, point: float | None) -> Displayed | None:
    """Return the displayed form of a recorded point estimate; None without an estimate.

    Parameters
    ----------
    attributes
        Attributes of a recorded finding; ``displayed`` holds a record for each question.
    point
        The recorded estimate. Without a usable record of its bounds there is no percentage.
    """
    if point is None:
        return None
    records = attributes.get("displayed")
    record = records.get(question.value) if isinstance(records, Mapping) else None
    return read_displayed(record, question)


def read_displayed(record: object, question: Question) -> Displayed:
    """Parse the output of ``to_json``; None for another form."""
    if not isinstance(record, Mapping):
        return NoPercentage(question)
    try:
        if "below_mm" in record:
            below, figures = record["below_mm"], tuple(SizeClass.read(entry) for entry in record.get("figures", ()))
            return NoPercentage(question, None if below is None else float(below), figures)
        low, high, n, k = float(record["low"]), float(record["high"]), int(record["n"]), int(record["k"])
        if not (0 <= low <= high <= 1 and 0 <= k <= n and n > 0):
            return NoPercentage(question)
        censored, split = Censored(record["censored"]), str(record["split"])
        question = Question(record.get("question", question))
    except (KeyError, TypeError, ValueError):
        return NoPercentage(question)
    return DisplayedProbability(low, high, censored, n, k, question, split)
