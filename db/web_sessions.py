"""Sessions of people in browsers, so that any web of this database knows who is signed in; only digests of cookies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from db.domain import Role
from db.session import now
from db.tables_accounts import WebSessionRow


@dataclass(frozen=True, slots=True)
class WebSession:
    """One signed-in browser."""

    name: str
    opened_at: datetime
    last_seen_at: datetime
    role: Role | None = None
    """The role that an identity provider gave; None where it stands in our own records."""


def open_session(session: Session, digest: str, name: str, role: Role | None, *, limit: int) -> None:
    """Add a session; beyond ``limit``, those seen longest ago end."""
    moment = now(session)
    session.execute(
        insert(WebSessionRow).values(digest=digest, name=name, role=role, opened_at=moment, last_seen_at=moment)
    )
    surplus = select(WebSessionRow.digest).order_by(WebSessionRow.last_seen_at.desc(), WebSessionRow.digest)
    session.execute(delete(WebSessionRow).where(WebSessionRow.digest.in_(surplus.offset(limit).scalar_subquery())))


def live_session(session: Session, digest: str, *, idle: timedelta, lifetime: timedelta) -> WebSession | None:
    """Return a session that has not ended by silence or age, or None."""
    row = session.get(WebSessionRow, digest)
    moment = now(session)
    if row is None or moment - row.last_seen_at > idle or moment - row.opened_at > lifetime:
        return None
    return WebSession(row.name, row.opened_at, row.last_seen_at, row.role)


def touch_session(session: Session, digest: str, *, at_most_every: timedelta) -> None:
    """Note that somebody is there, unless that was noted a moment ago."""
    moment = now(session)
    session.execute(
        update(WebSessionRow)
        .where(WebSessionRow.digest == digest, WebSessionRow.last_seen_at < moment - at_most_every)
        .values(last_seen_at=moment)
    )


def close_session(session: Session, digest: str) -> None:
    """End a session; unknown ones are ignored."""
    session.execute(delete(WebSessionRow).where(WebSessionRow.digest == digest))


def close_ended(session: Session, *, idle: timedelta, lifetime: timedelta) -> None:
    """Remove what ended by itself."""
    moment = now(session)
    ended = (WebSessionRow.last_seen_at < moment - idle) | (WebSessionRow.opened_at < moment - lifetime)
    session.execute(delete(WebSessionRow).where(ended))
