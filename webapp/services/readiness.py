"""The last outcome of the readiness checks, so that whoever asks without a token has them run once a second at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_AGE_S = 1.0


class Readiness:
    """Outcome of the checks; one caller runs them, the others wait for it."""

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
