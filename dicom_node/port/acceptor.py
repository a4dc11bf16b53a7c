"""Acceptor of connections: reads their A-ASSOCIATE-RQ without a thread or association slot for any of them.

One thread watches the listening socket and every connection whose A-ASSOCIATE-RQ is not complete. A silent socket,
half a header, one byte a second, a wrong protocol: each costs a descriptor and a few bytes until its deadline. When
there are too many, the oldest is dropped, from the address that has most of them first; a legitimate sender sends its
request at once.

A TLS handshake is driven here too, piece by piece as it arrives and under the same deadline: an unfinished one
is one more silent connection.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Literal, Protocol

from dicom_node.intake.counters import Counters
from dicom_node.port.access import Rejection, plain_address
from dicom_node.port.associate_request import AssociationRequest, RequestError, read_request, read_titles
from dicom_node.port.shared_socket import Port
from dicom_node.port.tls import ServerTls

_log = logging.getLogger(__name__)

_ABORT = b"\7\0\0\0\0\4\0\0\2"  # PS3.8 9.3.8: A-ABORT by the service provider, followed by the reason
_UNRECOGNISED, _UNEXPECTED, _INVALID = b"\1", b"\2", b"\6"
_CLOSING_S = 0.5
"""Seconds that a refused peer has to read the reason before the connection is reset."""
_IGNORED_BYTES = 1 << 20
"""Bytes that it may send meanwhile."""
REQUEST_BYTES = 1 << 20
"""Value of A-ASSOCIATE-RQ at most: 128 contexts of every transfer syntax there is have under 400 KiB."""
_TICK_S = 0.05
_ACCEPTS = 64
"""Connections accepted before pending ones are processed again."""
_HANDSHAKES = 4
"""Handshakes continued before all other connections are processed again."""


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """Limits of connections that have not negotiated yet."""

    connections: int = 256
    connections_per_address: int = 128
    unknown_hosts: int = 32
    """Connections from addresses of no configured peer: they displace each other, never a peer."""
    timeout_s: float = 10.0
    """For the whole A-ASSOCIATE-RQ, however it is cut."""
    admission_s: float = 6.0
    """Seconds that a complete request waits for a slot before a busy reply; above a stalled association's grace."""
    buffered_bytes: int = 32 << 20
    """Of all incomplete requests together; beyond it the longest one is dropped."""

    def of(self, port: Port) -> AcceptorLimits:
        """Return the share of one process of a port."""
        return replace(
            self,
            connections=port.share(self.connections),
            connections_per_address=port.share(self.connections_per_address),
            unknown_hosts=port.share(self.unknown_hosts),
            buffered_bytes=port.share(self.buffered_bytes),
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """A connection that has sent its A-ASSOCIATE-RQ."""

    connection: socket.socket
    address: str
    received: bytes
    """The A-ASSOCIATE-RQ PDU, as ``request`` writes it anew, and what followed it."""
    request: AssociationRequest

    @property
    def certificate(self) -> bytes:
        """Client certificate of the handshake (DER); empty where none was presented."""
        certificate = (
            self.connection.getpeercert(binary_form=True) if isinstance(self.connection, ssl.SSLSocket) else None
        )
        return certificate or b""


@dataclass(frozen=True, slots=True)
class RefusedConnection:
    """A connection that led to no association, with the AE titles as far as received (untrusted text).

    ``reason`` is machine-readable, and ``certificate`` the one presented (DER).
    """

    address: str
    reason: str
    is_rejection: bool = False
    """Answered by A-ASSOCIATE-RJ; else aborted or closed."""
    calling_ae_title: str = ""
    called_ae_title: str = ""
    certificate: bytes = b""


class _State(Enum):
    HANDSHAKE = auto()
    READING = auto()
    WAITING = auto()
    CLOSING = auto()


@dataclass(slots=True, eq=False)
class _PendingConnection:
    connection: socket.socket
    address: str
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    state: _State = _State.READING
    request: AssociationRequest | None = None
    ignored_bytes: int = 0
    is_known: bool = True


def _has_decrypted_bytes(connection: socket.socket) -> bool:
    """Return True if decrypted bytes wait in the TLS layer, which no selector reports."""
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _handshake_failure(error: OSError) -> str:
    """Return OpenSSL's reason of a failed handshake; empty for a mere port probe."""
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return ""
    return str(getattr(error, "verify_message", "") or error.reason or "TLS").replace(" ", "_").lower()


def _refused(pending: _PendingConnection, reason: str) -> RefusedConnection:
    calling, called = read_titles(bytes(pending.received[:74])) if pending.received[:1] == b"\1" else ("", "")
    return RefusedConnection(pending.address, reason, calling_ae_title=calling, called_ae_title=called)


Decision = Rejection | Literal["admitted", "wait"]


class AdmissionPolicy(Protocol):
    """Decides about connections; called on the acceptor's thread."""

    def decide(self, caller: Caller) -> Decision:
        """Take over the connection (``"admitted"``), let it wait for a slot, or reject it."""
        ...

    def is_known(self, address: str) -> bool:
        """Return True if a configured peer calls from this address; connections of unknown hosts are limited."""
        ...

    def on_refused(self, refusal: RefusedConnection) -> None:
        """Record that a connection was refused, by the acceptor or by ``decide``."""
        ...


class ConnectionAcceptor:
    """Accepts connections and passes on those that have sent an A-ASSOCIATE-RQ.

    Parameters
    ----------
    port
        The bound port, and what other processes at it have open; our end of it is closed at the end.
    tls
        Given, connections are TLS.
    """

    def __init__(
        self,
        port: Port,
        policy: AdmissionPolicy,
        limits: AcceptorLimits,
        counters: Counters,
        tls: ServerTls | None = None,
    ) -> None:
        self._tls, self._policy = tls, policy
        self._port, self._listening = port, port.listening
        self._limits, self._counters = limits.of(port), counters
        self._buffered_bytes = 0
        self._pending: dict[socket.socket, _PendingConnection] = {}
        self._selector = selectors.DefaultSelector()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicom-acceptor", daemon=True)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)

    def start(self) -> None:
        """Start accepting."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and close all pending connections."""
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                self._poll()
        finally:
            for pending in tuple(self._pending.values()):
                self._drop(pending, "stopping")
            self._selector.close()
            self._listening.close()

    def _poll(self) -> None:
        is_waited_for = any(pending.state is _State.WAITING for pending in self._pending.values())
        ready = {key.fileobj for key, _ in self._selector.select(_TICK_S if is_waited_for else 0.2)}
        if self._listening in ready:
            self._accept()
        for pending in self._prioritize([pending for pending in self._pending.values() if pending.connection in ready]):
            if pending.connection in self._pending:
                self._drop_on_error(self._read, pending)
        for pending in tuple(self._pending.values()):
            if pending.state is _State.WAITING:
                self._drop_on_error(self._admit, pending)
            elif time.monotonic() > pending.deadline:
                if pending.state is _State.READING and pending.received:
                    self._policy.on_refused(_refused(pending, "timeout"))
                self._drop(pending, "closed" if pending.state is _State.CLOSING else "timeout")

    @staticmethod
    def _prioritize(ready: list[_PendingConnection]) -> list[_PendingConnection]:
        """Order ready connections: requests first, then a few handshakes (milliseconds each), newest first.

        A new connection is thus not served behind hundreds of handshakes; the others stay ready.
        """
        handshakes = [pending for pending in ready if pending.state is _State.HANDSHAKE]
        return [pending for pending in ready if pending.state is not _State.HANDSHAKE] + handshakes[
            : -_HANDSHAKES - 1 : -1
        ]

    def _accept(self) -> None:
        """Accept this process's share of the waiting connections."""
        for _ in range(self._port.may_accept(_ACCEPTS)):
            try:
                connection, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._pending:
                    self._drop(next(iter(self._pending.values())), "descriptors")
                return
            self._register(connection, plain_address(str(address[0])))

    def _register(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        state = _State.READING
        if self._tls is not None:
            try:
                connection = self._tls.context().wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            except OSError:
                return  # it was closed already
            state = _State.HANDSHAKE
        is_known = self._policy.is_known(address)
        pending = _PendingConnection(
            connection, address, time.monotonic() + self._limits.timeout_s, state=state, is_known=is_known
        )
        self._make_room(pending)
        self._pending[connection] = pending
        self._port.publish_load(pending=len(self._pending))
        self._selector.register(connection, selectors.EVENT_READ)
        self._drop_on_error(self._read, pending)

    def _drop_on_error(self, action: Callable[[_PendingConnection], None], pending: _PendingConnection) -> None:
        """Run an action, and drop its connection on an unforeseen error."""
        try:
            action(pending)
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            _log.error("connection:failed", extra={"error_type": type(error).__name__}, exc_info=error)
            if pending.connection in self._pending:
                self._drop(pending, "failed")

    def _make_room(self, new: _PendingConnection) -> None:
        """Drop the oldest pending connection at a limit; callers that wait for a slot stay."""
        counts = Counter(pending.address for pending in self._pending.values())
        unknown_hosts = [pending for pending in self._pending.values() if not pending.is_known]
        if not new.is_known and len(unknown_hosts) >= self._limits.unknown_hosts:
            candidates = unknown_hosts
        elif counts[new.address] >= self._limits.connections_per_address:
            candidates = [pending for pending in self._pending.values() if pending.address == new.address]
        elif len(self._pending) >= self._limits.connections:
            crowded = counts.most_common(1)[0][0]
            candidates = unknown_hosts or [pending for pending in self._pending.values() if pending.address == crowded]
        else:
            return
        self._drop(min(candidates, key=lambda pending: pending.state is _State.WAITING), "crowded")

    def _read(self, pending: _PendingConnection) -> None:
        if pending.state is _State.HANDSHAKE and not self._shake_hands(pending):
            return
        self._read_once(pending)
        while (
            pending.connection in self._pending
            and pending.state is not _State.WAITING
            and _has_decrypted_bytes(pending.connection)
        ):
            self._read_once(pending)

    def _shake_hands(self, pending: _PendingConnection) -> bool:
        """Continue a handshake; True when it is complete."""
        assert isinstance(pending.connection, ssl.SSLSocket)  # noqa: S101 (only these have a handshake)
        events = selectors.EVENT_READ
        try:
            pending.connection.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(pending.connection, events)
            return False
        except ssl.SSLWantWriteError:
            self._selector.modify(pending.connection, selectors.EVENT_WRITE)
            return False
        except OSError as error:
            if reason := _handshake_failure(error):
                _log.warning("association:tls_refused", extra={"reason_code": reason, "peer_address": pending.address})
                self._policy.on_refused(RefusedConnection(pending.address, "tls"))
            self._drop(pending, "tls")
            return False
        pending.state = _State.READING
        self._selector.modify(pending.connection, events)
        return True

    def _read_once(self, pending: _PendingConnection) -> None:
        try:
            received = pending.connection.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            received = b""
        if not received:
            if pending.state is _State.READING and pending.received:
                self._policy.on_refused(_refused(pending, "unfinished"))
            self._drop(pending, "closed" if pending.state is _State.CLOSING or not pending.received else "unfinished")
        elif pending.state is _State.READING:
            pending.received += received
            self._buffered_bytes += len(received)
            self._parse_request(pending)
            self._bound_buffers()
        else:
            pending.ignored_bytes += len(received)
            if pending.ignored_bytes > _IGNORED_BYTES:
                self._drop(pending, "closed")

    def _parse_request(self, pending: _PendingConnection) -> None:
        """Admit a complete request, and refuse what cannot become one."""
        received = pending.received
        if received[0] != 1:
            is_pdu = 1 <= received[0] <= 7
            self._abort(pending, _UNEXPECTED if is_pdu else _UNRECOGNISED, "not-dicom")
            return
        if len(received) < 6:
            return
        length = struct.unpack_from(">L", received, 2)[0]
        if not 68 <= length <= REQUEST_BYTES:
            self._abort(pending, _INVALID, "length")
        elif len(received) >= 6 + length:
            try:
                pending.request = read_request(bytes(received[: 6 + length]))
            except RequestError as error:
                self._abort(pending, _INVALID, error.code)
                return
            self._set_received(pending, pending.request.pdu + bytes(received[6 + length :]))
            pending.state = _State.WAITING
            pending.deadline = time.monotonic() + self._limits.admission_s
            self._selector.unregister(pending.connection)
            self._admit(pending)

    def _admit(self, pending: _PendingConnection) -> None:
        assert pending.request is not None  # noqa: S101 (only waiting ones come here)
        decision = self._policy.decide(
            Caller(pending.connection, pending.address, bytes(pending.received), pending.request)
        )
        if decision == "admitted":
            self._unregister(pending)
            return
        if decision == "wait":
            if time.monotonic() < pending.deadline:
                return
            decision = Rejection.BUSY
        caller = Caller(pending.connection, pending.address, b"", pending.request)
        titles = pending.request.calling_ae_title, pending.request.called_ae_title
        certificate = caller.certificate if decision is Rejection.CERTIFICATE else b""
        self._policy.on_refused(RefusedConnection(pending.address, decision.code, True, *titles, certificate))
        self._selector.register(pending.connection, selectors.EVENT_READ)
        self._counters.add("association_rejections", decision.code)
        self._refuse(pending, decision.pdu, "rejected")

    def _abort(self, pending: _PendingConnection, reason: bytes, code: str) -> None:
        """Abort (PS3.8 9.3.8) what cannot become an association, and log the reason."""
        self._policy.on_refused(_refused(pending, code))
        self._refuse(pending, _ABORT + reason, code)

    def _set_received(self, pending: _PendingConnection, received: bytes) -> None:
        self._buffered_bytes += len(received) - len(pending.received)
        pending.received[:] = received

    def _bound_buffers(self) -> None:
        """Drop the longest incomplete request while all together exceed the memory limit."""
        while self._buffered_bytes > self._limits.buffered_bytes:
            longest = max(self._pending.values(), key=lambda pending: len(pending.received))
            self._policy.on_refused(_refused(longest, "crowded"))
            self._drop(longest, "crowded")

    def _refuse(self, pending: _PendingConnection, pdu: bytes, reason: str) -> None:
        """Send the reason, stop reading requests, and close soon."""
        self._counters.add("connections_refused", reason)
        try:
            pending.connection.send(pdu)
            if not isinstance(pending.connection, ssl.SSLSocket):  # which would forget its encryption
                pending.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(pending, "closed")
            return
        pending.state = _State.CLOSING
        pending.deadline = time.monotonic() + _CLOSING_S
        self._set_received(pending, b"")

    def _drop(self, pending: _PendingConnection, reason: str) -> None:
        self._counters.add("connections_closed", reason)
        self._unregister(pending)
        if pending.connection in self._selector.get_map():
            self._selector.unregister(pending.connection)
        pending.connection.close()

    def _unregister(self, pending: _PendingConnection) -> None:
        self._set_received(pending, b"")
        del self._pending[pending.connection]
        self._port.publish_load(pending=len(self._pending))
