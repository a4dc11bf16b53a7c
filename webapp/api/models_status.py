"""JSON models of the status of the service and its models, and of the comparison of live and shadow model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic.json_schema import SkipJsonSchema

from webapp.api.models import ABSENT, Answer, Model, Share

Metric = float | None
"""Null where it cannot be computed."""
Bounds = tuple[Metric, Metric]


class Readiness(Answer):
    """Readiness, with the single checks for roles that may observe the service."""

    ready: bool
    checks: dict[str, str] | SkipJsonSchema[None] = ABSENT


class Liveness(Answer):
    """Liveness of the process."""

    alive: bool


class ModelStatus(Answer):
    """Status of the nodule model, of all models in ``models``, and the server's counters."""

    task: str | SkipJsonSchema[None] = ABSENT
    name: str | SkipJsonSchema[None] = ABSENT
    version: str | SkipJsonSchema[None] = ABSENT
    sha256: str | SkipJsonSchema[None] = ABSENT
    architecture: str | SkipJsonSchema[None] = ABSENT
    device: str | SkipJsonSchema[None] = ABSENT
    engine: str | SkipJsonSchema[None] = ABSENT
    parameter_count: int | SkipJsonSchema[None] = ABSENT
    input_shape: list[int] | SkipJsonSchema[None] = ABSENT
    classes: list[str] | SkipJsonSchema[None] = ABSENT
    temperature: float | SkipJsonSchema[None] = ABSENT
    temperatures: dict[str, float] | SkipJsonSchema[None] = ABSENT
    calibration: str | SkipJsonSchema[None] = ABSENT
    metrics: dict[str, Any] | SkipJsonSchema[None] = ABSENT
    training_data: dict[str, Any] | SkipJsonSchema[None] = ABSENT
    intended_use: str | SkipJsonSchema[None] = ABSENT
    limits: list[str] | SkipJsonSchema[None] = ABSENT
    models: list[dict[str, Any]] | SkipJsonSchema[None] = ABSENT
    error: str | SkipJsonSchema[None] = ABSENT
    uptime_s: float
    predictions_served: int


class Figure(Answer):
    """One metric of the live model (first) and the candidate (second), with 95 % intervals."""

    first: Metric
    first_interval: Bounds
    second: Metric
    second_interval: Bounds
    difference: Metric
    difference_interval: Bounds
    p: Share | None


class Decisions(Answer):
    """Numbers of decisions where only one model was right, and p of McNemar's exact test."""

    only_first_right: int
    only_second_right: int
    p: Share | None


class Comparison(Answer):
    """Comparison on findings with ground truth; metrics are null if there are too few."""

    conclusion: Literal["too_few", "worse", "not_worse", "better"]
    reason: str
    n: int
    positives: int
    patients: int
    auc: Figure | None
    decisions: Decisions | None
    brier: Figure | None
    calibration_error: Figure | None


class CandidateReport(Answer):
    """Comparison of a shadow model with the live one."""

    live: Model | None
    candidate: Model
    series_count: int
    left_out: dict[str, int]
    comparison: Comparison
    judged_by: Literal["pathology", "verdicts"]
    matched_within_mm: float
    decision_at: Share


class Candidate(Answer):
    """Comparison of the latest shadow model; null if there is none."""

    report: CandidateReport | None
