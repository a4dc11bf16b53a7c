"""Upper layer of one accepted association: pynetdicom's state machine, fed by bounded, blocking reads.

The library's own provider polls every millisecond, reads 4 KiB at a time, has no limit on the length of a PDU and no
timeout within one. Here a thread sleeps until there is news, reads large pieces, refuses what is longer than was
negotiated, gives each PDU a deadline, and lets P-DATA of an established association by-pass PDU objects altogether.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationSocket

from dicom_node.port.associate_request import add_results
from dicom_node.port.message_receiver import MessageError, MessageReceiver
from dicom_node.port.pdu_reader import P_DATA_TF, ClosedError, PduError, PduReader, Wakeable

if TYPE_CHECKING:
    from dicom_node.port.association import PortAssociation

_log = logging.getLogger(__name__)

MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    queue.Empty,
    InvalidEventError,
)
"""Exceptions of the library on hostile input; the connection is then closed."""
_ASSOCIATE_AC = 2
_PROGRESS_BYTES = 16384
_SEND_BYTES = 1 << 18
_LINGER_S = 1.0
"""Seconds that a peer has to close an ended connection (PS3.8 9.1.5 leaves the ARTIM time open)."""
_AWAITING_REQUEST, _ESTABLISHED, _AWAITING_CLOSE = "Sta2", "Sta6", "Sta13"


class MonotonicTimer(Timer):
    """pynetdicom's timer on the monotonic clock."""

    @property
    def remaining(self) -> float:
        """Seconds left; 1 where it never expires."""
        if self.timeout is None:
            return 1.0
        if self._start_time is None:
            return float(self.timeout)
        return float(self.timeout) - ((self._end_time or time.monotonic()) - self._start_time)

    def start(self) -> None:
        """Restart."""
        self._start_time: float | None = time.monotonic()
        self._end_time: float | None = None

    def stop(self) -> None:
        """Stop."""
        self._end_time = time.monotonic()


class PortSocket(AssociationSocket):
    """An accepted connection with its PDU reader; ``more_results`` are added to its A-ASSOCIATE-AC."""

    def __init__(
        self,
        assoc: PortAssociation,
        connection: socket.socket,
        pdu_reader: PduReader,
        timeout_s: float,
        more_results: bytes,
    ) -> None:
        super().__init__(assoc, client_socket=connection)
        self.pdu_reader, self._more_results = pdu_reader, more_results
        self._timeout_s = timeout_s
        self.last_sent_at = time.monotonic()
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # struct timeval
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def descriptor(self) -> int | None:
        """Return the file descriptor while the socket is open, else None."""
        descriptor = self.socket.fileno() if self.socket is not None else -1
        return descriptor if descriptor >= 0 else None

    def _shutdown_socket(self) -> None:
        """Close, even where the peer has closed already (the library would leak the descriptor)."""
        if self.socket is None:
            return
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def cut_off(self) -> None:
        """Interrupt sending to a peer that does not read; from any thread."""
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def send(self, bytestream: bytes) -> None:
        """Send for the library, which learns of a failure by the event of a closed connection."""
        if self._more_results and bytestream[0] == _ASSOCIATE_AC:
            bytestream = add_results(bytestream, self._more_results)
        try:
            self.send_all(bytestream)
        except ClosedError:
            self.event_queue.put("Evt17")

    def send_all(self, content: bytes) -> None:
        """Send all bytes, noting when the peer last accepted some.

        Raises
        ------
        ClosedError
            The peer is gone, or takes nothing any more.
        """
        if self.socket is None:
            raise ClosedError("closed")
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(self._timeout_s)
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[self.socket.send(remaining[:_SEND_BYTES]) :]
                self.last_sent_at = time.monotonic()
        except OSError:
            raise ClosedError("the peer takes nothing") from None


