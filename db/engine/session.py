"""Session helpers: time, new ids, insert-if-absent, named locks, checked texts and numbers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from db.domain.errors import InvalidRecordError, UnknownRecordError

Record = TypeVar("Record")

KEY_LIMIT = 256
"""Longest identifying text, in characters; DICOM allows 64 (PS3.5 6.2, LO), real senders exceed it."""
TEXT_LIMIT = 10_240
"""Longest descriptive text stored, in characters (PS3.5 6.2, LT)."""


def now(session: Session) -> datetime:
    """Return the current time of the database's clock."""
    clock = session.info.get("clock")
    moment: datetime = clock() if clock is not None else datetime.now(UTC)
    return moment


def new_id() -> str:
    """Return a new opaque id, which identifies no patient and may be logged."""
    return uuid4().hex


def insert_once(session: Session, table: type[DeclarativeBase], values: Mapping[str, Any]) -> bool:
    """Insert a row unless a unique constraint prevents it; return whether it was inserted."""
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    key = next(iter(table.__table__.primary_key))
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(statement).first() is not None


def lock_names(session: Session, *names: str) -> None:
    """Lock ``names``, in this order, until the transaction ends.

    SQLite's write transactions are exclusive already (BEGIN IMMEDIATE).
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    locks = (func.pg_advisory_xact_lock(lock_key(name)) for name in names)
    session.execute(select(*(lock.label(f"lock_{number}") for number, lock in enumerate(locks))))


def lock_key(name: str) -> int:
    """Return the PostgreSQL advisory lock key of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def key_text(field: str, value: str, *, limit: int = KEY_LIMIT) -> str:
    """Return an identifying text without surrounding spaces (PS3.5 6.2), otherwise unchanged.

    Raises
    ------
    InvalidRecordError
        Longer than ``limit``, or with characters that no database text can hold; such a value is never truncated
        or replaced, since two patients might become one.
    """
    value = value.strip(" ")
    if len(value) > limit:
        raise InvalidRecordError(field, f"is longer than {limit} characters")
    if _is_unstorable(value):
        raise InvalidRecordError(field, "holds characters that cannot be stored")
    return value


def free_text(value: str) -> str:
    """Return a descriptive text fit for both databases: NUL and lone surrogates become U+FFFD, overlong text is cut."""
    value = value[:TEXT_LIMIT]
    if _is_unstorable(value):
        value = value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _is_unstorable(value: str) -> bool:
    return "\0" in value or (not value.isascii() and any(0xD800 <= ord(char) <= 0xDFFF for char in value))


def check_share(field: str, value: float | None) -> None:
    """Raise ``InvalidRecordError`` for a probability outside 0..1 or NaN."""
    if value is not None and not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise InvalidRecordError(field, "is not between 0 and 1")


def check_finite(field: str, *values: float | None) -> None:
    """Raise ``InvalidRecordError`` for infinities and NaN, which SQLite would silently store as NULL."""
    if any(value is not None and not math.isfinite(value) for value in values):
        raise InvalidRecordError(field, "is not a finite number")


def checked_json(field: str, values: Mapping[str, object]) -> dict[str, object]:
    """Return a copy of plain JSON values; raise ``InvalidRecordError`` for others, infinities and NaN."""
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRecordError(field, "are not plain JSON values") from error
    return dict(values)


def required(row: Record | None, kind: str) -> Record:
    """Return a row, or raise ``UnknownRecordError`` if there is none."""
    if row is None:
        raise UnknownRecordError(kind)
    return row


def record_of(kind: type[Record], row: object, /, **others: Any) -> Record:
    """Return a record, a dataclass, with the values of a row's attributes of the same names, and ``others``."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**{name: getattr(row, name) for name in names if name not in others}, **others)
