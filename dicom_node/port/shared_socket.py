"""One port shared by several processes: the least loaded accepts next, and each has its share of the limits.

The socket is bound once, by the parent of the processes, so that it stays open whichever of them dies. Their loads are
in shared memory: every process writes its own numbers only, so that nothing has to be locked and a
killed one leaves nothing locked.
"""

from __future__ import annotations

import socket
import time
from ctypes import c_int
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

ACCEPT_DELAY_S = 0.005
"""Seconds that a more loaded process leaves a caller to the others (they may be busy, or stuck)."""
_STEP_S = 0.0005
_BACKLOG = 512
_GONE = -1


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen; IPv4 where a name has both. Port 0 lets the kernel choose.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(addresses, key=lambda entry: entry[0] != socket.AF_INET)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


@dataclass(frozen=True, slots=True)
class Port:
    """A bound port as one process sees it; can be passed to a process that is being spawned.

    Attributes
    ----------
    listening
        The socket.
    number
        Which of the processes this is.
    """

    listening: socket.socket
    number: int
    _open: Any
    """For each process in turn: its pending connections, and its associations."""

    @classmethod
    def shared(cls, host: str, port: int, processes: int = 1) -> Port:
        """Bind a port for a number of processes; return that of the first.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        return cls(bind(host, port), 0, get_context("spawn").RawArray(c_int, [_GONE, 0] * processes))

    def of(self, number: int) -> Port:
        """Return the same port for another process."""
        return replace(self, number=number)

    @property
    def processes(self) -> int:
        """Number of processes that listen, or will."""
        return len(self._open) // 2

    def publish_load(self, *, pending: int | None = None, associations: int | None = None) -> None:
        """Publish how many connections this process has open."""
        if pending is not None:
            self._open[2 * self.number] = pending
        if associations is not None:
            self._open[2 * self.number + 1] = associations

    def leave(self) -> None:
        """Publish that this process has ended; its parent calls it where the process could not."""
        self.publish_load(pending=_GONE, associations=0)

    def share(self, limit: int) -> int:
        """Return this process's share of a limit; at least one."""
        return max(1, limit // self.processes + (self.number < limit % self.processes))

    def may_accept(self, at_most: int) -> int:
        """Return how many connections to accept now: what evens out the load, or one after a short delay."""
        deadline = time.monotonic() + ACCEPT_DELAY_S
        while (deficit := self._deficit(at_most)) < 1 and time.monotonic() < deadline:
            time.sleep(_STEP_S)
        return max(1, min(deficit, at_most))

    def _deficit(self, default: int) -> int:
        """Return how far this process is below the least loaded other, plus one; ``default`` where it is alone."""
        load = self._open[:]
        own = load[2 * self.number] + load[2 * self.number + 1]
        others = [
            load[at] + load[at + 1] for at in range(0, len(load), 2) if load[at] != _GONE and at != 2 * self.number
        ]
        return min(others) - own + 1 if others else default
