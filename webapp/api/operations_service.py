"""API operations of the running service."""

from __future__ import annotations

from webapp.api.operations import EVENTS, TEXT, Operation
from webapp.api.shapes_status import LivenessShape, ReadinessShape

SERVICE = (
    Operation("get", "/events", "Server-sent events: the worklist changed", {200: EVENTS}),
    Operation("get", "/livez", "Liveness of the process", {200: LivenessShape}, public=True),
    Operation("get", "/readyz", "Readiness of the service", {200: ReadinessShape, 503: ReadinessShape}, public=True),
    Operation("get", "/metrics", "Counters for Prometheus", {200: TEXT}),
    Operation("get", "/openapi.json", "This document", {200: {"application/json": {"schema": {"type": "object"}}}}),
)
