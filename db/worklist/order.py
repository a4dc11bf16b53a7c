"""Orders of the worklist, each a list of segments that an index serves, and page cursors.

``priority`` has four segments: (1) unread studies that have waited longer than ``max_wait_s``, the longest first, so
that nothing starves; (2) unread ones with a calibrated probability, the highest first, equal ones by arrival; (3)
unread ones without, the earliest first; (4) reviewed ones, the latest first. The reference time is that of the first
page and part of the cursor: no study is listed twice or skipped as time passes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, and_, func, literal, or_, tuple_
from sqlalchemy.orm import Session

from db.domain.errors import InvalidCursorError
from db.domain.worklist import WorklistOrder, WorklistQuery
from db.tables.column_types import UtcDateTime
from db.tables.studies import StudyRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEAL_BYTES = 12


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Position of the last study of a page, with the reference time."""

    segment: int
    as_of: datetime
    probability: float | None
    received_at: datetime
    study_id: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of an order: the conditions of its studies, sorted by arrival or by probability (highest first)."""

    conditions: tuple[ColumnElement[bool], ...] = ()
    is_newest_first: bool = False
    is_by_probability: bool = False

    @property
    def order(self) -> tuple[UnaryExpression[Any], ...]:
        """Sort columns; the id separates studies of the same microsecond."""
        if self.is_newest_first:
            return (StudyRow.received_at.desc(), StudyRow.id.desc())
        by_arrival = (StudyRow.received_at.asc(), StudyRow.id.asc())
        return (StudyRow.malignancy_probability.desc(), *by_arrival) if self.is_by_probability else by_arrival

    def after(self, position: PagePosition) -> ColumnElement[bool]:
        """Return the condition for studies after ``position`` in this segment."""
        key = tuple_(StudyRow.received_at, StudyRow.id)
        last_key = tuple_(literal(position.received_at, UtcDateTime()), literal(position.study_id))
        if self.is_newest_first:
            return key < last_key
        if not self.is_by_probability:
            return key > last_key
        probability = StudyRow.malignancy_probability
        return and_(probability <= position.probability, or_(probability < position.probability, key > last_key))


def segments(query: WorklistQuery, as_of: datetime) -> tuple[Segment, ...]:
    """Return the segments of the query's order, first to last."""
    if query.order is not WorklistOrder.PRIORITY:
        return (Segment(is_newest_first=query.order is WorklistOrder.NEWEST),)
    due = as_of - timedelta(seconds=query.max_wait_s)
    unread, reviewed = StudyRow.reviewed_at.is_(None), StudyRow.reviewed_at.is_not(None)
    is_due, is_not_due = StudyRow.received_at <= due, StudyRow.received_at > due
    probability = StudyRow.malignancy_probability
    return (
        Segment((unread, is_due)),
        Segment((unread, is_not_due, probability.is_not(None)), is_by_probability=True),
        Segment(
            (unread, is_not_due, func.coalesce(probability, -1.0) < 0.0)
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
        If the cursor is malformed, altered or of another order.
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
    return PagePosition(int(segment), _moment(as_of), highest, _moment(received_at), study_id)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))


def _seal(session: Session, payload: bytes) -> bytes:
    key: bytes = session.info["audit_key"]
    return hmac.new(key, b"worklist\0" + payload, hashlib.sha256).digest()[:_SEAL_BYTES]
