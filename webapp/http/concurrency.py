"""Bounded concurrency: a few at once, a few waiting, and the rest is refused at once with the time to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.http.errors import BusyError


class Slots:
    """Places for work that is costly in time or memory.

    Parameters
    ----------
    count
        How many may work at once.
    waiting
        How many may wait for a place; each holds a thread of the server.
    wait_s
        How long one waits at most, in seconds.
    """

    def __init__(self, count: int, waiting: int, wait_s: float) -> None:
        self._places = threading.BoundedSemaphore(count)
        self._queue = threading.BoundedSemaphore(waiting)
        self._wait_s = wait_s

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place while the block lasts.

        Raises
        ------
        BusyError
            All are taken, and too many wait or the wait was too long.
        """
        if not self._places.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._places.release()

    def _wait(self) -> None:
        if not self._queue.acquire(blocking=False):
            raise BusyError(self._wait_s)
        try:
            if not self._places.acquire(timeout=self._wait_s):
                raise BusyError(self._wait_s)
        finally:
            self._queue.release()
