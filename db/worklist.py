"""The worklist: newest received first, paged by key so that arrivals move nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, literal, select, tuple_
from sqlalchemy.orm import Session

from db import patients
from db.columns import UtcDateTime
from db.domain import WorklistItem, WorklistPage, WorklistQuery
from db.errors import InvalidCursorError
from db.session import free_text, now
from db.tables import PatientRow, StudyRow

PAGE_LIMIT = 500
TERM_LIMIT = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEAL_BYTES = 12


def worklist_page(session: Session, query: WorklistQuery) -> WorklistPage:
    """List one page. Every word of the text must occur in name, id, accession number, description or study UID.

    Raises
    ------
    InvalidCursorError
        If the cursor is not one that this worklist gave.
    """
    limit = max(1, min(query.limit, PAGE_LIMIT))
    statement = _statement()
    if query.state is not None:
        statement = statement.where(StudyRow.state == query.state)
    for word in patients.folded_text(free_text(query.text)).split()[:TERM_LIMIT]:
        statement = statement.where(StudyRow.search_text.contains(word, autoescape=True))
    if query.cursor is not None:
        place = tuple_(*_opened(session, query.cursor))
        statement = statement.where(tuple_(StudyRow.received_at, StudyRow.id) < place)
    statement = statement.order_by(StudyRow.received_at.desc(), StudyRow.id.desc()).limit(limit + 1)
    rows = session.execute(statement).all()
    items = tuple(worklist_item(session, study, patient) for study, patient in rows[:limit])
    return WorklistPage(items, _cursor(session, rows[limit - 1][0]) if len(rows) > limit else None)


def worklist_item(session: Session, study: StudyRow, patient: PatientRow) -> WorklistItem:
    """Build the worklist's row of a study. It waits from its first instance until the answer, or until now."""
    interval = None
    if study.interval_low is not None and study.interval_high is not None:
        interval = (study.interval_low, study.interval_high)
    waited = (study.settled_at or now(session)) - study.received_at
    return WorklistItem(
        study_instance_uid=study.study_instance_uid,
        patient=patients.attributes(patient),
        accession_number=study.accession_number,
        study_date=study.study_date,
        study_description=study.study_description,
        state=study.state,
        reasons=study.reasons,
        series_count=study.series_count,
        instance_count=study.instance_count,
        finding_count=study.finding_count,
        malignancy_probability=study.malignancy_probability,
        interval=interval,
        received_at=study.received_at,
        analysed_at=study.analysed_at,
        waiting_s=max(0.0, waited.total_seconds()),
    )


def _statement() -> Select[StudyRow, PatientRow]:
    return select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)


def _cursor(session: Session, study: StudyRow) -> str:
    """Seal the last row's place, so that a cursor that was not given by us is told apart from one that was."""
    place = f"{(study.received_at - _EPOCH) // timedelta(microseconds=1)}:{study.id}".encode()
    return base64.urlsafe_b64encode(_seal(session, place) + place).decode().rstrip("=")


def _opened(session: Session, cursor: str) -> tuple[object, object]:
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursorError from error
    seal, place = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(session, place)):
        raise InvalidCursorError
    microseconds, _, study_id = place.decode().partition(":")
    received_at = _EPOCH + timedelta(microseconds=int(microseconds))
    return literal(received_at, UtcDateTime()), literal(study_id)


def _seal(session: Session, place: bytes) -> bytes:
    key: bytes = session.info["audit_key"]
    return hmac.new(key, b"worklist\0" + place, hashlib.sha256).digest()[:_SEAL_BYTES]
