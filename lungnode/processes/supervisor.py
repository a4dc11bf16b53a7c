"""Supervisor of the service: starts the parts, restarts those that die, and stops them together.

During the start, the first part that fails ends the service with its reason. Once all parts were ready, a part that
dies is restarted with growing delays while the others keep running: images are received while models are missing,
results delivered while the web server is down. Only a part that dies
``GIVE_UP_AFTER`` times in a row without ever having run for ``HEALTHY_S`` seconds ends the service with its reason.

Parts are forked from the supervisor, which has no threads of its own: what several of them import is loaded once, and
its memory is shared.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from dicom_node.port.shared_socket import Port
from lungnode.processes.parts import STOP_SIGNALS, Address, PartError, PartName, cannot_listen, run_part
from lungnode.processes.stop_request import is_stop_requested
from lungnode.settings.service import Settings

if TYPE_CHECKING:
    from dicom_node.jobs.analysis_process import MakeAnalyzer

_log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
HEALTHY_S = 60.0
"""A part that ran this long before it died is restarted without a growing delay."""
GIVE_UP_AFTER = 8
"""Consecutive deaths (over two minutes) of a part that was never healthy, after which the service ends."""
STOP_TIMEOUT_S = 20.0
CONTEXT = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing.get_context("spawn")
"""Start method of the parts; system libraries of macOS do not survive a fork."""

OnAddresses = Callable[[dict[PartName, Address]], object]


@dataclass(slots=True)
class _Part:
    """One process of a part, and its state."""

    name: PartName
    port: Port | None = None
    """The listener's port, bound by the parent, so that it stays open when a process dies."""
    process: BaseProcess | None = None
    pipe: Connection | None = None
    address: Address | None = None
    """Set when first ready; unchanged over restarts, as is a port that the kernel chose."""
    is_ready: bool = False
    failure: PartError | None = None
    started_s: float = 0.0
    restarts: int = 0
    was_healthy: bool = False
    """True if it ever ran for ``HEALTHY_S`` seconds."""
    restart_at_s: float | None = None


def _import_shared() -> None:
    """Import what every part needs, before they are forked."""
    import dicom_node.client.peer
    import dicom_node.jobs.worker  # noqa: F401


def _run_without(unused: Iterable[socket.socket], *arguments: Any) -> None:
    """Run a part after closing the sockets that it inherited and does not use, so that they close with the listener."""
    for listening in unused:
        listening.close()
    run_part(*arguments)


