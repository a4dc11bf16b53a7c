"""Counts of what the listener and the intake did, for whoever shows metrics."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Counters:
    """Named, labelled counts; threads may count at once.

    Names in use: ``associations`` by outcome, ``association_rejections`` and ``connections_closed`` by reason,
    ``associations_open`` (a gauge), ``instances`` by verdict, ``refusals`` by reason, ``received_bytes``.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name, label] += amount

    def set(self, name: str, value: int, label: str = "") -> None:
        """Set a gauge."""
        with self._lock:
            self._counts[name, label] = value

    def value(self, name: str, label: str = "") -> int:
        """One count as it stands."""
        with self._lock:
            return self._counts[name, label]

    def snapshot(self) -> dict[tuple[str, str], int]:
        """All counts by (name, label)."""
        with self._lock:
            return dict(self._counts)
