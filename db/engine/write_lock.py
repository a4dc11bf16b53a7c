"""Fair write lock of a SQLite file among the threads and processes of this host.

SQLite's busy handler sleeps, longer each time, so that some waiters starve. Here threads queue at a lock, and processes
at a file lock, which the operating system releases when a process dies. SQLite's own lock still guards the file's
integrity: without this one, only fairness is lost.
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
    """Write lock of one SQLite file; threads of a process share the object."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-turn")
        self._lock = Lock()
        self._descriptor = -1

    @contextmanager
    def acquire(self, timeout_s: float) -> Iterator[None]:
        """Acquire the lock and hold it while the block runs.

        Raises
        ------
        DatabaseUnavailableError
            Not acquired within ``timeout_s``.
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
        """Acquire the file lock; return its descriptor, or -1 if the file cannot be created."""
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
        """Close the descriptor."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
