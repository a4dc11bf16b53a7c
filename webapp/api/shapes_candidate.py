"""The JSON of a model that is tried unseen beside the live one."""

from __future__ import annotations

from typing import Literal, TypedDict

from webapp.api.shapes import Interval, ModelShape, Probability


class FigureShape(TypedDict):
    """One figure of the live model (first) and the candidate (second), with 95 % intervals."""

    first: float
    first_interval: Interval
    second: float
    second_interval: Interval
    difference: float
    difference_interval: Interval
    p: Probability | None


class DecisionsShape(TypedDict):
    """Decisions of which only one model's was right, and the p of McNemar's exact test."""

    only_first_right: int
    only_second_right: int
    p: Probability


class ComparisonShape(TypedDict):
    """What follows from the findings that readers judged; figures are null where there are too few."""

    conclusion: Literal["too_few", "worse", "not_worse", "better"]
    reason: str
    n: int
    positives: int
    patients: int
    auc: FigureShape | None
    decisions: DecisionsShape | None
    brier: FigureShape | None
    calibration_error: FigureShape | None


class CandidateReportShape(TypedDict):
    """How a model that was tried unseen compares with the live one."""

    live: ModelShape | None
    candidate: ModelShape
    series_count: int
    left_out: dict[str, int]
    comparison: ComparisonShape
    judged_by: Literal["pathology", "verdicts"]
    matched_within_mm: float
    decision_at: Probability


class CandidateShape(TypedDict):
    """The comparison of the model that was tried last; null where none was."""

    report: CandidateReportShape | None
