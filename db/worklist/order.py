"""Orders of the worklist, each a list of segments that an index serves, and page cursors.

``priority`` has five segments: (1) unread studies of high priority (STAT), the earliest first; then of the other unread
ones (2) those that have waited longer than ``max_wait_s``, the longest first, so that nothing starves; (3) those with a
calibrated probability, the highest first, equal ones by arrival; (4) those without, the earliest first; (5) reviewed
ones, the latest first. The reference time is that of the first page and part of the cursor: no study is listed twice or
skipped as time passes.

The orders by patient and by study date sort equal ones by arrival, in the same direction. Their cursors name the last
study by our own id alone, since a URL must not hold a patient's name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, UnaryExpression, and_, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from db.domain.errors import InvalidCursorError
from db.domain.worklist import WorklistOrder, WorklistQuery
from db.tables.column_types import UtcDateTime
from db.tables.studies import StudyRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEAL_BYTES = 12
DESCENDING = frozenset({WorklistOrder.NEWEST, WorklistOrder.PATIENT_DESC, WorklistOrder.STUDY_DATE_DESC})
TEXTS = {
    WorklistOrder.PATIENT: StudyRow.sort_name,
    WorklistOrder.PATIENT_DESC: StudyRow.sort_name,
    WorklistOrder.STUDY_DATE: StudyRow.study_date,
    WorklistOrder.STUDY_DATE_DESC: StudyRow.study_date,
}
"""Columns that these orders sort by first."""


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Position of the last study of a page, with the reference time."""

    segment: int
    as_of: datetime
    probability: float | None
    received_at: datetime
    study_id: str
    text: str | None = None
    """Patient name or study date, in the orders by these."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of an order: the conditions of its studies, sorted by arrival, a text or probability (highest first)."""

    conditions: tuple[SQLColumnExpression[bool], ...] = ()
    is_newest_first: bool = False
    is_by_probability: bool = False
    text: SQLColumnExpression[str] | None = None

    @property
    def order(self) -> tuple[UnaryExpression[Any], ...]:
        """Sort columns; the id separates studies of the same microsecond."""
        columns = (*self._text, StudyRow.received_at, StudyRow.id)
        by_key = tuple(column.desc() if self.is_newest_first else column.asc() for column in columns)
        return (StudyRow.malignancy_probability.desc(), *by_key) if self.is_by_probability else by_key

    def after(self, position: PagePosition) -> ColumnElement[bool]:
        """Return the condition for studies after ``position`` in this segment."""
        text = (literal(position.text or ""),) if self._text else ()
        key = tuple_(*self._text, StudyRow.received_at, StudyRow.id)
        last_key = tuple_(*text, literal(position.received_at, UtcDateTime()), literal(position.study_id))
        if self.is_newest_first:
            return key < last_key
        if not self.is_by_probability:
            return key > last_key
        probability = StudyRow.malignancy_probability
        return and_(probability <= position.probability, or_(probability < position.probability, key > last_key))

    @property
    def _text(self) -> tuple[SQLColumnExpression[str], ...]:
        return () if self.text is None else (self.text,)


def segments(query: WorklistQuery, as_of: datetime) -> tuple[Segment, ...]:
    """Return the segments of the query's order, first to last."""
    if query.order is not WorklistOrder.PRIORITY:
        return (Segment(is_newest_first=query.order in DESCENDING, text=TEXTS.get(query.order)),)
    due = as_of - timedelta(seconds=query.max_wait_s)
    unread, reviewed = StudyRow.reviewed_at.is_(None), StudyRow.reviewed_at.is_not(None)
    is_due, is_not_due = StudyRow.received_at <= due, StudyRow.received_at > due
    probability, is_stat = StudyRow.malignancy_probability, StudyRow.is_stat
    return (
        Segment((unread, is_stat)),
        Segment((unread, ~is_stat, is_due)),
        Segment((unread, ~is_stat, is_not_due, probability.is_not(None)), is_by_probability=True),
        Segment(
            (unread, ~is_stat, is_not_due, func.coalesce(probability, -1.0) < 0.0)
        ),  # by arrival: no index over probabilities
        Segment((reviewed,), is_newest_first=True),
    )


def encode_cursor(session: Session, query: WorklistQuery, position: PagePosition) -> str:
    """Return a page position as a cursor, sealed with a keyed digest."""
    probability = "" if position.probability is None else repr(position.probability)
    moments = (str(_microseconds(moment)) for moment in (position.as_of, position.received_at))
    payload = ":".join((query.order, str(position.segment), *moments, probability, position.study_id)).encode()
    return base64.urlsafe_b64encode(_seal(session, payload) + payload).decode().rstrip("=")


def decode_cursor(session: Session, query: WorklistQuery) -> PagePosition:
    """Return the page position of the query's cursor.

    Raises
    ------
    InvalidCursorError
        If the cursor is malformed, altered or of another order, or names a study that was removed.
    """
    cursor = query.cursor or ""
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursorError from error
    seal, payload = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(session, payload)):
        raise InvalidCursorError
    order, segment, as_of, received_at, probability, study_id = payload.decode().split(":")
    if order != query.order:
        raise InvalidCursorError
    highest = float(probability) if probability else None
    text = _text_of(session, query.order, study_id)
    return PagePosition(int(segment), _moment(as_of), highest, _moment(received_at), study_id, text)


def _text_of(session: Session, order: WorklistOrder, study_id: str) -> str | None:
    """Return the text that an order sorts a study by; it does not change after the study's first instance."""
    attribute = TEXTS.get(order)
    if attribute is None:
        return None
    text = session.scalars(select(attribute).where(StudyRow.id == study_id)).one_or_none()
    if text is None:
        raise InvalidCursorError
    return text


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))


def _seal(session: Session, payload: bytes) -> bytes:
    key: bytes = session.info["audit_key"]
    return hmac.new(key, b"worklist\0" + payload, hashlib.sha256).digest()[:_SEAL_BYTES]
