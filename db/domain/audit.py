"""Audit events and the result of their verification."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An audit event to record: ``action`` reads ``subject:action``; ``details`` hold no patient identity."""

    action: str
    actor: str
    subject: str = ""
    outcome: str = "success"
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A recorded audit event."""

    sequence: int
    occurred_at: datetime
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class AuditVerification:
    """Result of verifying the chain."""

    event_count: int
    head: str
    problems: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Return True if no row was altered, removed or inserted."""
        return not self.problems
