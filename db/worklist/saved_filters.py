"""Saved worklist filters of readers."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.worklist import SavedFilter
from db.engine.session import checked_json, free_text, lock_names, new_id, now
from db.tables.accounts import SavedFilterRow

NAME_LIMIT = 60
FILTER_LIMIT = 30
"""Saved filters of one reader."""


def saved_filters(session: Session, owner: str) -> tuple[SavedFilter, ...]:
    """List a reader's filters, oldest first."""
    statement = select(SavedFilterRow).where(SavedFilterRow.owner == owner)
    rows = session.scalars(statement.order_by(SavedFilterRow.created_at, SavedFilterRow.id))
    return tuple(_record(row) for row in rows)


def save_filter(session: Session, owner: str, name: str, query: Mapping[str, str]) -> SavedFilter:
    """Save a filter under a name; an existing filter of this name is overwritten.

    Raises
    ------
    InvalidRecordError
        If the name is empty or too long, or the reader has too many filters.
    """
    name = free_text(name).strip()
    if not 0 < len(name) <= NAME_LIMIT:
        raise InvalidRecordError("name", f"must have 1 to {NAME_LIMIT} characters")
    lock_names(session, f"saved_filters:{owner}")
    mine = select(SavedFilterRow).where(SavedFilterRow.owner == owner)
    row = session.scalars(mine.where(SavedFilterRow.name == name)).one_or_none()
    if row is None:
        if session.scalars(select(func.count()).select_from(mine.subquery())).one() >= FILTER_LIMIT:
            raise InvalidRecordError("name", f"exceeds the limit of {FILTER_LIMIT} saved filters; delete one first")
        row = SavedFilterRow(id=new_id(), owner=owner, name=name, query={}, created_at=now(session))
        session.add(row)
    row.query = checked_json("query", query)
    session.flush()
    return _record(row)


def remove_filter(session: Session, owner: str, filter_id: str) -> None:
    """Delete a filter of this reader.

    Raises
    ------
    UnknownRecordError
        If this reader has no such filter.
    """
    row = session.get(SavedFilterRow, filter_id)
    if row is None or row.owner != owner:
        raise UnknownRecordError("filter")
    session.delete(row)


def _record(row: SavedFilterRow) -> SavedFilter:
    query = {str(name): str(value) for name, value in row.query.items()}
    return SavedFilter(row.id, row.owner, row.name, query, row.created_at)
