"""Who asks: nobody in particular on an open loopback, a signed-in person, or a program with a token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from flask import g, request

from db import users
from db.domain import Role
from webapp.services import services
from webapp.sessions import form_token

SESSION_COOKIE = "lungnode_session"
FORM_COOKIE = "lungnode_form"
BACKGROUND_HEADER = "X-Lungnode-Background"
"""Sent by requests that the page makes by itself: they do not keep a session alive."""


class Proof(StrEnum):
    """How the caller proved who it is."""

    OPEN = "open"
    """Sign-in is off: whoever reaches this loopback port."""
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 (a word, not a secret)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``role`` is None where sign-in is off: everything is allowed."""

    name: str
    role: Role | None
    proof: Proof


def identify() -> Principal | None:
    """Return who sent the current request, or None for a stranger."""
    known = services()
    if not known.options.auth_required:
        return Principal("local", None, Proof.OPEN)
    header = request.headers.get("Authorization", "")
    if header:
        return _by_token(header)
    cookie = request.cookies.get(SESSION_COOKIE)
    if not cookie:
        return None
    touch = BACKGROUND_HEADER not in request.headers and request.endpoint != "events.stream"
    return _by_session(cookie, touch=touch)


def _by_session(cookie: str, *, touch: bool) -> Principal | None:
    """Ask the records each time, so that a disabled person is out at once and a new role counts at once."""
    known = services()
    signed_in = known.sessions.find(cookie, touch=touch)
    if signed_in is None:
        return None
    if signed_in.role is not None:
        return Principal(signed_in.name, signed_in.role, Proof.SESSION)
    with known.database.read() as session:
        user = users.user_record(session, name=signed_in.name)
    if user is None or user.is_disabled:
        known.sessions.close(cookie)
        return None
    return Principal(user.name, user.role, Proof.SESSION)


def _by_token(header: str) -> Principal | None:
    scheme, _, plain = header.partition(" ")
    if scheme.lower() != "bearer" or not plain.strip():
        return None
    with services().database.read() as session:
        token = users.check_token(session, plain.strip())
    return Principal(f"token:{token.name}", token.role, Proof.TOKEN) if token else None


def principal() -> Principal:
    """Return the caller of a request that the guard let through."""
    return cast("Principal", g.principal)


def current_form_token() -> str:
    """Token for the forms of this page; empty where no cookie proves anything."""
    cookie = request.cookies.get(SESSION_COOKIE) if services().options.auth_required else None
    return form_token(cookie, services().options.secret_key) if cookie else ""
