"""Counts of association outcomes, written to the database on a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from db.database import Database
from db.domain.errors import DbError
from db.monitoring import association_log
from db.monitoring.association_log import AssociationEvent
from dicom_node.intake.counters import Counters

_log = logging.getLogger(__name__)

PERIOD_S = 1.0
MAX_PENDING = 1000
_TITLE_CHARACTERS = 16


def shown_title(ae_title: str) -> str:
    """Return an AE title for storage and display: printable ASCII, other characters as question marks."""
    return "".join(char if " " <= char <= "~" else "?" for char in ae_title[:_TITLE_CHARACTERS])


class AssociationLog:
    """Collects association events, and writes them once a second."""

    def __init__(self, database: Database, counters: Counters) -> None:
        self._database, self._counters = database, counters
        self._pending: Counter[AssociationEvent] = Counter()
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicom-association-log", daemon=True)
        self._thread.start()

    def add(self, address: str, titles: tuple[str, str], result: str, reason: str = "") -> None:
        """Count an event; ``titles`` are calling and called AE title, as sent."""
        calling, called = map(shown_title, titles)
        event = AssociationEvent(address, calling, called, result, reason)
        with self._lock:
            if event in self._pending or len(self._pending) < MAX_PENDING:
                self._pending[event] += 1
                return
        self._counters.add("associations_unrecorded")

    def stop(self) -> None:
        """Write the remaining events and end."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopping.wait(PERIOD_S):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            counts, self._pending = self._pending, Counter()
        if not counts:
            return
        try:
            with self._database.begin() as session:
                association_log.record(session, counts)
        except DbError:
            self._counters.add("associations_unrecorded", amount=counts.total())
            _log.error("association:unrecorded", extra={"count": counts.total()})
