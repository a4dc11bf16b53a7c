"""The JSON of how the service and its models are."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class ReadinessShape(TypedDict):
    """Whether work can be done now, and part by part for those who may observe the service."""

    ready: bool
    checks: NotRequired[dict[str, str]]


class LivenessShape(TypedDict):
    """The process answers."""

    alive: bool


class ModelStatusShape(TypedDict):
    """The nodule model's own account on top, all models in ``models``, and the server's counters."""

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