class BoundedUpperLayer(DULServiceProvider):
    """Upper layer of an accepted association; see the module's docstring.

    ``receiver`` takes P-DATA. ``last_progress`` is when a message was last completed, or continued by 16 KiB: a peer
    that sends a few bytes now and then makes none.
    """

    socket: PortSocket
    _kill_thread: bool

    def __init__(self, assoc: PortAssociation, timeout_s: float) -> None:
        super().__init__(assoc)
        self._timeout_s = timeout_s
        self._idle_timer = MonotonicTimer(timeout_s)
        self.artim_timer = MonotonicTimer(timeout_s)
        self._wakeable = Wakeable()
        self._close_by: float | None = None
        self.receiver: MessageReceiver | None = None
        self.last_progress = time.monotonic()
        self.pdu_count = 0
        self.is_handling = False
        self._is_reading = self._is_interrupted = False
        self._unmarked_bytes = 0
        self.daemon = True

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive for the peer and wake the reactor."""
        super().send_pdu(primitive)
        self._wakeable.wake()

    def kill_dul(self) -> None:
        """End the reactor."""
        super().kill_dul()
        self._wakeable.wake()

    def pass_on(self, context_id: int, value: bytes) -> None:
        """Pass a fragment of another message than C-STORE to the library."""
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, value]]
        self.assoc.dimse.receive_primitive(primitive)
        self.assoc.notify()

    def respond(self, pdu: bytes) -> None:
        """Send a C-STORE response in one write."""
        self.socket.send_all(pdu)

    def establish(self, answer: bytes) -> None:
        """Answer the buffered request with a cached A-ASSOCIATE-AC, before the thread starts.

        Raises
        ------
        ClosedError, PduError
        """
        self._read_pdu()
        self.event_queue.get_nowait()  # the connection's own, which led to the state that awaits a request
        self.state_machine.current_state = _ESTABLISHED
        self.socket.send(answer)

    def run_reactor(self) -> None:
        """Serve the connection until it ends, and close the socket in any case."""
        self._idle_timer.start()
        self.assoc.mark_upper_layer_ready()
        try:
            while not self._kill_thread:
                self._step()
        except MALFORMED as error:
            _log.warning("association:failed", extra={"error_type": type(error).__name__})
        finally:
            self._abandon()
            self.socket.close()
            self._kill_thread = True
            self._wakeable.close()
            self._signal_end()

    def _abandon(self) -> None:
        """Discard an incomplete message."""
        if self.receiver is not None:
            self.receiver.abandon()

    def _signal_end(self) -> None:
        """Release threads that wait for a primitive which will not come."""
        self.to_user_queue.put(None)
        self.assoc.notify()

    def _step(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        elif self.event_queue.empty() and not self._process_recv_primitive():
            self._await_news()
        try:
            event = self.event_queue.get_nowait()
        except queue.Empty:
            return
        self.state_machine.do_action(event)
        self.assoc.notify()

    def _await_news(self) -> None:
        connection = self.socket
        if self.state_machine.current_state == _AWAITING_CLOSE:
            self._await_close(connection)
        elif (connection.socket is not None and connection.pdu_reader.has_bytes) or self._wakeable.wait(
            connection.descriptor(), max(0.05, min(self.idle_remaining_s, self.artim_timer.remaining, 1.0))
        ):
            self._read_pdu_data()
            self._idle_timer.restart()

    def _await_close(self, connection: PortSocket) -> None:
        """Let the peer close first, within a time limit; what it still sends is discarded."""
        now = time.monotonic()
        if self._close_by is None:
            self._close_by = now + _LINGER_S
            self._abandon()
        readable = self._wakeable.wait(connection.descriptor(), self._close_by - now)
        if (
            connection.descriptor() is None
            or now >= self._close_by
            or (readable and not connection.pdu_reader.discard())
        ):
            connection.close()
            if self.event_queue.empty():
                self.event_queue.put("Evt17")

    def _read_pdu_data(self) -> None:
        """Read one PDU, or all of a message: P-DATA for the receiver, others for the library's decoder."""
        try:
            while True:
                kind, value = self._read_pdu()
                if kind != P_DATA_TF or not self.receiver or self.state_machine.current_state != _ESTABLISHED:
                    break
                self._receive(self.receiver, value)
                if not self.receiver.is_amid_message or self._is_interrupted:
                    return
            pdu, event = self._decode_pdu(bytearray(struct.pack(">BBL", kind, 0, len(value)) + value))
        except OSError:
            self.event_queue.put("Evt17")
        except MALFORMED as error:
            code = "pdu" if isinstance(error, PduError) else "message" if isinstance(error, MessageError) else "decode"
            self.assoc.port.counters.add("protocol_errors", code)
            self.assoc.note_end(f"protocol-error-{code}")
            self._abandon()
            self.event_queue.put("Evt19")
            if self.state_machine.current_state == _AWAITING_REQUEST:
                self._signal_end()
        else:
            self._recv_pdu.put(pdu)
            self.event_queue.put(event)

    def _receive(self, receiver: MessageReceiver, value: memoryview) -> None:
        self.is_handling = True
        try:
            receiver.feed(value)
        finally:
            self._mark_progress()
            self.is_handling = False
            self._idle_timer.restart()

    def _read_pdu(self) -> tuple[int, memoryview]:
        self._is_reading = True
        try:
            if self._is_interrupted:
                raise ClosedError("interrupted")
            kind, value = self.socket.pdu_reader.read_pdu(self._timeout_s)
        finally:
            self._is_reading = False
        self.pdu_count += 1
        self._unmarked_bytes += len(value)
        self._mark_progress()
        return kind, value

    def _mark_progress(self) -> None:
        if self._unmarked_bytes >= _PROGRESS_BYTES or not self.is_amid_message:
            self.last_progress, self._unmarked_bytes = time.monotonic(), 0

    def interrupt(self) -> None:
        """Interrupt a read that waits for the rest of a PDU."""
        connection = self.socket.socket
        self._is_interrupted = True
        if self._is_reading and connection is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RD)  # that of an SSLSocket would forget its encryption

    def restart_idle_timer(self) -> None:
        """Restart the idle time, after the peer waited for this node."""
        self._idle_timer.restart()
        self.last_progress = time.monotonic()

    @property
    def idle_remaining_s(self) -> float:
        """Seconds until the idle timeout."""
        return self._idle_timer.remaining

    @property
    def is_amid_message(self) -> bool:
        """Return True if a message has begun and not ended."""
        return self.receiver is not None and self.receiver.is_amid_message
