"""Audit of views; repeated views of one person within a while count as one."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.studies.instances import series_of_study
from db.studies.lifecycle import study_id_of

WINDOW_S = 600.0
"""Seconds within which repeated views count as one."""
MAX_ENTRIES = 10_000


class ViewAudit(StrEnum):
    """Audit actions of views."""

    STUDY = "study:viewed"
    RESULT = "audit:read"

    @property
    def variable(self) -> str:
        """The variable of the URL that names what is viewed; a view without it sets ``g.viewed``."""
        return "study_uid" if self is ViewAudit.STUDY else "analysis_id"


class ViewLog:
    """Recording of views, which remembers the latest ones in bounded number."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._recorded_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def record(self, action: ViewAudit, actor: str, subject: str) -> None:
        """Record a view of a study (by UID) or result (by id), unless it was recorded within ``WINDOW_S``.

        Raises
        ------
        UnknownRecordError
            If there is no such study.
        """
        with self._lock:
            at = self._recorded_at.get((actor, subject))
            if at is not None and self._clock() - at < WINDOW_S:
                return
        with self._database.begin() as session:
            audit.append(session, _event(session, action, actor, subject))
        with self._lock:
            self._recorded_at[actor, subject] = self._clock()
            self._recorded_at.move_to_end((actor, subject))
            while len(self._recorded_at) > MAX_ENTRIES:
                self._recorded_at.popitem(last=False)


def _event(session: Session, action: ViewAudit, actor: str, subject: str) -> AuditEvent:
    if action is ViewAudit.RESULT:
        return AuditEvent(action, actor, subject)
    series_ids = [series.id for series in series_of_study(session, study_id_of(session, subject))]
    return AuditEvent(action, actor, series_ids[0] if series_ids else "", details={"series": series_ids})
