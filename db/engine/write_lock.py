"""Whose turn it is to write to a SQLite file, among the threads and processes of this host.

SQLite has whoever finds it locked sleep, longer each time, so that some keep losing while others come and go. Here
threads queue at a lock, and processes at one of the operating system, which lets go of what a killed one held. SQLite's
own lock stays the one that keeps the file whole: where this one cannot be had, nothing but fairness is lost.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from db.domain.errors import DatabaseUnavailableError

_POLL_S = 0.0003
"""A transaction takes about a millisecond."""


class WriteLock:
    """The right to write to one file, for one process; threads may share it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-turn")
        self._lock = Lock()
        self._descriptor = -1

    @contextmanager
    def acquire(self, timeout_s: float) -> Iterator[None]:
        """Wait for the turn, and hold it while the block runs.

        Raises
        ------
        DatabaseUnavailableError
            It did not come in time.
        """
        until = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise DatabaseUnavailableError
        try:
            held = self._claim(until)
            try:
                yield
            finally:
                if held >= 0:
                    fcntl.flock(held, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def _claim(self, until: float) -> int:
        """Hold the lock among processes; gives its descriptor, or -1 where there is none to be had."""
        while True:
            try:
                if self._descriptor < 0:
                    self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise DatabaseUnavailableError from None
                time.sleep(_POLL_S)
            except OSError:  # a disk without room for the file
                return -1
            else:
                return self._descriptor

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
