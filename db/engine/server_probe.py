"""Detection of a PostgreSQL server that is frozen, or unreachable behind a silent network.

Its connections stay open (the kernel of its host still acknowledges), so that neither keepalives nor timeouts of TCP
end a wait, and a stopped server cannot time its own statements. A statement that is merely slow looks the same
from here. So a thread that has waited for a while probes the server by a new connection, and goes on
waiting, however long, only if a probe succeeds. Threads of a process share the outcome: while the server is silent one
of them probes, and the others fail at once.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from threading import Lock
from typing import Any, Self, TypeVar

import psycopg

T = TypeVar("T")

PATIENCE_S = 3.0
"""Seconds of silence before a probe."""
ANSWER_S = 3
"""Connect timeout of a probe, in full seconds, 2 at least."""
CONNECT_S = 5
"""Connect timeout of connections, unless the URL sets ``connect_timeout``."""
AGAIN_S = 1.0
"""Seconds for which an outcome is reused."""
_SILENT = "the server does not answer"


class ServerProbe:
    """Availability of one server, shared by the threads of a process."""

    def __init__(self) -> None:
        self.is_silent = False
        self._lock = Lock()
        self._asked_s = 0.0

    def answers(self, parameters: dict[str, Any]) -> bool:
        """Return whether the server answers; probes unless another thread has just done so or is doing so."""
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
    """Return whether a connection is accepted or refused with an error: a server with too many of them is up."""
    try:
        psycopg.Connection.connect(**{**parameters, "connect_timeout": ANSWER_S}).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error as error:
        return "FATAL" in str(error)
    return True


class WatchedConnection(psycopg.Connection[Any]):
    """Connection that breaks, instead of waiting for ever, once the server stops answering."""

    probe: ServerProbe
    parameters: dict[str, Any]

    @classmethod
    def watched(cls, probe: ServerProbe, parameters: dict[str, Any]) -> Self:
        """Connect with ``parameters`` of ``psycopg.connect``.

        Raises
        ------
        psycopg.OperationalError
            The server does not answer, or did not moments ago.
        """
        if probe.is_silent and not probe.answers(parameters):
            raise psycopg.OperationalError(_SILENT)
        try:
            connection = cls.connect(**{"connect_timeout": CONNECT_S, **parameters})
        except psycopg.errors.ConnectionTimeout:
            probe.is_silent = True
            raise
        connection.probe, connection.parameters = probe, parameters
        return connection

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **more: Any) -> T:
        """Wait as psycopg does; ``gen`` is resumed every tenth of a second, with 0 if nothing is ready."""
        return super().wait(self._watching(gen), *arguments, **more)

    def _watching(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            awaited = next(gen)
            silent_since = time.monotonic()
            while True:
                ready = yield awaited
                now = time.monotonic()
                if ready:
                    silent_since = now
                elif self.probe.is_silent or now - silent_since >= PATIENCE_S:
                    if not self.probe.answers(self.parameters):
                        self.pgconn.finish()
                        raise psycopg.OperationalError(_SILENT)
                    silent_since = now
                awaited = gen.send(ready)
        except StopIteration as done:
            answer: T = done.value
            return answer
