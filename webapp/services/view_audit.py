"""Who looked at which study: on record once in a while, not once a slice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 600.0
"""A reader stays with a study for some minutes; looking again later is a new event."""
MAX_ENTRIES = 10_000


class ViewLog:
    """Tells whether a look is to be recorded; forgets the oldest, so that it is bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new_view(self, actor: str, study_uid: str) -> bool:
        """Whether this actor's look at this study has not been recorded within the last minutes."""
        with self._lock:
            at = self._seen.get((actor, study_uid))
            return at is None or self._clock() - at >= WINDOW_S

    def recorded(self, actor: str, study_uid: str) -> None:
        """Remember a look that is on record now."""
        with self._lock:
            self._seen[actor, study_uid] = self._clock()
            self._seen.move_to_end((actor, study_uid))
            while len(self._seen) > MAX_ENTRIES:
                self._seen.popitem(last=False)
