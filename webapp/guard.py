"""Checks of every request before its view: host, caller, permission, origin, parameters and rate."""

from __future__ import annotations

from flask import Flask, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from webapp import endpoints, parameters
from webapp.accounts.identity import FORM_COOKIE, SESSION_COOKIE, Principal, Proof, identify
from webapp.endpoints import EVERYONE, Endpoint
from webapp.http.addresses import host_of, is_loopback_name, split
from webapp.http.errors import BadRequestError, ForbiddenError, NotSignedInError
from webapp.http.oversized import TOO_LARGE
from webapp.http.sessions import is_form_token
from webapp.services.registry import current_services

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN = "account.sign_in"
MAX_BODY_BYTES = 64 * 2**10
"""Largest body of requests other than uploads."""


def install(app: Flask) -> None:
    """Register the guard for every request of this app."""
    app.before_request(guard)
    app.teardown_request(_close_uploads)


def _close_uploads(_: BaseException | None) -> None:
    """Close the temporary files of large uploads at once."""
    request.close()


def guard() -> None:
    """Check the request; raise if it is refused."""
    g.principal = None
    endpoint = endpoints.find(request.endpoint, request.method)
    if endpoint is None or not endpoint.is_probe:
        _check_host()
    if request.environ.get(TOO_LARGE):
        raise RequestEntityTooLarge
    if request.endpoint is None or request.method == "OPTIONS":  # unknown page or method: the router's 404 or 405
        return
    if endpoint is None:
        raise ForbiddenError("Your role does not permit this.")
    if not endpoint.is_upload:
        request.max_content_length = MAX_BODY_BYTES
    is_public = endpoint.may is EVERYONE
    has_credentials = bool(request.cookies.get(SESSION_COOKIE) or "Authorization" in request.headers)
    caller = identify() if has_credentials or not is_public else None
    g.principal = caller
    if not is_public:
        _check_access(caller, endpoint)
    if request.method not in SAFE_METHODS:
        _check_origin(endpoint, caller)
    parameters.check_request(endpoint)
    if endpoint.limit is not None:
        current_services().limits[endpoint.limit].take(request.remote_addr or "")


def _check_host() -> None:
    """Refuse unknown host names, as used in DNS rebinding attacks."""
    options = current_services().options
    host = host_of(request.host)
    if host in options.allowed_hosts:
        return
    if options.bound_to_loopback:
        if not is_loopback_name(host):
            raise BadRequestError("This service accepts loopback addresses only.", code="host_not_allowed")
    elif options.allowed_hosts:
        raise BadRequestError("Unknown host name; set LUNGNODE_WEB__PUBLIC_URL.", code="host_not_allowed")


def _check_access(caller: Principal | None, endpoint: Endpoint) -> None:
    if caller is None:
        raise NotSignedInError
    if caller.proof is not Proof.OPEN and not endpoint.permits(caller.role):
        raise ForbiddenError("Your role does not permit this.")


def _check_origin(endpoint: Endpoint, caller: Principal | None) -> None:
    """Refuse cross-site requests of browsers; programs send neither such headers nor cookies."""
    if caller is not None and caller.proof is Proof.TOKEN:
        return
    if _is_cross_site(endpoint):
        raise ForbiddenError("Cross-site requests are refused.", code="cross_site_request")
    needs_token = caller is not None and caller.proof is Proof.SESSION
    if (needs_token or endpoint.name == SIGN_IN or _has_opaque_origin()) and not _has_form_token(endpoint):
        raise ForbiddenError("This page has expired. Reload it.", code="form_token")


def _is_cross_site(endpoint: Endpoint) -> bool:
    """Return whether the request is cross-site (Fetch Metadata; RFC 6454)."""
    origin = request.headers.get("Origin", "")
    if origin and origin in current_services().options.cors_origins and endpoint.is_cross_origin:
        return SESSION_COOKIE in request.cookies  # permitted origins must not use a session
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin not in {"", "null"} and split(origin).netloc.lower() != request.host.lower()


def _has_opaque_origin() -> bool:
    """Return whether the origin is opaque: no-referrer pages send ``null``, and so do sandboxed cross-site ones."""
    return request.headers.get("Origin") == "null" and "Sec-Fetch-Site" not in request.headers


def _has_form_token(endpoint: Endpoint) -> bool:
    cookie = request.cookies.get(FORM_COOKIE if endpoint.name == SIGN_IN else SESSION_COOKIE, "")
    token = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    return bool(cookie) and is_form_token(token, cookie, current_services().options.secret_key)
