"""Delays between sign-in attempts per typed name and client network, whether or not the name exists.

An attempt counts as failed until its password is verified, so that concurrent attempts all count. Attempts from another
network or for another name are not delayed, so an account cannot be locked out by others.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.accounts.names import name_key
from db.engine.session import insert_once, lock_names, now
from db.tables.accounts import SignInAttemptRow

FREE_ATTEMPTS = 5
"""Wrong passwords in a row before the first delay."""
FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)
"""Bounds guessing to some 300 passwords a day for a name and network (NIST SP 800-63B 5.2.2 asks for a limit)."""
REMEMBERED = timedelta(days=1)
MAX_ROWS = 20_000
IPV6_CLIENT_BITS = 64
"""A client has all addresses of a /64 (RFC 6177, RFC 8981)."""


def attempt_key(name: str, address: str) -> str:
    """Return the digest of a typed name and the network it came from."""
    return hashlib.sha256(f"{name_key(name)}\0{client_network(address)}".encode()).hexdigest()


def client_network(address: str) -> str:
    """Return the network of a client: its IPv4 address, or the /64 of its IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> IPV6_CLIENT_BITS << IPV6_CLIENT_BITS))
    return str(parsed)


def begin_attempt(session: Session, key: str) -> float:
    """Count an attempt as failed until ``end_attempt``; return the seconds to wait, 0.0 if it may proceed."""
    moment = now(session)
    lock_names(session, f"sign-in {key}")
    row = session.get(SignInAttemptRow, key, populate_existing=True)
    if row is not None and moment - row.attempted_at > REMEMBERED:
        row.attempts, row.blocked_until = 0, None
    if row is None:
        values = {"key": key, "attempts": 0, "attempted_at": moment, "blocked_until": None}
        insert_once(session, SignInAttemptRow, values)
        row = session.get_one(SignInAttemptRow, key, populate_existing=True)
        _prune(session)
    if row.blocked_until is not None and row.attempted_at > moment:  # noted by a clock that ran ahead
        row.attempted_at, row.blocked_until = moment, min(row.blocked_until, moment + _delay(row.attempts))
    if row.blocked_until is not None and row.blocked_until > moment:
        session.flush()
        return (row.blocked_until - moment).total_seconds()
    row.attempts, row.attempted_at = row.attempts + 1, moment
    row.blocked_until = moment + _delay(row.attempts) if row.attempts >= FREE_ATTEMPTS else None
    session.flush()
    return 0.0


def end_attempt(session: Session, key: str) -> None:
    """Delete the attempts of this name and network after a correct password."""
    session.execute(delete(SignInAttemptRow).where(SignInAttemptRow.key == key))


def _delay(attempts: int) -> timedelta:
    return min(FIRST_DELAY * 2 ** min(attempts - FREE_ATTEMPTS, 10), LONGEST_DELAY)


def _prune(session: Session) -> None:
    moment = now(session)
    is_recent = SignInAttemptRow.attempted_at.between(moment - REMEMBERED, moment + REMEMBERED)
    session.execute(delete(SignInAttemptRow).where(~is_recent))
    newest = select(SignInAttemptRow.key).order_by(SignInAttemptRow.attempted_at.desc(), SignInAttemptRow.key)
    session.execute(delete(SignInAttemptRow).where(SignInAttemptRow.key.in_(newest.offset(MAX_ROWS).scalar_subquery())))
