"""Cached outcome of the readiness checks, which unauthenticated callers can run at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_AGE_S = 1.0


class Readiness:
    """Cached outcome of the checks; one caller runs them, the others wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._is_ready = False

    def is_ready(self, check: Callable[[], bool]) -> bool:
        """Return the outcome of ``check``, at most a second old."""
        with self._lock:
            if self._checked_at is None or self._clock() - self._checked_at >= MAX_AGE_S:
                self._is_ready, self._checked_at = check(), self._clock()
            return self._is_ready
