"""Parallel decoding: the decoding child forks workers for the length of one request, and works along with them.

Forked, because the codecs for JPEG-LS and RLE keep the interpreter's lock, so that threads would take turns,
and because a fork has everything imported already. The siblings have the child's limits between them, die with it, and
one that dies takes it along: to the parent they are one process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

MEMORY_MB_EACH = 768
"""Minimum share of a process: the largest ordinary slice takes up to 400 besides the 250 that each maps."""
PR_SET_PDEATHSIG = 1
PARENT_POLL_S = 1.0
_TICKETS, _TICKET_BYTES = 4096, 4
"""A pipe holds four times as many."""
_UNREADABLE, _OUT_OF_MEMORY = 3, 4

Item = TypeVar("Item")


class ParallelProcessError(ValueError):
    """A forked process could not do its part."""


def parallel_map(work: Callable[[Iterable[Item]], None], items: Sequence[Item]) -> None:
    """Call ``work`` in several processes, each with items of its own; return values are discarded.

    There are as many as cores that this process may use, at most; where one of them raises, the others stop early.

    Raises
    ------
    MemoryError, ParallelProcessError
        As ``work`` raised in a forked process; what it raises in this one is passed on.
    """
    count = min(_processes(), len(items))
    if count < 2:
        work(items)
        return
    tickets = _ticket_pipe()
    step = -(-len(items) // _TICKETS)
    try:
        with _shared_memory_limit(count):
            own_items = _drawn(tickets, items, step)
            pids = [pid for pid in (_fork(work, own_items, tickets) for _ in range(count - 1)) if pid]
            try:
                work(own_items)
            finally:
                _draw_all(tickets)
                exit_codes = _exit_codes(pids)
    finally:
        os.close(tickets)
    if _OUT_OF_MEMORY in exit_codes:
        raise MemoryError
    if _UNREADABLE in exit_codes:
        raise ParallelProcessError


def _processes() -> int:
    """Return the number of processes: one per core, while each has enough memory."""
    if sys.platform != "linux":
        return 1
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    memory_mb = min(sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in limits) >> 20
    return min(len(os.sched_getaffinity(0)), memory_mb // MEMORY_MB_EACH)


@contextmanager
def _shared_memory_limit(count: int) -> Iterator[None]:
    """Limit the memory of this process and its forks to equal shares."""
    original_limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)}
    try:
        for kind, (soft, hard) in original_limits.items():
            resource.setrlimit(kind, (soft if soft == resource.RLIM_INFINITY else soft // count, hard))
        yield
    finally:
        for kind, limits in original_limits.items():
            resource.setrlimit(kind, limits)


def _ticket_pipe() -> int:
    """Return a pipe that holds each step number once; idle processes draw the next one."""
    tickets, pipe = os.pipe()
    with os.fdopen(pipe, "wb") as file:
        file.write(b"".join(number.to_bytes(_TICKET_BYTES, "little") for number in range(_TICKETS)))
    return tickets


def _drawn(tickets: int, items: Sequence[Item], step: int) -> Iterator[Item]:
    while ticket := os.read(tickets, _TICKET_BYTES):
        at = step * int.from_bytes(ticket, "little")
        yield from items[at : at + step]


def _draw_all(tickets: int) -> None:
    """Draw all remaining tickets."""
    while os.read(tickets, _TICKETS * _TICKET_BYTES):
        pass


def _fork(work: Callable[[Iterable[Item]], None], own_items: Iterator[Item], tickets: int) -> int:
    """Fork a worker and return its process id; 0 where no process can be created."""
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid:
        return pid
    status = 1
    try:
        die_with_parent(parent)
        work(own_items)
        status = 0
    except MemoryError:
        status = _OUT_OF_MEMORY
    except Exception:  # noqa: BLE001 - a parser of untrusted files raises anything; its message may hold values
        status = _UNREADABLE
    finally:
        try:
            _draw_all(tickets)
        finally:
            os._exit(status)


def _exit_codes(pids: Sequence[int]) -> set[int]:
    """Wait for all workers; where one has died, end as it did, so that the parent sees it."""
    exit_codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
    if exit_codes - {0, _UNREADABLE, _OUT_OF_MEMORY}:
        os._exit(1)
    return exit_codes


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch_parent(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(PARENT_POLL_S)
    os._exit(1)
