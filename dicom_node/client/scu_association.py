"""Associations that this node requests: pynetdicom's, corrected where concurrent use or failure breaks them."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation, AssociationSocket


class _ClientSocket(AssociationSocket):
    """pynetdicom's socket without Nagle's delay, also closed where connecting failed.

    Once closed, the library's own says that it was never connected. Who negotiates asks it that on waking up, when the
    other thread may have had a rejection already, and would report an unreachable node.
    """

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        created: socket.socket = super()._create_socket(address)
        created.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return created

    def close(self) -> None:
        """Close, and remember whether there was a connection."""
        self._shutdown_socket()
        open_socket: socket.socket | None = self.socket  # type: ignore[has-type]  # the library declares none
        if open_socket is not None and self._is_connected:
            self.socket = None
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class _Checkpoint(threading.Event):
    """Point at which an association's reactor pauses while another thread sends a request and waits.

    pynetdicom's reactor calls itself paused until a moment after it has passed here, and may then take the response
    for a request of the peer's, on which it aborts. Here it is said to go on in the same instant as it does.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._lock = threading.Lock()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no request is in progress; only the reactor waits here."""
        while super().wait(timeout):
            with self._lock:
                if self.is_set():
                    self._association._is_paused = False  # noqa: SLF001 (nothing public says it)
                    return True
        return False

    def clear(self) -> None:
        """Pause the reactor, at once or when it next reaches this point."""
        with self._lock:
            super().clear()


class _MessageQueue(queue.Queue[tuple[int, Any] | tuple[None, None]]):
    """Received messages of an association; the mark of its end stays in the queue.

    pynetdicom marks the end of a connection by one ``(None, None)``. Whoever takes it first, a request that waits or
    the reactor, leaves the next request waiting for a response until its timeout, since ``is_established`` changes
    only when the reactor runs again.
    """

    def _get(self) -> tuple[int, Any] | tuple[None, None]:
        message: tuple[int, Any] | tuple[None, None] = super()._get()
        if message == (None, None):
            self._put(message)  # nothing follows it
        return message


class RequestingEntity(AE):
    """pynetdicom's application entity with the socket, the checkpoint and the message queue of this module."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> _ClientSocket:
        assoc._reactor_checkpoint = _Checkpoint(assoc)  # noqa: SLF001 (nothing public takes it)
        assoc.dimse.msg_queue = _MessageQueue()
        created = _ClientSocket(assoc, address=address)
        created.tls_args = tls_args
        return created
