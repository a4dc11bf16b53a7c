"""In-memory token buckets, bounded in number."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

from webapp.http.errors import TooManyRequestsError

MAX_CLIENTS = 10_000


class RateClass(StrEnum):
    """Requests that count towards one limit."""

    PREDICTIONS = "predictions"
    SIGN_INS = "sign_ins"


class RateLimit:
    """Rate limit of ``per_minute`` per key, with bursts up to the same number."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60.0
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Take one token of a key.

        Raises
        ------
        TooManyRequestsError
            If none is left, with the seconds until the next.
        """
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.pop(key, (self._capacity, now))
            tokens = min(self._capacity, tokens + (now - since) * self._rate)
            allowed = tokens >= 1.0
            self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
            while len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyRequestsError((1.0 - tokens) / self._rate)
