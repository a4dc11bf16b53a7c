"""Buffered, bounded reading of PDUs from a socket, with few large reads."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time

P_DATA_TF = 4
_CONTROL_PDU_BYTES = 4
"""Value of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8 9.3.4 to 9.3.8)."""
ASSOCIATE_BYTES = 65536
"""Value of A-ASSOCIATE-RQ or -AC at most, on an association that stands: neither belongs there."""
_READ_BYTES = 65536
_HEAD_BYTES = 4096
"""Read at first of each PDU, so that the rest of a large one is asked for exactly and nothing has to be moved."""
_PDV_HEAD_BYTES = 6
"""Length, context id and message control header of a presentation data value (PS3.8 9.3.5.1, E.2)."""
_IGNORED_BYTES = 1 << 20
_TICK = struct.pack("@ll", 1, 0)
"""A second (struct timeval): after so long without enough bytes the deadline is checked again."""


class PduError(ValueError):
    """A PDU of unknown type or invalid length; nothing after it can be read."""


class ClosedError(OSError):
    """The peer closed the connection, or stopped within a PDU."""


class PduReader:
    """Buffered reading of PDUs from one connected socket.

    Parameters
    ----------
    connection
        The socket; plain ones are switched to blocking, so that a read is one system call.
    max_pdu_bytes
        The maximum length that we announced: a longer P-DATA-TF is refused unread (PS3.8 D.1).
    first
        Bytes that were read from the socket before.
    """

    def __init__(self, connection: socket.socket, max_pdu_bytes: int, first: bytes = b"") -> None:
        self._socket, self._max_pdu_bytes = connection, max_pdu_bytes
        self._associate_bytes = max(ASSOCIATE_BYTES, len(first))
        self._is_plain = not isinstance(connection, ssl.SSLSocket)
        if self._is_plain:
            connection.setblocking(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
        self._buffer = bytearray(max(len(first), _READ_BYTES))
        self._view = memoryview(self._buffer)
        self._buffer[: len(first)] = first
        self._start, self._end = 0, len(first)
        self._ignored_bytes = 0

    @property
    def has_bytes(self) -> bool:
        """Return True if bytes can be read without the socket."""
        return self._end > self._start or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def read_pdu(self, timeout_s: float) -> tuple[int, memoryview]:
        """Read one complete PDU; the value is valid until the next call.

        The timeout is for the whole PDU, so that one byte now and then does not keep it open.

        Raises
        ------
        PduError, ClosedError
        """
        deadline = time.monotonic() + timeout_s
        kind, _, length = struct.unpack(">BBL", self._read_exactly(6, deadline))
        if not 1 <= kind <= 7:
            raise PduError("unknown type")
        if length > self._limit(kind):
            raise PduError("longer than was negotiated")
        return kind, self._read_exactly(length, deadline, 0 if kind != P_DATA_TF else self._following_bytes())

    def _following_bytes(self) -> int:
        """Return how many bytes must follow a P-DATA-TF whose start is buffered.

        They are read with it, which spares a system call: behind a fragment that is not the last (PS3.8 E.2) there is
        a header at least. A peer that leaves it out, or pauses there, costs itself a tick.
        """
        is_last = self._end - self._start < _PDV_HEAD_BYTES or self._buffer[self._start + 5] & 2
        return 0 if is_last else 6 + _PDV_HEAD_BYTES

    def _limit(self, kind: int) -> int:
        if kind == P_DATA_TF:
            return self._max_pdu_bytes
        return self._associate_bytes if kind <= 2 else _CONTROL_PDU_BYTES

    def _read_exactly(self, size: int, deadline: float, following: int = 0) -> memoryview:
        if self._start + size > len(self._buffer) or self._start == self._end:
            self._move(size)
        while (missing := size - (self._end - self._start)) > 0:
            self._receive(missing, following, deadline)
        value = self._view[self._start : self._start + size]
        self._start += size
        return value

    def _move(self, size: int) -> None:
        """Move unread bytes to the front; the buffer grows with the first PDU that needs more, and stays."""
        unread = self._view[self._start : self._end]
        if size > len(self._buffer):
            self._buffer = bytearray(max(size, self._max_pdu_bytes + 6) + _READ_BYTES)
            self._view = memoryview(self._buffer)
        self._view[: len(unread)] = unread
        self._start, self._end = 0, len(unread)

    def _receive(self, missing: int, following: int, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise ClosedError("stopped in the midst of a PDU")
        try:
            received = self._receive_plain(missing, following) if self._is_plain else self._receive_tls(remaining)
        except BlockingIOError:
            return
        if not received:
            raise ClosedError("closed")
        self._end += received

    def _receive_plain(self, missing: int, following: int) -> int:
        """Wait for all of a large value, or for any bytes at the beginning of a PDU."""
        room = self._view[self._end :]
        if missing > _HEAD_BYTES:
            return self._socket.recv_into(room, min(missing + following, len(room)), socket.MSG_WAITALL)
        return self._socket.recv_into(room, max(missing, _HEAD_BYTES))

    def _receive_tls(self, remaining_s: float) -> int:
        self._socket.settimeout(remaining_s)
        return self._socket.recv_into(self._view[self._end :])

    def discard(self) -> bool:
        """Discard what is received now; False when the peer has closed, or does not stop sending."""
        self._start = self._end = 0
        try:
            self._socket.settimeout(0)
            received = self._socket.recv_into(self._view)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        self._ignored_bytes += received
        return received > 0 and self._ignored_bytes <= _IGNORED_BYTES


class Wakeable:
    """Wait for a socket to become readable, or for another thread to call ``wake``."""

    def __init__(self) -> None:
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)

    def wake(self) -> None:
        """Interrupt the wait; safe from any thread, and after ``close``."""
        try:
            self._outer.send(b"!")
        except OSError:
            return  # the buffer is full of wakes already, or the waiter has ended

    def wait(self, descriptor: int | None, timeout_s: float) -> bool:
        """Wait; True where the descriptor is readable, or in an error state that a read will raise."""
        poll = select.poll()
        poll.register(self._inner, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        ready = {number for number, _ in poll.poll(max(0.0, timeout_s) * 1000)}
        if self._inner.fileno() in ready:
            try:
                self._inner.recv(4096)
            except OSError:
                return False
        return descriptor in ready

    def close(self) -> None:
        """Close the descriptors."""
        self._inner.close()
        self._outer.close()
