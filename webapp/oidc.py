"""Signing in at the organisation's identity provider: OpenID Connect, authorization code flow with PKCE.

Authlib keeps state, nonce and verifier in a signed cookie of this sign-in alone, and checks the identity token:
signature, issuer, audience, times, nonce. The role is taken from a claim, as the settings say; whoever has none of the
roles stays outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Blueprint, Flask, current_app, redirect, request, session, url_for
from joserfc.errors import JoseError
from requests import RequestException
from werkzeug.wrappers import Response

from db import audit
from db.domain import AuditEvent, Role
from webapp.account import form, safe_next, start_session
from webapp.errors import NotFoundError, UnavailableError
from webapp.forms import clean_text
from webapp.options import OidcProvider
from webapp.services import EXTENSION, Services, absolute_url, services

blueprint = Blueprint("oidc", __name__, url_prefix="/sign-in/provider")

CLIENT = "lungnode_oidc"
STATE_COOKIE = "lungnode_provider"
TIMEOUT_S = 10
NOBODY = "anonymous"
MAX_NAME = 64
REFUSED = "Your organisation's sign-in was not completed, or it gives you no role here. Ask your administrator."
UNFIT = (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError)
"""What a provider's answer may break."""


def install(app: Flask) -> None:
    """Know the provider, where the options name one; it is asked for its metadata at the first sign-in."""
    options = cast("Services", app.extensions[EXTENSION]).options
    if options.oidc is None:
        return
    app.secret_key = options.secret_key
    app.config.update(
        SESSION_COOKIE_NAME=STATE_COOKIE,
        SESSION_COOKIE_PATH=blueprint.url_prefix,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=options.secure_cookies,
    )
    oauth = OAuth(app)
    app.extensions[CLIENT] = oauth.register(
        "provider",
        client_id=options.oidc.client_id,
        client_secret=options.oidc.client_secret,
        server_metadata_url=f"{options.oidc.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_S,
        },
    )


def _configured() -> tuple[OidcProvider, Any]:
    provider = services().options.oidc
    if provider is None:
        raise NotFoundError("No identity provider is configured.")
    return provider, current_app.extensions[CLIENT]


@blueprint.get("/")
def start() -> Response:
    """Send the browser to the provider."""
    _, client = _configured()
    services().sign_in_limit.take(request.remote_addr or "")
    session.clear()
    session["next"] = safe_next(request.args.get("next", ""))
    try:
        return cast("Response", client.authorize_redirect(absolute_url(url_for("oidc.callback"))))
    except (RequestException, *UNFIT):
        raise UnavailableError("The identity provider cannot be reached just now.") from None


@blueprint.get("/callback")
def callback() -> Response:
    """Take the browser back from the provider, and start a session with a fresh cookie."""
    provider, client = _configured()
    services().sign_in_limit.take(request.remote_addr or "")
    target = safe_next(str(session.pop("next", "")))
    try:
        claims = client.authorize_access_token().get("userinfo") or {}
    except (RequestException, *UNFIT):
        return _refuse("provider")
    finally:
        session.clear()
    name, role = name_of(claims), role_of(claims, provider)
    if not name or role is None:
        return _refuse("role" if name else "name")
    with services().database.begin() as records:
        audit.append(records, AuditEvent("user:signed_in", name, "", details={"by": "oidc", "role": role.value}))
    return start_session(redirect(target, 303), name, role)


def name_of(claims: Mapping[str, Any]) -> str:
    """Name the person as the trail will; the prefix keeps it apart from the names of people kept here."""
    told = claims.get("preferred_username") or claims.get("email") or claims.get("sub")
    name = clean_text(told)[:MAX_NAME] if isinstance(told, str) else ""
    return f"sso:{name}" if name else ""


def role_of(claims: Mapping[str, Any], provider: OidcProvider) -> Role | None:
    """Give the first role of the settings whose value the claim has."""
    told = claims.get(provider.role_claim)
    held = {told} if isinstance(told, str) else set(told) if isinstance(told, list) else set()
    return next((role for value, role in provider.roles.items() if value in held), None)


def _refuse(why: str) -> Response:
    with services().database.begin() as records:
        audit.append(records, AuditEvent("user:refused", NOBODY, "", "failure", {"why": why, "by": "oidc"}))
    return form(403, REFUSED)
