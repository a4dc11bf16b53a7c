"""Bounded concurrency with a bounded queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.http.errors import BusyError


class Slots:
    """Slots for work that is costly in time or memory.

    Parameters
    ----------
    count
        Number of concurrent holders.
    waiting
        Number of waiters; each holds a thread of the server.
    wait_s
        Longest wait, in seconds.
    """

    def __init__(self, count: int, waiting: int, wait_s: float) -> None:
        self._slots = threading.BoundedSemaphore(count)
        self._queue = threading.BoundedSemaphore(waiting)
        self._wait_s = wait_s

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot while the block runs.

        Raises
        ------
        BusyError
            All slots are taken, and too many wait or the wait was too long.
        """
        if not self._slots.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._slots.release()

    def _wait(self) -> None:
        if not self._queue.acquire(blocking=False):
            raise BusyError(self._wait_s)
        try:
            if not self._slots.acquire(timeout=self._wait_s):
                raise BusyError(self._wait_s)
        finally:
            self._queue.release()
