"""Heartbeats of workers: each takes over the work of those whose heartbeat stopped.

Clocks are never compared: a worker is silent when its count stays the same for a while on the
monotonic clock of the observer. A late check (database unavailable, host asleep) restarts all
measurements, as no worker could count in that time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from db.database import Database
from db.monitoring import workers

_log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
"""Pause between two heartbeats."""
HEARTBEAT_TIMEOUT_S = 60.0
"""A worker that does not beat for so long is held to be dead."""


class SilenceWatch:
    """Detects heartbeat counts that no longer change."""

    def __init__(self, timeout_s: float = HEARTBEAT_TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._last_check_s = clock()
        self._observed: dict[str, tuple[int, float]] = {}

    def silent(self, beats: Mapping[str, int]) -> tuple[str, ...]:
        """Return the workers whose count has not changed for the timeout, at every call until it does."""
        now_s = self._clock()
        if now_s - self._last_check_s > self._timeout_s / 2:
            self._observed.clear()
        self._last_check_s = now_s
        previous = self._observed
        self._observed = {
            name: previous[name] if name in previous and previous[name][0] == count else (count, now_s)
            for name, count in beats.items()
        }
        return tuple(name for name, (_, since_s) in self._observed.items() if now_s - since_s >= self._timeout_s)


class HeartbeatMonitor:
    """Heartbeat of this worker, and supervision of all that share the database.

    Parameters
    ----------
    executor_id, version
        Who this is.
    resume
        Returns the workflows of these workers to the queue, and their number (0 is harmless).
    resume_strays
        The same for workflows that this worker itself has lost.
    """

    def __init__(
        self,
        database: Database,
        executor_id: str,
        version: str,
        resume: Callable[[Sequence[str]], int],
        resume_strays: Callable[[], int],
        *,
        timeout_s: float = HEARTBEAT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._executor_id, self._version = executor_id, version
        self._resume, self._resume_strays = resume, resume_strays
        self._watch = SilenceWatch(timeout_s, clock)
        self._last_beat: int | None = None

    def register(self) -> None:
        """Make this worker known before it takes work.

        One that died before its first heartbeat would otherwise leave work that no other worker takes over.
        """
        with self._database.begin() as session:
            workers.beat(session, self._executor_id, self._version)
            self._last_beat = workers.beats(session)[self._executor_id]

    def beat(self) -> None:
        """Send one heartbeat, resume the work of silent workers, and log a name conflict."""
        with self._database.begin() as session:
            workers.beat(session, self._executor_id, self._version)
            beats = workers.beats(session)
        beat, last = beats[self._executor_id], self._last_beat
        self._last_beat = beat
        if last is not None and beat != last + 1:
            _log.error("worker:name_conflict", extra={"executor_id": self._executor_id})
        silent = [name for name in self._watch.silent(beats) if name != self._executor_id]
        if silent and (count := self._resume(silent)):
            _log.warning("worker:resumed", extra={"count": count, "object_count": len(silent)})
        if count := self._resume_strays():
            _log.warning("worker:resumed", extra={"count": count, "object_count": 0})
