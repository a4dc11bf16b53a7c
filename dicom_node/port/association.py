"""One accepted association: pynetdicom's on our upper layer, which waits for events instead of polling."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation

from dicom_node.intake.instance_intake import Sender
from dicom_node.port.command_sets import StoreRequest
from dicom_node.port.message_receiver import MessageReceiver, StoreSink
from dicom_node.port.negotiation_cache import NegotiationResult
from dicom_node.port.pdu_reader import PduReader
from dicom_node.port.upper_layer import MALFORMED, BoundedUpperLayer, PortSocket

if TYPE_CHECKING:
    from dicom_node.port.acceptor import Caller
    from dicom_node.port.listener import Listener

_log = logging.getLogger(__name__)


class PortAssociation(Association):
    """An association in one of the listener's slots, which it releases however it ends.

    Parameters
    ----------
    port
        The listener that accepted it.
    caller
        The connection and its request.
    sender
        The checked sender.
    """

    is_established: bool

    def __init__(self, port: Listener, caller: Caller, sender: Sender) -> None:
        connection, received = caller.connection, caller.received
        super().__init__(port.ae, MODE_ACCEPTOR)
        self.port = port
        self.sender = sender
        self.is_evicted = self._has_ended = False
        self._is_serving = False
        self.awaits_peer_since: float | None = None
        """Time since which a service waits for the peer to read or answer."""
        self.afterwards: list[Callable[[], None]] = []
        self._news = threading.Event()
        settings = port.settings
        self.dul = BoundedUpperLayer(self, settings.timeout_s)
        self.acse_timeout = self.dimse_timeout = self.network_timeout = settings.timeout_s
        self.name = "dicom-association"
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = received[: 6 + struct.unpack_from(">L", received, 2)[0]]
        self._answer = port.negotiation_cache.find(self._request)
        pdu_reader = PduReader(connection, settings.max_pdu_bytes, received)
        self.set_socket(PortSocket(self, connection, pdu_reader, settings.timeout_s, caller.request.more_results))
        self.dul.receiver = MessageReceiver(
            self._open_store if settings.is_fast else None,
            self.dul.pass_on,
            self._is_accepted,
            port.max_instance_bytes,
        )
        self._server = port.server
        self._bind_handlers()
        self._describe()

    def _is_accepted(self, context_id: int) -> bool:
        return context_id in self._accepted_cx

    def _describe(self) -> None:
        """Set what the negotiation reads, as pynetdicom's request handler does."""
        self.acceptor.maximum_length = self.port.settings.max_pdu_bytes
        self.acceptor.ae_title = self.port.settings.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(self.port.server.server_address)
        self.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        self.acceptor.implementation_version_name = self.ae.implementation_version_name
        if self._answer is None:
            self.acceptor.supported_contexts = deepcopy(self.port.server.contexts)
        self.requestor.address_info = AddressInformation(self.sender.address, 0)

    def _bind_handlers(self) -> None:
        for event, bound in self.port.server.intervention_handlers():
            self.bind(event, *bound)

    def _open_store(self, request: StoreRequest) -> StoreSink:
        context = self._accepted_cx[request.context_id]
        return self.port.handler.open(request, str(context.abstract_syntax), str(context.transfer_syntax[0]), self)

    @property
    def address(self) -> str:
        """Address of the peer."""
        return self.sender.address

    @property
    def idle_s(self) -> float:
        """Seconds since the last progress (see ``BoundedUpperLayer``); zero while a message is handled.

        A peer that is sent instances (C-GET) makes progress by reading and answering them.
        """
        if self.awaits_peer_since is not None:
            return time.monotonic() - max(self.awaits_peer_since, self.dul.last_progress, self.dul.socket.last_sent_at)
        return 0.0 if self.dul.is_handling or self._is_serving else time.monotonic() - self.dul.last_progress

    @property
    def was_used(self) -> bool:
        """Return True if anything followed the association request."""
        return bool(self.dul.pdu_count > 1)

    def mark_upper_layer_ready(self) -> None:
        """Signal the reactor that the upper layer runs."""
        self._dul_ready.set()

    def notify(self) -> None:
        """Wake the reactor after an event."""
        self._news.set()

    def evict(self) -> None:
        """Abort to free the slot for another; does not wait for the peer."""
        self.is_evicted = True
        if self.awaits_peer_since is not None:
            self.dul.socket.cut_off()
        self.notify()

    def run_reactor(self) -> None:
        """Negotiate and serve, then release the slot."""
        try:
            if self._answer is None:
                super().run_reactor()
            else:
                self._serve_negotiated(self._answer)
        except MALFORMED as error:
            _log.warning("association:failed", extra={"error_type": type(error).__name__})
        finally:
            self.dul.kill_dul()
            self.port.leave(self)

    def _serve_negotiated(self, answer: NegotiationResult) -> None:
        """Send a cached negotiation result, set the state that negotiation leaves, and serve."""
        self.requestor.primitive, self.acceptor.primitive = answer.request, answer.response
        self.requestor.ae_title = answer.request.calling_ae_title
        self._accepted_cx, self._rejected_cx = dict(answer.accepted), list(answer.rejected)
        self.is_established = True
        self.dul.establish(answer.pdu)
        self.dul.start()
        self._started_dul = True
        self._run_reactor()
        if (connection := self.dul.socket.socket) is not None:  # the other thread may close it meanwhile
            self.port.server.shutdown_request(connection)

    def _run_reactor(self) -> None:
        """Serve messages until the association ends; pynetdicom's loop, waiting instead of polling."""
        self.port.counters.add("associations", "accepted")
        self.port.on_accepted(self.sender, len(self._accepted_cx))
        if self._answer is None:
            self.port.negotiation_cache.remember(self._request, self)
        while not self._kill:
            self._is_paused = True
            self._reactor_checkpoint.wait()
            if self.dimse.msg_queue.empty() and self.dul.to_user_queue.empty() and self.dul.is_alive():
                self._news.wait(min(0.5, max(0.05, self.dul.idle_remaining_s)))
                self._news.clear()
            self._is_paused = False
            context_id, message = self.dimse.get_msg(block=False)
            if message:
                self._serve_request(message, context_id)
            if self._is_over():
                return

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Dispatch a request to the listener's own services or to the library."""
        self._is_serving = True
        try:
            serve = self.port.services.get(type(msg))
            if serve is not None and msg.is_valid_request and self._is_accepted(context_id):
                self.dimse.cancel_req = {}
                self._is_paused = True  # as the library does: who serves may send on this association
                serve(self, msg, self._accepted_cx[context_id])
            else:
                super()._serve_request(msg, context_id)
            self._is_paused = True
            while self.afterwards:  # what a handler wants done once its response is out
                self.afterwards.pop(0)()
            self._is_paused = False
        finally:
            self.dul.restart_idle_timer()
            self._is_serving = False

    def note_end(self, reason: str) -> None:
        """Log why an association ends without a release; the first reason counts."""
        if not self._has_ended:
            self._has_ended = True
            self.port.on_aborted(self.sender, reason)

    def _is_over(self) -> bool:
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            self.port.counters.add("associations", "released")
        elif self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.note_end("closed-by-peer")
            self.is_aborted, self.is_established = True, False
            self.port.counters.add("associations", "aborted")
        elif self.is_evicted or (self.dul.idle_timer_expired() and not self.dul.is_handling):
            outcome = "evicted" if self.is_evicted else "timed-out"
            self.port.counters.add("associations", outcome)
            self.note_end(outcome)
            self.port.leave(self)
            self.dul.interrupt()
            self.abort()
        elif self.dul.is_alive():
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """End both reactors; the slot is free at once, however long the peer takes to close."""
        self.port.leave(self)
        super().kill()
