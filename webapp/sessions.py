"""Who is signed in: sessions live in this process, so that signing out and restarting really end them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from db.domain import Role

MAX_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class WebSession:
    """One signed-in browser."""

    name: str
    opened: float
    last_seen: float
    role: Role | None = None
    """The role that an identity provider gave; None where it stands in our own records."""


def form_token(cookie: str, key: bytes) -> str:
    """Token that proves that a form came from a page of this cookie's owner (OWASP: HMAC-based token pattern)."""
    return hmac.new(key, b"form:" + cookie.encode(), hashlib.sha256).hexdigest()


def is_form_token(token: str, cookie: str, key: bytes) -> bool:
    """Whether ``token`` belongs to ``cookie``; constant time."""
    return hmac.compare_digest(form_token(cookie, key).encode(), token.encode())


class SessionStore:
    """Sessions by the digest of their cookie; idle ones and old ones end by themselves."""

    def __init__(self, idle_s: float, lifetime_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, WebSession] = OrderedDict()

    def open(self, name: str, role: Role | None = None) -> str:
        """Start a session and return its cookie, a fresh one every time."""
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._sessions[_digest(cookie)] = WebSession(name, opened=now, last_seen=now, role=role)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str, *, touch: bool = True) -> WebSession | None:
        """Return the live session of this cookie; ``touch=False`` for requests that no person made."""
        now = self._clock()
        key = _digest(cookie)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.last_seen > self._idle_s or now - session.opened > self._lifetime_s:
                del self._sessions[key]
                return None
            if touch:
                self._sessions[key] = replace(session, last_seen=now)
                self._sessions.move_to_end(key)
            return session

    def close(self, cookie: str) -> None:
        """End a session; unknown cookies are ignored."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
