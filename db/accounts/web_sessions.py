"""Browser sessions, shared by every web process of a database; only digests of cookies are stored.

A session belongs to an account and to the account's access epoch. Every change of credential, role or status raises
the epoch, so that a session opened before it is refused, even one that was being opened at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from db.accounts.names import PROVIDER_PREFIX
from db.accounts.provider_accounts import ProviderAccount
from db.domain.accounts import Role, UserRecord
from db.engine.session import now
from db.tables.accounts import ProviderAccountRow, UserRow, WebSessionRow

MAX_CLOCK_SKEW = timedelta(minutes=5)
"""The clocks of several webs may differ by so much (as in Kerberos, RFC 4120), and never by more than the idle time."""


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """Result of a sign-in: the account at its access epoch, and the role an identity provider granted."""

    account_id: str
    access_epoch: int
    role: Role | None = None
    """The role that an identity provider gave; None where it is in our own records."""
    role_mapping: str | None = None
    """Digest of the settings by which the provider's claims became that role."""


def user_grant(user: UserRecord) -> SessionGrant:
    """Return the grant of a user who signed in with a password."""
    return SessionGrant(user.id, user.access_epoch)


def provider_grant(account: ProviderAccount, role: Role, role_mapping: str) -> SessionGrant:
    """Return the grant of an identity provider's account."""
    return SessionGrant(account.id, account.access_epoch, role, role_mapping)


@dataclass(frozen=True, slots=True)
class WebSession:
    """One signed-in browser."""

    actor: str
    """Name in the audit trail and in records."""
    display_name: str
    role: Role
    role_mapping: str | None
    opened_at: datetime
    last_seen_at: datetime


def open_session(session: Session, digest: str, grant: SessionGrant, *, limit: int) -> None:
    """Add a session; beyond ``limit``, the least recently used ones end."""
    moment = now(session)
    session.execute(
        insert(WebSessionRow).values(
            digest=digest,
            account_id=grant.account_id,
            access_epoch=grant.access_epoch,
            role=grant.role,
            role_mapping=grant.role_mapping,
            opened_at=moment,
            last_seen_at=moment,
        )
    )
    surplus = select(WebSessionRow.digest).order_by(WebSessionRow.last_seen_at.desc(), WebSessionRow.digest)
    session.execute(delete(WebSessionRow).where(WebSessionRow.digest.in_(surplus.offset(limit).scalar_subquery())))


def live_session(session: Session, digest: str, *, idle: timedelta, lifetime: timedelta) -> WebSession | None:
    """Return the session unless it ended by idle time, age or a change of its account; else None.

    A session opened or last seen in the future has ended too: a clock ran ahead, so its age is unknown.
    """
    row = session.get(WebSessionRow, digest)
    moment = now(session)
    latest = moment + min(MAX_CLOCK_SKEW, idle)
    if row is None or not (
        moment - idle <= row.last_seen_at <= latest and moment - lifetime <= row.opened_at <= latest
    ):
        return None
    return _of_user(session, row) if row.role is None else _of_provider_account(session, row, row.role)


def _of_user(session: Session, row: WebSessionRow) -> WebSession | None:
    user = session.get(UserRow, row.account_id)
    if user is None or user.is_disabled or user.access_epoch != row.access_epoch:
        return None
    return WebSession(user.name, user.name, user.role, None, row.opened_at, row.last_seen_at)


def _of_provider_account(session: Session, row: WebSessionRow, role: Role) -> WebSession | None:
    account = session.get(ProviderAccountRow, row.account_id)
    if account is None or account.is_disabled or account.access_epoch != row.access_epoch:
        return None
    actor = PROVIDER_PREFIX + account.id
    return WebSession(actor, account.display_name, role, row.role_mapping, row.opened_at, row.last_seen_at)


def touch_session(session: Session, digest: str, *, at_most_every: timedelta) -> None:
    """Update the time of last use, at most once per ``at_most_every``."""
    moment = now(session)
    session.execute(
        update(WebSessionRow)
        .where(WebSessionRow.digest == digest, WebSessionRow.last_seen_at < moment - at_most_every)
        .values(last_seen_at=moment)
    )


def close_session(session: Session, digest: str) -> None:
    """End a session; unknown ones are ignored."""
    session.execute(delete(WebSessionRow).where(WebSessionRow.digest == digest))


def close_sessions_of(session: Session, account_id: str) -> int:
    """End all sessions of an account; return their number."""
    digests = session.scalars(
        delete(WebSessionRow).where(WebSessionRow.account_id == account_id).returning(WebSessionRow.digest)
    )
    return len(digests.all())


def close_ended(session: Session, *, idle: timedelta, lifetime: timedelta) -> None:
    """Delete sessions that ended by idle time or age."""
    moment = now(session)
    latest = moment + min(MAX_CLOCK_SKEW, idle)
    is_live = WebSessionRow.last_seen_at.between(moment - idle, latest) & WebSessionRow.opened_at.between(
        moment - lifetime, latest
    )
    session.execute(delete(WebSessionRow).where(~is_live))
