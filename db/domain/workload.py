"""Counts for metrics and readiness."""

from __future__ import annotations

from dataclasses import dataclass

from db.domain.deliveries import DeliveryStatus
from db.domain.studies import StudyState


@dataclass(frozen=True, slots=True)
class Workload:
    """Counts for metrics and readiness."""

    studies: dict[StudyState, int]
    deliveries: dict[DeliveryStatus, int]
    queue_depth: int
    """Analyses queued or running."""
    oldest_queued_s: float
    """Age in seconds of the oldest unfinished analysis; 0 if there is none."""
    result_failures: int = 0
    """Analyses with a failure to create result objects."""
