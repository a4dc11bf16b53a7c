"""Waitress channel that answers oversized and malformed requests in the app's error format.

A body above the limit is not read into memory. The app responds at once, and the rest of the body is read and dropped:
a client that sends everything before it reads would otherwise lose the response to a reset (RFC 9112 9.6).
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import RequestEntityTooLarge

from webapp.http.strict_http import check_framing

TOO_LARGE = "lungnode.body_too_large"
"""WSGI environment key of a request whose body was dropped."""
DRAIN_S = 300.0
"""Longest time for which the rest of a body is read; a client silent for ``CHANNEL_TIMEOUT_S`` is closed earlier."""
DRAIN_BYTES = 2**16
MESSAGES = {
    400: ("bad_request", "The request is malformed."),
    431: ("header_too_large", "The request header is too large."),
    500: ("internal_error", "Internal error."),
    501: ("not_implemented", "This transfer encoding is not supported."),
}


class BoundedParser(HTTPRequestParser):
    """Request parser that completes a request with an oversized body without it."""

    error: Any
    body_rcv: Any
    is_too_large = False
    on_too_large: Callable[[], None] | None = None

    def parse_header(self, header_plus: bytes) -> None:
        """Parse an unambiguous header; others are answered with 400, and the connection is closed."""
        check_framing(header_plus)
        super().parse_header(header_plus)

    def received(self, data: bytes) -> int:
        """Process received bytes; return how many of them belong to this request."""
        consumed = int(super().received(data))
        if not isinstance(self.error, RequestEntityTooLarge):
            return consumed
        self.error = None
        self.is_too_large = self.connection_close = True
        self.expect_continue = False  # no 100 Continue
        self.headers["CONNECTION"], self.headers["CONTENT_LENGTH"] = "close", "0"
        if self.body_rcv is not None:
            self.body_rcv.getbuf().close()
            self.body_rcv = None
        if self.on_too_large is not None:
            self.on_too_large()
        return len(data)


class BoundedTask(WSGITask):
    """WSGI task that marks requests with a dropped body."""

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment."""
        environ: dict[str, Any] = super().get_environment()
        if self.request.is_too_large:
            environ[TOO_LARGE] = True
        return environ


class JsonErrorTask(ErrorTask):
    """Task that answers malformed requests in the app's JSON error format."""

    def execute(self) -> None:
        """Write the response."""
        error = self.request.error
        code, message = MESSAGES.get(error.code, MESSAGES[400])
        body = json.dumps({"error": {"code": code, "message": message, "reference": secrets.token_hex(6)}}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class DrainingChannel(HTTPChannel):
    """Connection that drops the rest of an oversized body until the client has its response."""

    task_class = BoundedTask
    error_task_class = JsonErrorTask
    will_close: bool
    close_when_flushed: bool
    _drain_until: float | None = None
    _is_answered = False

    def parser_class(self, adj: Any) -> BoundedParser:
        """Return the parser of the next request."""
        parser = BoundedParser(adj)
        parser.on_too_large = self._drain
        return parser

    def _drain(self) -> None:
        self._drain_until = time.monotonic() + DRAIN_S

    def readable(self) -> bool:
        """Return whether to wait for bytes."""
        return True if self._drain_until is not None else bool(super().readable())

    def handle_read(self) -> None:
        """Read the available bytes."""
        if self._drain_until is None:
            super().handle_read()
            return
        try:
            dropped = self.recv(DRAIN_BYTES)  # closes where the client has
        except OSError:
            self.handle_close()
            return
        if dropped:
            self.last_activity = time.time()
            self.will_close = self.will_close or time.monotonic() > self._drain_until

    def writable(self) -> bool:
        """Return whether to wait until bytes can be sent or the connection closed."""
        if self._is_answered:
            return bool(self.will_close)
        return bool(super().writable())

    def handle_write(self) -> None:
        """Send pending bytes; after the response to an oversized body, only the sending side is closed."""
        is_last = self._drain_until is not None and self.close_when_flushed and not self.will_close
        if not is_last:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self.close_when_flushed, self._is_answered = False, True
            self._end_sending()

    def _end_sending(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()
