"""Browser sessions, stored in the database and shared by all web processes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from db.accounts import web_sessions
from db.accounts.web_sessions import SessionGrant, WebSession
from db.database import Database
from db.engine.session import now

MAX_SESSIONS = 10_000
TOUCHES = 30
"""Updates of a session's last use per idle timeout."""


def form_token(cookie: str, key: bytes) -> str:
    """Return the CSRF token of a cookie (OWASP: HMAC-based token pattern)."""
    return hmac.new(key, b"form:" + cookie.encode(), hashlib.sha256).hexdigest()


def is_form_token(token: str, cookie: str, key: bytes) -> bool:
    """Return whether ``token`` belongs to ``cookie``, compared in constant time."""
    return hmac.compare_digest(form_token(cookie, key).encode(), token.encode())


class SessionStore:
    """Sessions by the digest of their cookie; idle and old ones expire."""

    def __init__(self, database: Database, idle_s: float, lifetime_s: float) -> None:
        self._database = database
        self._idle, self._lifetime = timedelta(seconds=idle_s), timedelta(seconds=lifetime_s)

    def open(self, grant: SessionGrant) -> str:
        """Start a session and return its new cookie."""
        cookie = secrets.token_urlsafe(32)
        with self._database.begin() as session:
            web_sessions.close_ended(session, idle=self._idle, lifetime=self._lifetime)
            web_sessions.open_session(session, _digest(cookie), grant, limit=MAX_SESSIONS)
        return cookie

    def find(self, cookie: str, *, touch: bool = True) -> WebSession | None:
        """Return the live session of a cookie; ``touch=False`` for automatic requests."""
        with self._database.read() as session:
            web_session = web_sessions.live_session(session, _digest(cookie), idle=self._idle, lifetime=self._lifetime)
            is_stale = web_session is not None and now(session) - web_session.last_seen_at > self._idle / TOUCHES
        if touch and is_stale:
            with self._database.begin() as session:
                web_sessions.touch_session(session, _digest(cookie), at_most_every=self._idle / TOUCHES)
        return web_session

    def close(self, cookie: str) -> None:
        """End a session; unknown cookies are ignored."""
        if not cookie:
            return
        with self._database.begin() as session:
            web_sessions.close_session(session, _digest(cookie))


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
