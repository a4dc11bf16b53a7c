"""Whether anything that the worklist shows has changed, read off the audit trail, which holds every change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from db.audit import trail as audit
from db.database import Database
from db.domain.records import AuditEntry

_SUBJECTS = frozenset({"study", "series", "instance", "analysis", "finding", "delivery"})
_VIEWED = "study:viewed"
_BATCH = 50


def is_change(entry: AuditEntry) -> bool:
    """Whether an event changed what pages show; looking at a study does not."""
    action = entry.event.action
    return action.partition(":")[0] in _SUBJECTS and action != _VIEWED


class ChangeFeed:
    """A version number of the worklist; however many streams ask, the database is asked once a ``period_s``."""

    def __init__(self, database: Database, period_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._seen = 0
        self._version = 0
        self._closed = threading.Event()

    def version(self) -> int:
        """Sequence number of the latest change that is known."""
        with self._lock:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= self._period_s:
                self._refresh()
                self._asked_at = now
            return self._version

    def wait(self) -> bool:
        """Wait one period; False once the server closes."""
        return not self._closed.wait(self._period_s)

    def close(self) -> None:
        """Let every stream end."""
        self._closed.set()

    def _refresh(self) -> None:
        with self._database.read() as session:
            entries = audit.recent(session, limit=_BATCH)
        if not entries:
            return
        changes = [entry.sequence for entry in entries if is_change(entry)]
        if changes:
            self._version = max(self._version, *changes)
        elif self._seen and entries[-1].sequence > self._seen + 1:  # more news than were read
            self._version = entries[0].sequence
        self._seen = entries[0].sequence
