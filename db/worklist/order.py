"""The worklist's orders, each a row of segments that an index serves, and the sealed place that a page ended at.

``priority`` has four segments: (1) unread studies that have waited longer than ``max_wait_s``, the longest first, so
that nothing starves however many likelier ones arrive; (2) unread ones with a calibrated probability, the highest
first, and of equal ones the earlier; (3) unread ones without, the earliest first; (4) reviewed ones, the latest
first. "Now" is fixed when the first page is asked for and travels in the cursor: no study is listed twice or left out
because the clock went on.
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
from db.domain.records import WorklistOrder, WorklistQuery
from db.tables.arrivals import StudyRow
from db.tables.column_types import UtcDateTime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEAL_BYTES = 12


@dataclass(frozen=True, slots=True)
class PagePosition:
    """The last study of a page: where the next page begins, as seen at one moment."""

    segment: int
    as_of: datetime
    probability: float | None
    received_at: datetime
    study_id: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of an order: which studies belong to it, by arrival or (the likeliest first) by probability."""

    conditions: tuple[ColumnElement[bool], ...] = ()
    is_newest_first: bool = False
    is_by_probability: bool = False

    @property
    def order(self) -> tuple[UnaryExpression[Any], ...]:
        """What to sort by; the id tells studies of the same microsecond apart."""
        if self.is_newest_first:
            return (StudyRow.received_at.desc(), StudyRow.id.desc())
        by_arrival = (StudyRow.received_at.asc(), StudyRow.id.asc())
        return (StudyRow.malignancy_probability.desc(), *by_arrival) if self.is_by_probability else by_arrival

    def after(self, place: PagePosition) -> ColumnElement[bool]:
        """Select what comes after ``place`` in this segment."""
        here = tuple_(StudyRow.received_at, StudyRow.id)
        there = tuple_(literal(place.received_at, UtcDateTime()), literal(place.study_id))
        if self.is_newest_first:
            return here < there
        if not self.is_by_probability:
            return here > there
        likely = StudyRow.malignancy_probability
        return and_(likely <= place.probability, or_(likely < place.probability, here > there))


def segments(query: WorklistQuery, as_of: datetime) -> tuple[Segment, ...]:
    """List the segments of the order that is asked for, first to last."""
    if query.order is not WorklistOrder.PRIORITY:
        return (Segment(is_newest_first=query.order is WorklistOrder.NEWEST),)
    due = as_of - timedelta(seconds=query.max_wait_s)
    unread, reviewed = StudyRow.reviewed_at.is_(None), StudyRow.reviewed_at.is_not(None)
    is_due, is_not_due = StudyRow.received_at <= due, StudyRow.received_at > due
    likely = StudyRow.malignancy_probability
    return (
        Segment((unread, is_due)),
        Segment((unread, is_not_due, likely.is_not(None)), is_by_probability=True),
        Segment((unread, is_not_due, func.coalesce(likely, -1.0) < 0.0)),  # by arrival: no index over probabilities
        Segment((reviewed,), is_newest_first=True),
    )


def encode_cursor(session: Session, query: WorklistQuery, place: PagePosition) -> str:
    """Write a place so that a cursor that was not given by us is told apart from one that was."""
    probability = "" if place.probability is None else repr(place.probability)
    moments = (str(_microseconds(moment)) for moment in (place.as_of, place.received_at))
    told = ":".join((query.order, str(place.segment), *moments, probability, place.study_id)).encode()
    return base64.urlsafe_b64encode(_seal(session, told) + told).decode().rstrip("=")


def decode_cursor(session: Session, query: WorklistQuery) -> PagePosition:
    """Read a place back.

    Raises
    ------
    InvalidCursorError
        If the cursor is not one that this worklist gave for this order.
    """
    cursor = query.cursor or ""
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursorError from error
    seal, told = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(session, told)):
        raise InvalidCursorError
    order, segment, as_of, received_at, probability, study_id = told.decode().split(":")
    if order != query.order:
        raise InvalidCursorError
    likely = float(probability) if probability else None
    return PagePosition(int(segment), _moment(as_of), likely, _moment(received_at), study_id)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))


def _seal(session: Session, told: bytes) -> bytes:
    key: bytes = session.info["audit_key"]
    return hmac.new(key, b"worklist\0" + told, hashlib.sha256).digest()[:_SEAL_BYTES]
