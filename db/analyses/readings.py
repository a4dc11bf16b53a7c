"""Log of reading times in the audit trail: image shown, model findings revealed, study closed."""

from __future__ import annotations

import json
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError
from db.engine.session import check_finite
from db.studies.lifecycle import study_id_of
from db.tables.audit import AuditEventRow


class ReadingEvent(StrEnum):
    """An event of a reading."""

    OPENED = "opened"
    """The first image was on the screen."""
    REVEALED = "revealed"
    """The reader had read and asked for the model's findings."""
    CLOSED = "closed"
    """The reader left the study."""


def record_reading(
    session: Session, study_uid: str, reading_event: ReadingEvent, *, is_model_hidden: bool, seconds: float, reader: str
) -> None:
    """Write one event of a reading to the audit trail.

    Parameters
    ----------
    is_model_hidden
        Whether the model's findings were hidden until now.
    seconds
        Time since the first image was on the screen, as the reader's browser measured it; time in which the page was
        out of sight does not count.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    check_finite("seconds", seconds)
    if seconds < 0:
        raise InvalidRecordError("seconds", "is below 0")
    study_id = study_id_of(session, study_uid)
    details: dict[str, object] = {"model_hidden": is_model_hidden, "seconds": round(seconds, 1)}
    audit.append(session, AuditEvent(f"reading:{reading_event}", reader, study_id, details=details))


def was_read_first(session: Session, study_id: str, reader: str) -> bool:
    """Return whether a reader read a study (our own id) with the model hidden from the start, then revealed it."""
    events = select(AuditEventRow.action, AuditEventRow.details).where(
        AuditEventRow.subject == study_id,
        AuditEventRow.action.in_([f"reading:{ReadingEvent.OPENED}", f"reading:{ReadingEvent.REVEALED}"]),
        AuditEventRow.actor == reader,
    )
    rows = session.execute(events.order_by(AuditEventRow.sequence)).all()
    hidden = [json.loads(details).get("model_hidden") is True for _, details in rows]
    was_shown = any(action.endswith(ReadingEvent.REVEALED) for action, _ in rows)
    return was_shown and hidden[0]
