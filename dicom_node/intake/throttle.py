"""Rate limit for repeated events, with a count of those suppressed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

_KEYS = 4096


class Throttle:
    """A token bucket per key (``burst`` at once, then ``rate_per_s``), for at most 4096 keys."""

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate_per_s, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float, int]] = OrderedDict()
        self._lock = Lock()

    def admit(self, key: str) -> tuple[bool, int]:
        """Return whether an event may pass, and how many of its key were suppressed since the last one."""
        now = self._clock()
        with self._lock:
            tokens, at, withheld = self._buckets.pop(key, (float(self._burst), now, 0))
            tokens = min(self._burst, tokens + (now - at) * self._rate)
            passes = tokens >= 1
            self._buckets[key] = (tokens - 1, now, 0) if passes else (tokens, now, withheld + 1)
            if len(self._buckets) > _KEYS:
                self._buckets.popitem(last=False)
            return passes, withheld if passes else 0
