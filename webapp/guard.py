"""What every request passes before a view sees it: host, who, what it may, and where it comes from."""

from __future__ import annotations

from flask import Flask, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from webapp import parameters
from webapp.accounts import access
from webapp.accounts.identity import FORM_COOKIE, SESSION_COOKIE, Principal, Proof, identify
from webapp.http.addresses import host_of, is_loopback_name, split
from webapp.http.errors import BadRequestError, ForbiddenError, NotSignedInError
from webapp.http.oversized import TOO_LARGE
from webapp.http.sessions import is_form_token
from webapp.services.registry import current_services

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
UPLOAD_ENDPOINT = "predictions.predict"
UPLOAD_ENDPOINTS = frozenset({UPLOAD_ENDPOINT, "predictions.preview", "stow.store"})
PROBES = frozenset({"health.livez", "health.readyz"})
"""Asked by whatever watches the process, by whatever address it has."""
CROSS_ORIGIN_ENDPOINTS = frozenset({UPLOAD_ENDPOINT, "status.model_status"})
MAX_BODY_BYTES = 64 * 2**10
"""Body of anything but an upload."""


def install(app: Flask) -> None:
    """Make every request of this app pass the guard."""
    app.before_request(guard)
    app.teardown_request(_close_uploads)


def _close_uploads(_: BaseException | None) -> None:
    """Give the temporary files of large uploads back now, not whenever they are collected."""
    request.close()


def guard() -> None:
    """Let the request through or raise."""
    g.principal = None
    endpoint = request.endpoint
    if endpoint not in PROBES:
        _check_host()
    if request.environ.get(TOO_LARGE):
        raise RequestEntityTooLarge
    if endpoint is None or request.method == "OPTIONS":  # no such page or method: the router's own 404 or 405
        return
    if endpoint not in UPLOAD_ENDPOINTS:
        request.max_content_length = MAX_BODY_BYTES
    public = access.may(None, endpoint, request.method)
    has_credentials = bool(request.cookies.get(SESSION_COOKIE) or "Authorization" in request.headers)
    who = identify() if has_credentials or not public else None
    g.principal = who
    if not public:
        _check_access(who, endpoint)
    if request.method not in SAFE_METHODS:
        _check_origin(endpoint, who)
    parameters.check_request(endpoint)


def _check_host() -> None:
    """Refuse names that a rebinding attack would bring: a page elsewhere that made its own name point here."""
    options = current_services().options
    host = host_of(request.host)
    if host in options.allowed_hosts:
        return
    if options.bound_to_loopback:
        if not is_loopback_name(host):
            raise BadRequestError("This service is reached by a loopback address only.", code="host_not_allowed")
    elif options.allowed_hosts:
        raise BadRequestError("This service is not reached by that name.", code="host_not_allowed")


def _check_access(who: Principal | None, endpoint: str) -> None:
    if who is None:
        raise NotSignedInError
    if who.proof is Proof.OPEN and access.is_declared(endpoint, request.method):
        return
    if not access.may(who.role, endpoint, request.method):
        raise ForbiddenError("Your role may not do this.")


def _check_origin(endpoint: str, who: Principal | None) -> None:
    """Refuse what another site made a browser send; programs send no such headers and no cookie."""
    if who is not None and who.proof is Proof.TOKEN:
        return
    if _is_from_elsewhere(endpoint):
        raise ForbiddenError("Requests from other sites are refused.", code="cross_site_request")
    needs_token = who is not None and who.proof is Proof.SESSION
    if (needs_token or endpoint == "account.sign_in" or _has_opaque_origin()) and not _has_form_token(endpoint):
        raise ForbiddenError("The page is out of date; load it again.", code="form_token")


def _is_from_elsewhere(endpoint: str) -> bool:
    """Whether the browser says that another site asks (Fetch Metadata; RFC 6454)."""
    origin = request.headers.get("Origin", "")
    if origin and origin in current_services().options.cors_origins and endpoint in CROSS_ORIGIN_ENDPOINTS:
        return SESSION_COOKIE in request.cookies  # another origin may ask, but never with somebody's session
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin not in {"", "null"} and split(origin).netloc.lower() != request.host.lower()


def _has_opaque_origin() -> bool:
    """Whether the origin says nothing: no-referrer pages send ``null``, and so do sandboxed ones of others."""
    return request.headers.get("Origin") == "null" and "Sec-Fetch-Site" not in request.headers


def _has_form_token(endpoint: str) -> bool:
    cookie = request.cookies.get(FORM_COOKIE if endpoint == "account.sign_in" else SESSION_COOKIE, "")
    token = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    return bool(cookie) and is_form_token(token, cookie, current_services().options.secret_key)