class Supervisor:
    """Parent process of all parts; ``run`` returns after SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All settings; ports that the kernel chose are filled in.
    names
        The parts to run.
    make_analyzer
        Loads the models in the worker's analysis processes.
    on_ready
        Called once, with the addresses of all parts, when every part is ready.
    on_change
        Called with them whenever a part has become ready again after that.
    """

    def __init__(
        self,
        settings: Settings,
        names: Iterable[PartName],
        make_analyzer: MakeAnalyzer,
        *,
        on_ready: OnAddresses,
        on_change: OnAddresses,
    ) -> None:
        self._settings = settings
        self._names = tuple(name for name in PartName if name in set(names))
        self._parts: list[_Part] = []
        self._make_analyzer = make_analyzer
        self._on_ready = on_ready
        self._on_change = on_change
        self._is_announced = False
        self._has_changed = False
        self._stopping = False

    def run(self) -> None:
        """Start all parts and keep them running until SIGTERM or SIGINT.

        Raises
        ------
        PartError
            A part could not start, or died repeatedly and was never healthy.
        """
        with self._woken_by_signals() as wakeup:
            self._stopping |= is_stop_requested()  # before these handlers, where its exception was dropped
            self._parts = [part for name in self._names for part in self._make(name)]
            if len(self._names) > 1:
                _import_shared()
            try:
                self._start_all(wakeup)
                while not self._stopping:
                    self._process_events(wakeup)
            finally:
                self._stop_all()

    def _make(self, name: PartName) -> list[_Part]:
        """Create a part; the listener has one entry for each process that shares its port."""
        if name is not PartName.DICOM:
            return [_Part(name)]
        dicom = self._settings.dicom
        try:
            port = Port.shared(dicom.host, dicom.port, min(dicom.processes, dicom.max_associations))
        except OSError as error:
            raise cannot_listen("DICOM", dicom.host, dicom.port, error) from None
        self._use_port(name, port.listening.getsockname()[1])
        return [_Part(name, port.of(number)) for number in range(port.processes)]

    @contextmanager
    def _woken_by_signals(self) -> Iterator[int]:
        """Handle SIGTERM and SIGINT; yields a descriptor that becomes readable on either."""
        readable, writable = os.pipe()

        def on_signal(*_: object) -> None:
            self._stopping = True
            os.write(writable, b"\0")

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield readable
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(readable)
            os.close(writable)

    def _start_all(self, wakeup: int) -> None:
        """Start all parts, the worker first, as its models take longest to load."""
        for part in sorted(self._parts, key=lambda part: part.name is not PartName.WORKER):
            if not self._stopping:
                self._start(part)
        while not self._stopping and not all(part.is_ready for part in self._parts):
            self._process_events(wakeup)

    def _start(self, part: _Part) -> None:
        part.pipe, theirs = CONTEXT.Pipe(duplex=False)
        unused = () if part.port is not None else self._listening_sockets()
        arguments = (part.name, self._settings, self._make_analyzer, theirs, os.getpid(), part.port)
        process = CONTEXT.Process(target=_run_without, args=(unused, *arguments), name=f"lungnode-{part.name}")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # inherited: the child has no handlers yet
        gc.freeze()  # the collector of a child would write to the pages that it shares
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of the threads of BLAS, which allow for a fork
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        part.process = process
        theirs.close()
        part.started_s = time.monotonic()
        part.restart_at_s = None

    def _process_events(self, wakeup: int) -> None:
        """Wait for messages, deaths and due restarts, and handle them."""
        pipes = {part.pipe: part for part in self._parts if part.pipe is not None}
        deaths = {part.process.sentinel: part for part in self._parts if part.process is not None}
        happened = wait([*pipes, *deaths, wakeup], timeout=self._until_restart_s())
        if self._stopping:
            return
        for source in happened:
            if isinstance(source, Connection) and source in pipes:
                self._on_message(pipes[source])
        for source in happened:
            if isinstance(source, int) and source in deaths:
                self._on_death(deaths[source])
        self._restart_due()
        self._report_ready()

    def _on_message(self, part: _Part) -> None:
        try:
            message = part.pipe.recv() if part.pipe is not None else None
        except (EOFError, OSError):
            message = None
        if message is None:
            self._close_pipe(part)
        elif message[0] == "ready":
            part.address, part.is_ready, part.failure = message[1], True, None
            self._has_changed = True
            self._remember_port(part)
            _log.info("part:ready", extra={"kind": part.name.value, "pid": part.process.pid if part.process else None})
        else:
            part.failure = PartError(message[1], f"{part.name}: {message[2]}")
            self._has_changed = True
            _log.error("part:failed", extra={"kind": part.name.value, "code": message[1]})

    def _on_death(self, part: _Part) -> None:
        """Handle a death: plan a restart, or raise if the part was never ready or died too often."""
        if part.pipe is not None and part.pipe.poll():
            self._on_message(part)
        exit_status = self._reap(part)
        if part.port is not None:
            part.port.leave()
        was_ready, part.is_ready = part.is_ready, False
        _log.error("part:died", extra={"kind": part.name.value, "exit_status": exit_status})
        was_stopped = exit_status in {0, -signal.SIGTERM} and part.failure is None  # with all of its group, perhaps
        if part.address is None and not was_ready and not was_stopped:
            raise part.failure or PartError("died", f"{part.name}: ended with status {exit_status} while starting")
        self._plan_restart(part)
        if part.restarts >= GIVE_UP_AFTER and not part.was_healthy:
            why = part.failure or f"{part.name}: ended with status {exit_status}, see the log"
            raise PartError("gave_up", f"{why} ({part.restarts} times in a row)")

    def _plan_restart(self, part: _Part) -> None:
        now_s = time.monotonic()
        is_healthy = now_s - part.started_s > HEALTHY_S
        part.was_healthy |= is_healthy
        part.restarts = 1 if is_healthy else part.restarts + 1
        backoff_s = min(FIRST_BACKOFF_S * 2.0 ** (part.restarts - 1), LONGEST_BACKOFF_S)
        part.restart_at_s = now_s + backoff_s
        _log.warning("part:restarts", extra={"kind": part.name.value, "retry_in_s": backoff_s})

    def _listening_sockets(self) -> tuple[socket.socket, ...]:
        return tuple({part.port.listening for part in self._parts if part.port is not None})

    def _until_restart_s(self) -> float | None:
        due = [part.restart_at_s for part in self._parts if part.restart_at_s is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _restart_due(self) -> None:
        now_s = time.monotonic()
        for part in self._parts:
            if part.restart_at_s is not None and part.restart_at_s <= now_s:
                self._start(part)

    def _remember_port(self, part: _Part) -> None:
        """Store the port that the kernel chose, for restarts."""
        if part.name is PartName.WEB and part.address is not None:
            self._use_port(part.name, int(part.address["port"]))

    def _use_port(self, name: PartName, port: int) -> None:
        """Set the port of the listener or the web in the settings of parts that start from now on."""
        section = getattr(self._settings, name.value).model_copy(update={"port": port})
        self._settings = self._settings.model_copy(update={name.value: section})

    def _report_ready(self) -> None:
        addresses = {part.name: self._described(part) for part in reversed(self._parts)}  # the first of several counts
        if self._is_announced and self._has_changed:
            self._has_changed = False
            self._on_change(addresses)
        elif not self._is_announced and all(part.is_ready for part in self._parts):
            self._is_announced, self._has_changed = True, False
            self._on_ready(addresses)

    def _described(self, part: _Part) -> Address:
        pid = part.process.pid if part.process is not None else None
        described: Address = {**(part.address or {}), **({"pid": pid} if pid else {})}
        return described | ({"problem": part.failure.code} if part.failure and not part.is_ready else {})

    def _stop_all(self) -> None:
        """Terminate every part, the listener first; kill those that do not end in time."""
        for listening in self._listening_sockets():
            listening.close()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        running = [part for part in self._parts if part.process is not None]
        for part in running:
            if part.process is not None:
                part.process.terminate()
        for part in running:
            if part.process is not None:
                part.process.join(max(0.0, deadline_s - time.monotonic()))
                if part.process.is_alive():
                    _log.error("part:killed", extra={"kind": part.name.value})
                    part.process.kill()
            self._reap(part)

    def _reap(self, part: _Part) -> int | None:
        process, part.process = part.process, None
        self._close_pipe(part)
        if process is None:
            return None
        process.join()
        exit_status = process.exitcode
        process.close()
        return exit_status

    def _close_pipe(self, part: _Part) -> None:
        if part.pipe is not None:
            part.pipe.close()
            part.pipe = None
