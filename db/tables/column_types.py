"""Column types that read and write the same values on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, DateTime, Enum
from sqlalchemy.types import TypeDecorator

from db.domain.reasons import Reason

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time with microseconds on both databases. Naive values are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, without zone for SQLite, whose text then sorts by time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to an aware UTC datetime."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Reasons(TypeDecorator[tuple[Reason, ...]]):
    """Reasons as a JSON list of ``{"code", "text"}``."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[Reason, ...] | None, dialect: Dialect) -> Any:
        """Convert to plain JSON values."""
        return [{"code": reason.code, "text": reason.text} for reason in value or ()]

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[Reason, ...]:
        """Convert to reasons."""
        return tuple(Reason(code=entry["code"], text=entry["text"]) for entry in value or ())


class Names(TypeDecorator[tuple[str, ...]]):
    """A tuple of strings as a JSON list."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> Any:
        """Convert to a list."""
        return list(value or ())

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...]:
        """Convert to a tuple."""
        return tuple(value or ())


def words(kind: type[StrEnum], name: str) -> Enum:
    """Return the column type of an enumeration, with a check constraint called ``name``."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=16,
        name=name,
        values_callable=lambda members: [member.value for member in members],
    )
