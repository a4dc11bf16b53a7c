"""Whether PostgreSQL answers: a server that is frozen, or gone behind a silent network, says nothing at all.

Its connections stay open (the kernel of its host still acknowledges), so that neither keepalives nor timeouts of TCP
end a wait, and a server that is stopped cannot time its own statements. A statement that is merely slow looks the same
from here. So whoever has waited for a while asks by a connection of its own whether anybody is there, and goes on
waiting, however long, only where somebody is. What one thread found out counts for all of its process: while the server
is silent one of them asks, and the others are told at once that it is away.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from threading import Lock
from typing import Any, Self, TypeVar

import psycopg

T = TypeVar("T")

PATIENCE_S = 3.0
"""Silence after which somebody asks."""
ANSWER_S = 3
"""Time within which a server that is there takes a connection, whole seconds, 2 at least."""
CONNECT_S = 5
"""The same for a connection that is wanted, where the URL says nothing else (``connect_timeout``)."""
AGAIN_S = 1.0
"""How long what was found out counts."""
_SILENT = "the server does not answer"


class ServerProbe:
    """What a process knows of one server; threads share it."""

    def __init__(self) -> None:
        self.is_silent = False
        self._lock = Lock()
        self._asked_s = 0.0

    def answers(self, parameters: dict[str, Any]) -> bool:
        """Tell whether somebody is there; asks, unless another thread has just done so or does while nobody is."""
        if not self._lock.acquire(blocking=not self.is_silent):
            return False
        try:
            if time.monotonic() - self._asked_s >= AGAIN_S:
                self.is_silent = not _is_there(parameters)
                self._asked_s = time.monotonic()
            return not self.is_silent
        finally:
            self._lock.release()


def _is_there(parameters: dict[str, Any]) -> bool:
    """Whether a connection is taken, or refused in words: a server with too many of them is there."""
    try:
        psycopg.Connection.connect(**{**parameters, "connect_timeout": ANSWER_S}).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error as error:
        return "FATAL" in str(error)
    return True


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that breaks, instead of waiting for ever, once the server does not answer any more."""

    pulse: ServerProbe
    parameters: dict[str, Any]

    @classmethod
    def watched(cls, pulse: ServerProbe, parameters: dict[str, Any]) -> Self:
        """Connect with ``parameters`` of ``psycopg.connect``.

        Raises
        ------
        psycopg.OperationalError
            Nobody is there, or it was said just now that nobody is.
        """
        if pulse.is_silent and not pulse.answers(parameters):
            raise psycopg.OperationalError(_SILENT)
        try:
            made = cls.connect(**{"connect_timeout": CONNECT_S, **parameters})
        except psycopg.errors.ConnectionTimeout:
            pulse.is_silent = True
            raise
        made.pulse, made.parameters = pulse, parameters
        return made

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **more: Any) -> T:
        """Wait for an answer as the library does; ``gen`` is resumed every tenth of a second, with 0 for no news."""
        return super().wait(self._watching(gen), *arguments, **more)

    def _watching(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            silent_since = time.monotonic()
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    silent_since = now
                elif self.pulse.is_silent or now - silent_since >= PATIENCE_S:
                    if not self.pulse.answers(self.parameters):
                        self.pgconn.finish()
                        raise psycopg.OperationalError(_SILENT)
                    silent_since = now
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: T = done.value
            return answer
