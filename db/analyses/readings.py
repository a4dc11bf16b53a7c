"""Log of reading times in the audit trail: image shown, model findings revealed, study closed."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError
from db.engine.session import check_finite, now
from db.studies.lifecycle import study_id_of
from db.tables.audit import AuditEventRow

READING_EXPIRES = timedelta(minutes=30)
"""Time after which a reading whose end was never reported no longer counts as going on."""


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


def current_readers(session: Session, study_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the readers who have studies (our own ids) open now, the earliest first, by study.

    A reading ends when the page is left, or where that was never reported, ``READING_EXPIRES`` after it was opened. It
    is shown to others and refuses nothing: every verdict is recorded, whoever else has the study open.
    """
    begun = (now(session) - READING_EXPIRES).astimezone(UTC).isoformat(timespec="microseconds")
    events = select(AuditEventRow.subject, AuditEventRow.actor, AuditEventRow.action).where(
        AuditEventRow.subject.in_(study_ids),
        AuditEventRow.action.in_([f"reading:{ReadingEvent.OPENED}", f"reading:{ReadingEvent.CLOSED}"]),
        AuditEventRow.occurred_at > begun,
    )
    readers: dict[str, list[str]] = {}
    for study_id, reader, action in session.execute(events.order_by(AuditEventRow.sequence)):
        listed = readers.setdefault(study_id, [])
        if action.endswith(ReadingEvent.OPENED) and reader not in listed:
            listed.append(reader)
        elif action.endswith(ReadingEvent.CLOSED) and reader in listed:
            listed.remove(reader)
    return {study_id: tuple(names) for study_id, names in readers.items() if names}


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
