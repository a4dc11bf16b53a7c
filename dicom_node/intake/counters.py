"""Counters of the listener and the intake, for metrics."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Counters:
    """Named, labelled counters; thread-safe.

    Names in use: ``associations`` by outcome, ``association_rejections`` and ``connections_closed`` by reason,
    ``associations_open`` (a gauge), ``instances`` by verdict, ``refusals`` by reason, ``received_bytes``.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Increase a counter."""
        with self._lock:
            self._counts[name, label] += amount

    def set(self, name: str, value: int, label: str = "") -> None:
        """Set a gauge."""
        with self._lock:
            self._counts[name, label] = value

    def value(self, name: str, label: str = "") -> int:
        """Return the current value of one counter."""
        with self._lock:
            return self._counts[name, label]

    def snapshot(self) -> dict[tuple[str, str], int]:
        """Return all values by (name, label)."""
        with self._lock:
            return dict(self._counts)
