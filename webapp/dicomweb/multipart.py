"""Streamed multipart/related responses (RFC 2387)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flask import Response

from webapp.accounts.identity import access_check
from webapp.ports import Pieces

ACCESS_CHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its content is read when it is sent."""

    content_type: str
    location: str
    size_bytes: int
    pieces: Pieces


def multipart(parts: Iterable[Part], media_type: str) -> Response:
    """Return a response that streams parts of one media type."""
    boundary = secrets.token_hex(16)
    content_type = f'multipart/related; type="{media_type}"; boundary={boundary}'
    return Response(_Body(parts, boundary, access_check()), content_type=content_type)


class _Body:
    """Iterator of the body's bytes. The server closes it on disconnect, and with it the file being read."""

    def __init__(self, parts: Iterable[Part], boundary: str, has_access: Callable[[], bool]) -> None:
        self._has_access = has_access
        self._checked_at = time.monotonic()
        self._parts = iter(parts)
        self._boundary = boundary
        self._open: Pieces | None = None
        self._lines = self._follow()

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        """Close the part being sent."""
        if self._open is not None:
            self._open.close()

    def _has_lost_access(self) -> bool:
        """Return whether the caller's session or token has ended; checked every few seconds."""
        if time.monotonic() - self._checked_at < ACCESS_CHECK_S:
            return False
        self._checked_at = time.monotonic()
        return not self._has_access()

    def _follow(self) -> Iterator[bytes]:
        for part in self._parts:
            self._open = part.pieces
            if self._has_lost_access():
                self._open.close()
                return  # without the closing boundary: the response is incomplete
            yield (
                f"--{self._boundary}\r\nContent-Type: {part.content_type}\r\nContent-Length: {part.size_bytes}\r\n"
                f"Content-Location: {part.location}\r\n\r\n"
            ).encode()
            yield from part.pieces
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()
