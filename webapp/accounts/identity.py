"""Identification of callers by session, by token, or as local user if sign-in is off."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from flask import g, request

from db.accounts import tokens
from db.accounts.names import TOKEN_ACTOR_PREFIX
from db.domain.accounts import Role
from webapp.endpoints import find
from webapp.http.sessions import form_token
from webapp.services.registry import Services, current_services

SESSION_COOKIE = "lungnode_session"
FORM_COOKIE = "lungnode_form"
BACKGROUND_HEADER = "X-Lungnode-Background"
"""Sent by automatic requests of a page, which do not extend a session."""


class Proof(StrEnum):
    """Means of authentication."""

    OPEN = "open"
    """Sign-in is off: any caller of this loopback port."""
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 (a word, not a secret)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. ``role`` is None if sign-in is off: everything is allowed."""

    name: str
    """The actor in the audit trail and in records."""
    role: Role | None
    proof: Proof
    display_name: str = ""
    """Name to display; for identity provider accounts it does not identify the person."""


def identify() -> Principal | None:
    """Return the caller of the current request, or None if not signed in."""
    endpoint = find(request.endpoint, request.method)
    touch = BACKGROUND_HEADER not in request.headers and not (endpoint and endpoint.is_background)
    return _identified(current_services(), _credentials(), touch=touch)


def access_check() -> Callable[[], bool]:
    """Return a function that checks whether the caller still has access; it works after the request.

    For streamed responses: it queries the database each time, so that ended sessions and revoked tokens are detected.
    """
    services, credentials, caller = current_services(), _credentials(), principal()

    def has_access() -> bool:
        now = _identified(services, credentials, touch=False)
        return now is not None and (now.name, now.role) == (caller.name, caller.role)

    return has_access


@dataclass(frozen=True, slots=True)
class _Credentials:
    """Credentials of a request."""

    authorization: str
    cookie: str


def _credentials() -> _Credentials:
    return _Credentials(request.headers.get("Authorization", ""), request.cookies.get(SESSION_COOKIE, ""))


def _identified(services: Services, credentials: _Credentials, *, touch: bool) -> Principal | None:
    if not services.options.auth_required:
        return Principal("local", None, Proof.OPEN)
    if credentials.authorization:
        return _by_token(services, credentials.authorization)
    return _by_session(services, credentials.cookie, touch=touch) if credentials.cookie else None


def _by_session(services: Services, cookie: str, *, touch: bool) -> Principal | None:
    """Identify by session, read from the database each time so that account changes apply at once."""
    signed_in = services.sessions.find(cookie, touch=touch)
    if signed_in is None:
        return None
    if signed_in.role_mapping is not None and not _is_current_mapping(services, signed_in.role_mapping):
        return None
    return Principal(signed_in.actor, signed_in.role, Proof.SESSION, signed_in.display_name)


def _is_current_mapping(services: Services, role_mapping: str) -> bool:
    provider = services.options.oidc
    return provider is not None and hmac.compare_digest(role_mapping, provider.role_mapping_digest)


def _by_token(services: Services, header: str) -> Principal | None:
    scheme, _, plain = header.partition(" ")
    if scheme.lower() != "bearer" or not plain.strip():
        return None
    with services.database.read() as session:
        token = tokens.check_token(session, plain.strip())
    if token is None:
        return None
    actor = f"{TOKEN_ACTOR_PREFIX}{token.name}"
    return Principal(actor, token.role, Proof.TOKEN, actor)


def principal() -> Principal:
    """Return the caller of a request that the guard let through."""
    return cast("Principal", g.principal)


def current_form_token() -> str:
    """Return the CSRF token for forms of this page; empty without a session."""
    cookie = request.cookies.get(SESSION_COOKIE) if current_services().options.auth_required else None
    return form_token(cookie, current_services().options.secret_key) if cookie else ""
