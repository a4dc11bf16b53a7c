"""Deliveries of result objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeliveryStatus(StrEnum):
    """Status of the delivery of one result object to one destination."""

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    FAILED = "failed"
    """A dead letter: no further attempts until a resend is requested."""
    DECLINED = "declined"
    """Not sent: the destination takes other formats of the result, or the result was withdrawn first."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """Delivery of one result object to one destination. ``path`` is relative to the store's root."""

    id: str
    analysis_id: str
    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    destination: str
    status: DeliveryStatus
    path: str
    attempts: int
    reason: str
    updated_at: datetime
    next_attempt_at: datetime | None = None
    """Time of the next attempt (only while pending)."""
