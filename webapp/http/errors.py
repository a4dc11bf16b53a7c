"""Errors of the web package.

    WebError
    ├── BadRequestError         400
    ├── NotSignedInError        401
    ├── ForbiddenError          403
    ├── NotFoundError           404
    ├── NotAcceptableError      406
    ├── ConflictError           409
    ├── UnfitInputError         400, 404, 413, 415, 422, 500, 503
    ├── TooManyRequestsError    429
    ├── BusyError               503
    └── UnavailableError        503

Messages hold no value that came with the request or out of a dataset. The implementations of ``webapp.ports`` raise
``UnfitInputError``; this module imports no Flask.
"""

from __future__ import annotations

from webapp.http.messages import english


class WebError(Exception):
    """Base of web errors: an HTTP status, a stable code and a message for users."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code


class BadRequestError(WebError):
    """The request is malformed."""

    status = 400
    code = "bad_request"


class NotSignedInError(WebError):
    """The caller is not signed in, or the token is invalid."""

    status = 401
    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__(english("Sign in, or send a valid token."))


class ForbiddenError(WebError):
    """The caller lacks permission."""

    status = 403
    code = "forbidden"


class NotFoundError(WebError):
    """The requested resource does not exist."""

    status = 404
    code = "not_found"


class NotAcceptableError(WebError):
    """No available media type is acceptable."""

    status = 406
    code = "not_acceptable"

    def __init__(self, offered: str) -> None:
        super().__init__(f"Available as {offered}; the Accept header excludes it.")


class ConflictError(WebError):
    """The resource's state does not allow this."""

    status = 409
    code = "conflict"


class UnfitInputError(WebError):
    """The input cannot be processed; ``status`` is the HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class TooManyRequestsError(WebError):
    """Rate limit exceeded; retry after ``retry_after_s``."""

    status = 429
    code = "too_many_requests"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(english("Too many requests; try again in a moment."))
        self.retry_after_s = retry_after_s


class BusyError(WebError):
    """All slots are taken; retry after ``retry_after_s``."""

    status = 503
    code = "busy"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(english("The service is busy; try again in a moment."))
        self.retry_after_s = retry_after_s


class UnavailableError(WebError):
    """A required component is unavailable."""

    status = 503
    code = "unavailable"
