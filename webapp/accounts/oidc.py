"""Sign-in with OpenID Connect: authorization code flow with PKCE.

Authlib stores state, nonce and verifier in a signed cookie of this sign-in, and checks the ID token: signature, issuer,
audience, times, nonce. The role is taken from a claim, by the settings; accounts without a role are refused. Authlib is
imported where a provider is configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from flask import Blueprint, Flask, current_app, redirect, request, session, url_for
from werkzeug.wrappers import Response

from db.accounts.names import ANONYMOUS, display_name
from db.accounts.provider_accounts import record_provider_account
from db.accounts.web_sessions import provider_grant
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.audit import AuditEvent
from webapp.accounts.account import form, safe_next, start_session
from webapp.endpoints import ANY_QUERY, EVERYONE, endpoint
from webapp.http.errors import NotFoundError, UnavailableError
from webapp.http.rate_limit import RateClass
from webapp.options import OidcProvider
from webapp.services.registry import EXTENSION, Services, absolute_url, current_services

blueprint = Blueprint("oidc", __name__, url_prefix="/sign-in/provider")

CLIENT = "lungnode_oidc"
STATE_COOKIE = "lungnode_provider"
TIMEOUT_S = 10
MAX_SUBJECT = 255
"""OpenID Connect Core 1.0, 2: ``sub`` has at most 255 ASCII characters."""
MAX_ROLE_VALUES = 5000
"""Some directories list a thousand groups for an account."""
DISPLAY_CLAIMS = ("name", "preferred_username", "email")
NAMELESS = "?"
"""Display name of an account without a printable name."""
REFUSED = "Your organisation's sign-in was not completed, or it gives you no role here. Ask your administrator."


def install(app: Flask) -> None:
    """Register the configured provider; its metadata are fetched at the first sign-in."""
    options = cast("Services", app.extensions[EXTENSION]).options
    if options.oidc is None:
        return
    from authlib.integrations.flask_client import OAuth

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


def _provider_errors() -> tuple[type[Exception], ...]:
    """Return what is raised for an unreachable provider, and for a malformed response of one."""
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError
    from requests import RequestException

    malformed = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
    return (RequestException, AuthlibBaseError, JoseError, *malformed)


def _configured() -> tuple[OidcProvider, Any]:
    provider = current_services().options.oidc
    if provider is None:
        raise NotFoundError("No identity provider is configured.")
    return provider, current_app.extensions[CLIENT]


@endpoint(blueprint, "GET", "/", may=EVERYONE, query=ANY_QUERY, limit=RateClass.SIGN_INS)
def start() -> Response:
    """Redirect the browser to the provider."""
    _, client = _configured()
    session.clear()
    session["next"] = safe_next(request.args.get("next", ""))
    try:
        return cast("Response", client.authorize_redirect(absolute_url(url_for("oidc.callback"))))
    except _provider_errors():
        raise UnavailableError("The identity provider is unreachable.") from None


@endpoint(blueprint, "GET", "/callback", may=EVERYONE, query=ANY_QUERY, limit=RateClass.SIGN_INS)
def callback() -> Response:
    """Complete the sign-in after the provider's redirect, and start a session with a fresh cookie."""
    provider, client = _configured()
    target = safe_next(str(session.pop("next", "")))
    try:
        claims = client.authorize_access_token().get("userinfo") or {}
        if not isinstance(claims, Mapping):
            return _refuse("provider")
    except _provider_errors():
        return _refuse("provider")
    finally:
        session.clear()
    person = identity_of(claims)
    if person is None:
        return _refuse("subject")
    role = role_of(claims, provider)
    if role is None:
        return _refuse("role")
    with current_services().database.begin() as records:
        account = record_provider_account(records, person.issuer, person.subject, person.display_name)
        if not account.is_disabled:
            details: dict[str, object] = {"by": "oidc", "role": role.value, "display_name": person.display_name}
            details["address"] = request.remote_addr or ""
            audit.append(records, AuditEvent("user:signed_in", account.actor, account.id, details=details))
    if account.is_disabled:
        return _refuse("disabled")
    return start_session(redirect(target, 303), provider_grant(account, role, provider.role_mapping_digest))


@dataclass(frozen=True, slots=True)
class ProviderIdentity:
    """Identity from an ID token: issuer and subject, which never change, and a display name."""

    issuer: str
    subject: str
    display_name: str


def identity_of(claims: Mapping[str, Any]) -> ProviderIdentity | None:
    """Return the identity in the claims, or None if incomplete (OpenID Connect Core 1.0, 2 and 5.7).

    Parameters
    ----------
    claims
        Of a validated ID token. Names and e-mail addresses in it may change or be reused: they are only displayed.
    """
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not isinstance(issuer, str) or not isinstance(subject, str):
        return None
    if not subject or len(subject) > MAX_SUBJECT or not (subject.isascii() and subject.isprintable()):
        return None
    given = (claims.get(claim) for claim in DISPLAY_CLAIMS)
    shown = (display_name(value) for value in given if isinstance(value, str))
    return ProviderIdentity(issuer, subject, next(filter(None, shown), NAMELESS))


def role_of(claims: Mapping[str, Any], provider: OidcProvider) -> Role | None:
    """Return the first configured role whose value is in the claim, a string or a list of strings."""
    claim = claims.get(provider.role_claim)
    values = [claim] if isinstance(claim, str) else claim
    if not isinstance(values, list) or len(values) > MAX_ROLE_VALUES:
        return None
    if not all(isinstance(value, str) for value in values):
        return None
    return next((role for value, role in provider.roles.items() if value in values), None)


def _refuse(why: str) -> Response:
    with current_services().database.begin() as records:
        details: dict[str, object] = {"why": why, "by": "oidc", "address": request.remote_addr or ""}
        audit.append(records, AuditEvent("user:refused", ANONYMOUS, "", "failure", details))
    return form(403, REFUSED)
