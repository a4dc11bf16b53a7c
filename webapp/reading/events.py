"""Server-sent events: version number of the worklist, without content.

A stream holds one thread of the server, so only a share of the threads may stream, each for about a minute. If all are
taken, a client gets the current version and a retry time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request

from webapp.accounts.identity import access_check
from webapp.endpoints import EVENTS, READ_CLINICAL, endpoint
from webapp.services.registry import Services, current_services

blueprint = Blueprint("events", __name__)

RETRY_MS = 2_000
BUSY_RETRY_MS = 5_000
KEEP_ALIVE_S = 10.0
HAS_GONE = "waitress.client_disconnected"
"""WSGI environment key of waitress' function that returns whether the client disconnected."""


@endpoint(blueprint, "GET", "/events", may=READ_CLINICAL, answers={200: EVENTS}, is_background=True)
def stream() -> Response:
    """Server-sent events: the worklist changed."""
    services = current_services()
    version = services.change_feed.version()
    if services.stream_slots.acquire(blocking=False):
        body: Iterator[str] = _Stream(
            services, version, access_check(), request.environ.get(HAS_GONE, _never_disconnected)
        )
    else:
        body = iter((f"retry: {BUSY_RETRY_MS}\n\n", _event(version)))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(body, mimetype="text/event-stream", headers=headers)


def _event(version: int) -> str:
    return f"event: worklist\nid: {version}\ndata: {json.dumps({'version': version})}\n\n"


def _never_disconnected() -> bool:
    return False


class _Stream:
    """An open stream. The server calls ``close`` on disconnect, which frees the slot."""

    def __init__(
        self, services: Services, version: int, has_access: Callable[[], bool], has_gone: Callable[[], bool]
    ) -> None:
        self._services = services
        self._has_access = has_access
        self._has_gone = has_gone
        self._lines = self._follow(version)
        self._is_open = True
        services.metrics.streams.inc()

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def close(self) -> None:
        """Release the slot, once."""
        if self._is_open:
            self._is_open = False
            self._services.metrics.streams.dec()
            self._services.stream_slots.release()

    def _follow(self, version: int) -> Iterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        yield _event(version)
        changes, ends_at = self._services.change_feed, time.monotonic() + self._services.options.stream_s
        sent_at = time.monotonic()
        while time.monotonic() < ends_at and changes.wait() and not self._has_gone() and self._has_access():
            latest = changes.version()
            if latest != version:
                version, sent_at = latest, time.monotonic()
                yield _event(version)
            elif time.monotonic() - sent_at > KEEP_ALIVE_S:
                sent_at = time.monotonic()
                yield ": still here\n\n"
