"""JSON shapes of service and model status."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class ReadinessShape(TypedDict):
    """Readiness, with the single checks for roles that may observe the service."""

    ready: bool
    checks: NotRequired[dict[str, str]]


class LivenessShape(TypedDict):
    """Liveness of the process."""

    alive: bool


class ModelStatusShape(TypedDict):
    """Status of the nodule model, of all models in ``models``, and the server's counters."""

    task: NotRequired[str]
    name: NotRequired[str]
    version: NotRequired[str]
    sha256: NotRequired[str]
    architecture: NotRequired[str]
    device: NotRequired[str]
    engine: NotRequired[str]
    parameter_count: NotRequired[int]
    input_shape: NotRequired[list[int]]
    classes: NotRequired[list[str]]
    temperature: NotRequired[float]
    metrics: NotRequired[dict[str, object]]
    training_data: NotRequired[dict[str, object]]
    intended_use: NotRequired[str]
    limits: NotRequired[list[str]]
    models: NotRequired[list[dict[str, object]]]
    error: NotRequired[str]
    uptime_s: float
    predictions_served: int
