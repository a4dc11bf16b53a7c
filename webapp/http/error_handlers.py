"""Error pages and JSON errors, with a reference id and without a traceback or any value."""

from __future__ import annotations

import math
import secrets
import traceback
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from db.domain.errors import (
    DamagedRecordError,
    DatabaseUnavailableError,
    InvalidRecordError,
    NotYoursError,
    UnknownRecordError,
)
from webapp.http.errors import BusyError, NotSignedInError, TooManyRequestsError, WebError
from webapp.http.messages import english

log = structlog.get_logger(__name__)

TITLES = {
    400: english("Bad request"),
    401: english("Please sign in"),
    403: english("Not permitted"),
    404: english("Page not found"),
    405: english("Not available here"),
    413: english("Too large"),
    415: english("Unsupported file type"),
    422: english("Cannot process this request"),
    429: english("Too many requests"),
    500: english("Something went wrong"),
    503: english("Service unavailable"),
}
MESSAGES = {
    400: english("The request is malformed."),
    404: english("Page not found."),
    405: english("This page does not support this method."),
    413: english("The request exceeds the size limit."),
    415: english("Unsupported content type."),
}

RENAMED = {
    413: "request_entity_too_large",
    414: "request-uri_too_long",
    416: "requested_range_not_satisfiable",
    422: "unprocessable_entity",
}
"""Codes of the statuses whose names Python 3.13 changed (RFC 9110)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Content of an error response."""

    status: int
    code: str
    message: str
    reference: str
    retry_after_s: int | None = None


def wants_html() -> bool:
    """Return whether the caller prefers HTML; programs that accept anything get JSON."""
    accepted = request.accept_mimetypes
    return accepted["text/html"] > accepted["application/json"]


def install(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(WebError, _web_error)
    app.register_error_handler(UnknownRecordError, _unknown_record)
    app.register_error_handler(InvalidRecordError, _invalid_record)
    app.register_error_handler(DamagedRecordError, _damaged_record)
    app.register_error_handler(NotYoursError, _not_yours)
    app.register_error_handler(DatabaseUnavailableError, _database_unavailable)
    app.register_error_handler(OSError, _storage_unavailable)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _unexpected)


def _web_error(error: WebError) -> BaseResponse:
    if isinstance(error, NotSignedInError) and request.method == "GET" and wants_html():
        return redirect(url_for("account.sign_in_page", next=request.full_path.rstrip("?")), 303)
    retry_after_s = math.ceil(error.retry_after_s) if isinstance(error, TooManyRequestsError | BusyError) else None
    return _answer(error.status, error.code, error.message, retry_after_s)


def _unknown_record(error: UnknownRecordError) -> BaseResponse:
    return _answer(404, "not_found", f"{error.kind.capitalize()} not found.")


def _invalid_record(error: InvalidRecordError) -> BaseResponse:
    return _answer(422, "invalid_field", f"The field {error.field} {error.rule}.")


def _damaged_record(error: DamagedRecordError) -> BaseResponse:
    _log(error)
    return _answer(500, "damaged_record", "A stored record is damaged. Give your administrator the reference.")


def _not_yours(_error: NotYoursError) -> BaseResponse:
    return _answer(409, "not_yours", "Only the author can undo this; give your own verdict.")


def _database_unavailable(error: DatabaseUnavailableError) -> BaseResponse:
    _log(error)
    return _answer(503, "unavailable", "Database unavailable; nothing was saved. Try again.", 5)


def _storage_unavailable(error: OSError) -> BaseResponse:
    """Respond to a disk that is full, read-only or gone."""
    _log(error)
    return _answer(503, "unavailable", "Storage unavailable; nothing was saved. Try again.", 5)


def code_of(status: int) -> str:
    """Return the code of an HTTP error: its name in Python 3.11, whichever version runs."""
    return RENAMED.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))


def _http_exception(error: HTTPException) -> BaseResponse:
    status = error.code or 500
    if status < 400:  # the router's redirects
        return error.get_response()
    response = _answer(status, code_of(status), MESSAGES.get(status, HTTPStatus(status).phrase + "."))
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unexpected(error: Exception) -> BaseResponse:
    _log(error)
    return _answer(500, "internal_error", "Internal error. Give your administrator the reference.")


def _log(error: Exception) -> None:
    """Log location and type of an error, never its message, which may hold a value."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    event = {"reference": _reference(), "endpoint": request.endpoint, "error_type": type(error).__name__}
    log.error("request_failed", **event, where=where)


def _reference() -> str:
    if "reference" not in g:
        g.reference = secrets.token_hex(6)
    return str(g.reference)


def _answer(status: int, code: str, message: str, retry_after_s: int | None = None) -> Response:
    failure = Failure(status, code, message, _reference(), retry_after_s)
    response = _page(failure) if wants_html() else _json(failure)
    response.status_code = status
    response.headers["Vary"] = "Accept"
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(failure: Failure) -> Response:
    return jsonify(error={"code": failure.code, "message": failure.message, "reference": failure.reference})


def _page(failure: Failure) -> Response:
    title = TITLES.get(failure.status, english("Request failed"))
    return make_response(render_template("error.html", failure=failure, title=title))
