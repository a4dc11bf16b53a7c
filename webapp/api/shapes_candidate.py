"""JSON shapes of the comparison of live and shadow model."""

from __future__ import annotations

from typing import Literal, TypedDict

from webapp.api.shapes import Interval, ModelShape, Probability


class FigureShape(TypedDict):
    """One metric of the live model (first) and the candidate (second), with 95 % intervals."""

    first: float
    first_interval: Interval
    second: float
    second_interval: Interval
    difference: float
    difference_interval: Interval
    p: Probability | None


class DecisionsShape(TypedDict):
    """Numbers of decisions where only one model was right, and p of McNemar's exact test."""

    only_first_right: int
    only_second_right: int
    p: Probability


class ComparisonShape(TypedDict):
    """Comparison on findings with ground truth; metrics are null if there are too few."""

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
    """Comparison of a shadow model with the live one."""

    live: ModelShape | None
    candidate: ModelShape
    series_count: int
    left_out: dict[str, int]
    comparison: ComparisonShape
    judged_by: Literal["pathology", "verdicts"]
    matched_within_mm: float
    decision_at: Probability


class CandidateShape(TypedDict):
    """Comparison of the latest shadow model; null if there is none."""

    report: CandidateReportShape | None
