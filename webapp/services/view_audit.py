"""Deduplication of audited study views."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 600.0
"""Seconds within which repeated views count as one."""
MAX_ENTRIES = 10_000


class ViewLog:
    """Recently recorded views, bounded in number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._recorded_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new_view(self, actor: str, study_uid: str) -> bool:
        """Return whether this actor's view of this study was not recorded within ``WINDOW_S``."""
        with self._lock:
            at = self._recorded_at.get((actor, study_uid))
            return at is None or self._clock() - at >= WINDOW_S

    def recorded(self, actor: str, study_uid: str) -> None:
        """Note a recorded view."""
        with self._lock:
            self._recorded_at[actor, study_uid] = self._clock()
            self._recorded_at.move_to_end((actor, study_uid))
            while len(self._recorded_at) > MAX_ENTRIES:
                self._recorded_at.popitem(last=False)
