"""What the web answers when it does not answer.

    WebError
    ├── BadRequestError         400
    ├── NotSignedInError        401
    ├── ForbiddenError          403
    ├── NotFoundError           404
    ├── NotAcceptableError      406
    ├── ConflictError           409
    ├── UploadRefusedError      400, 413, 415, 422
    ├── TooManyRequestsError    429
    ├── BusyError               503
    └── UnavailableError        503

Messages hold no value that came with the request or out of a dataset.
"""

from __future__ import annotations

from webapp.http.i18n import english


class WebError(Exception):
    """A refusal with an HTTP status, a stable code and a sentence for people."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code


class BadRequestError(WebError):
    """The request is not understood."""

    status = 400
    code = "bad_request"


class NotSignedInError(WebError):
    """Nobody is signed in, or the token is not known."""

    status = 401
    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__(english("Sign in, or send a valid token, to see this."))


class ForbiddenError(WebError):
    """The caller may not do this."""

    status = 403
    code = "forbidden"


class NotFoundError(WebError):
    """There is no such thing here."""

    status = 404
    code = "not_found"


class NotAcceptableError(WebError):
    """The caller takes nothing that could be sent."""

    status = 406
    code = "not_acceptable"

    def __init__(self, offered: str) -> None:
        super().__init__(f"This can be sent as {offered}; the Accept header asks for something else.")


class ConflictError(WebError):
    """The thing is not in a state that allows this."""

    status = 409
    code = "conflict"


class UploadRefusedError(WebError):
    """An upload that is not answered; ``status`` says which kind of refusal."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class TooManyRequestsError(WebError):
    """The caller asks too often, or too much is being computed; try again after ``retry_after_s``."""

    status = 429
    code = "too_many_requests"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(english("Too many requests; try again in a moment."))
        self.retry_after_s = retry_after_s


class BusyError(WebError):
    """Too much is being computed; try again after ``retry_after_s``."""

    status = 503
    code = "busy"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(english("The service is busy; try again in a moment."))
        self.retry_after_s = retry_after_s


class UnavailableError(WebError):
    """Something that the answer needs does not work just now."""

    status = 503
    code = "unavailable"
