"""Sign-in and sign-out."""

from __future__ import annotations

import secrets

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from db.accounts import users
from db.accounts.web_sessions import SessionGrant, user_grant
from db.audit import trail as audit
from db.domain.accounts import UserRecord
from db.domain.audit import AuditEvent
from db.domain.errors import SignInDelayedError
from webapp.accounts.identity import FORM_COOKIE, SESSION_COOKIE, principal
from webapp.endpoints import ANY_QUERY, EVERYONE, SIGNED_IN, endpoint
from webapp.http.addresses import is_own_path
from webapp.http.errors import TooManyRequestsError
from webapp.http.rate_limit import RateClass
from webapp.http.sessions import form_token
from webapp.services.registry import current_services

blueprint = Blueprint("account", __name__)

MAX_NAME = 200
MAX_PASSWORD = 1000
FORM_LIFETIME_S = 3600
REFUSED = "Wrong name or password, or too many attempts. Try again, or wait a few minutes."
"""The same message for every reason, so that it does not reveal which names exist."""


@endpoint(blueprint, "GET", "/sign-in", may=EVERYONE, query=ANY_QUERY)
def sign_in_page() -> BaseResponse:
    """Show the sign-in form."""
    if not current_services().options.auth_required:
        return redirect(url_for("pages.home"), 303)
    return form(200, "")


@endpoint(blueprint, "POST", "/sign-in", may=EVERYONE, query=ANY_QUERY, limit=RateClass.SIGN_INS)
def sign_in() -> BaseResponse:
    """Check name and password and start a session with a fresh cookie."""
    services = current_services()
    if not services.options.auth_required:
        return redirect(url_for("pages.home"), 303)
    user = _checked_user(request.form.get("name", ""), request.form.get("password", ""))
    if user is None:
        return form(401, REFUSED)
    return start_session(redirect(safe_next(request.form.get("next", "")), 303), user_grant(user))


def start_session(response: BaseResponse, grant: SessionGrant) -> BaseResponse:
    """End any session of the browser, and start one with a fresh cookie."""
    services = current_services()
    services.sessions.close(request.cookies.get(SESSION_COOKIE, ""))
    _set_cookie(response, SESSION_COOKIE, services.sessions.open(grant))
    response.delete_cookie(FORM_COOKIE, path="/sign-in")
    return response


@endpoint(blueprint, "POST", "/sign-out", may=SIGNED_IN)
def sign_out() -> BaseResponse:
    """End the session on the server, and delete its cookie."""
    services = current_services()
    services.sessions.close(request.cookies.get(SESSION_COOKIE, ""))
    with services.database.begin() as session:
        audit.append(
            session, AuditEvent("user:signed_out", principal().name, details={"address": request.remote_addr or ""})
        )
    response = redirect(url_for("pages.home"), 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


def safe_next(target: str) -> str:
    """Return the target if it is a path of this site, else the worklist's."""
    return target if is_own_path(target) else url_for("worklist.page")


def _checked_user(name: str, password: str) -> UserRecord | None:
    """Return the user, or None; overlong names and passwords are checked too, so that all take the same time."""
    address = request.remote_addr or ""
    try:
        with current_services().password_slots.take():
            return users.sign_in(current_services().database, name[:MAX_NAME], password[:MAX_PASSWORD], address)
    except SignInDelayedError as delayed:
        raise TooManyRequestsError(delayed.retry_after_s) from None


def form(status: int, message: str) -> Response:
    """Return the sign-in form with an error message."""
    cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
    page = render_template(
        "sign_in.html",
        token=form_token(cookie, current_services().options.secret_key),
        message=message,
        next=safe_next(request.values.get("next", "")),
        provider=current_services().options.oidc,
    )
    response = make_response(page, status)
    _set_cookie(response, FORM_COOKIE, cookie, path="/sign-in", max_age_s=FORM_LIFETIME_S)
    return response


def _set_cookie(
    response: BaseResponse, name: str, value: str, *, path: str = "/", max_age_s: int | None = None
) -> None:
    response.set_cookie(
        name,
        value,
        path=path,
        max_age=max_age_s,
        httponly=True,
        samesite="Lax",
        secure=current_services().options.secure_cookies or request.is_secure,
    )
