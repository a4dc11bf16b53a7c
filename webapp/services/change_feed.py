"""Change feed of the worklist, derived from the audit trail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEntry

_SUBJECTS = frozenset({"study", "series", "instance", "analysis", "finding", "delivery"})
_VIEWED = "study:viewed"
_READINGS = frozenset({"reading:opened", "reading:closed"})
_BATCH = 50


def is_change(entry: AuditEntry) -> bool:
    """Return whether an event changes what pages show; views do not."""
    action = entry.event.action
    return action in _READINGS or (action.partition(":")[0] in _SUBJECTS and action != _VIEWED)


class ChangeFeed:
    """Version number of the worklist, queried at most once per ``period_s`` for all streams."""

    def __init__(self, database: Database, period_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._queried_at: float | None = None
        self._last_sequence = 0
        self._version = 0
        self._closed = threading.Event()

    def version(self) -> int:
        """Return the sequence number of the latest change."""
        with self._lock:
            now = self._clock()
            if self._queried_at is None or now - self._queried_at >= self._period_s:
                self._refresh()
                self._queried_at = now
            return self._version

    def wait(self) -> bool:
        """Wait one period; return False once closed."""
        return not self._closed.wait(self._period_s)

    def close(self) -> None:
        """End every stream."""
        self._closed.set()

    def _refresh(self) -> None:
        with self._database.read() as session:
            entries = audit.recent(session, limit=_BATCH)
        if not entries:
            return
        changes = [entry.sequence for entry in entries if is_change(entry)]
        if changes:
            self._version = max(self._version, *changes)
        elif self._last_sequence and entries[-1].sequence > self._last_sequence + 1:  # more events than one batch
            self._version = entries[0].sequence
        self._last_sequence = entries[0].sequence
