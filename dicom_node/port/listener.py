"""The DICOM port: acceptor of connections, slots for associations, and pynetdicom for the protocol."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AssociationServer

from dicom_node.intake.counters import Counters
from dicom_node.intake.instance_intake import Intake, Sender
from dicom_node.intake.throttle import Throttle
from dicom_node.port.acceptor import AcceptorLimits, Caller, ConnectionAcceptor, Decision, RefusedConnection
from dicom_node.port.access import AccessRules, PeerRule, Rejection, printable
from dicom_node.port.association import PortAssociation
from dicom_node.port.association_log import AssociationLog
from dicom_node.port.association_slots import AssociationSlots, SlotHolder
from dicom_node.port.certificate_identity import fingerprint
from dicom_node.port.negotiation_cache import NegotiationCache
from dicom_node.port.shared_socket import Port
from dicom_node.port.tls import ServerTls
from dicom_node.port.upper_layer import MALFORMED

if TYPE_CHECKING:
    from dicom_node.port.command_sets import StoreRequest
    from dicom_node.port.message_receiver import StoreSink

_log = logging.getLogger(__name__)

Service = Callable[[Any, Any, Any], None]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Settings of the listener, filled by the composition root."""

    host: str = "127.0.0.1"
    port: int = 11112
    """0 lets the kernel choose; see ``Listener.port``."""
    ae_title: str = "LUNGNODE"
    peers: tuple[PeerRule, ...] = ()
    max_associations: int = 32
    timeout_s: float = 30.0
    """Silence on an association, or within one PDU, after which it is closed."""
    max_pdu_bytes: int = 262144
    """Maximum length of a P-DATA-TF that we announce (PS3.8 D.1)."""
    is_fast: bool = True
    """True if C-STORE goes straight from the socket to the store; False takes pynetdicom's own path."""
    acceptor: AcceptorLimits = field(default_factory=AcceptorLimits)
    tls: ServerTls | None = None
    """None means plain connections."""


class StoreHandler(Protocol):
    """Handles C-STORE requests of the fast path."""

    def open(
        self, request: StoreRequest, abstract_syntax: str, transfer_syntax: str, association: PortAssociation
    ) -> StoreSink:
        """Begin a request."""
        ...


class PortServer(AssociationServer):
    """pynetdicom's server as the owner of contexts and handlers; the acceptor accepts in its stead."""

    def __init__(self, *arguments: Any, listening: socket.socket, **keywords: Any) -> None:
        self._listening_socket = listening
        super().__init__(*arguments, **keywords)

    def server_bind(self) -> None:
        """Use the socket that is bound already."""
        unbound: socket.socket = self.socket  # type: ignore[has-type]  # the library declares none
        unbound.close()
        self.socket = self._listening_socket
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Do nothing: the socket listens already."""

    def intervention_handlers(self) -> Iterator[tuple[Any, Any]]:
        """Yield the handlers that answer requests."""
        for event, bound in self._handlers.items():
            if event.is_intervention and bound:
                yield event, bound


class _RejectionTrail:
    """Writes rejections to the audit trail on a thread of its own, so that the acceptor never waits."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._queue: queue.Queue[tuple[Sender, dict[str, object]] | None] = queue.Queue(maxsize=1000)
        self._thread = threading.Thread(target=self._run, name="dicom-rejections", daemon=True)
        self._thread.start()

    def add(self, sender: Sender, details: dict[str, object]) -> None:
        """Queue a rejection; those beyond the limit of the queue are only counted."""
        try:
            self._queue.put_nowait((sender, details))
        except queue.Full:
            self._intake.counters.add("audits_dropped")

    def stop(self) -> None:
        """Write the queued rejections and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            sender, details = entry
            self._intake.audit("association:rejected", sender, details)


class Listener:
    """A running DICOM port.

    Parameters
    ----------
    ae
        With its supported contexts.
    handler
        Takes C-STORE requests on the fast path.
    evt_handlers
        pynetdicom's handlers, for other messages and for the pynetdicom path.
    services
        Handlers by message type, in place of the library's; called with association, message and presentation context.
    shared
        The port, where it is shared with other processes; by default it is bound by the settings.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        ae: ApplicationEntity,
        handler: StoreHandler,
        intake: Intake,
        evt_handlers: list[Any],
        services: Mapping[type, Service] | None = None,
        shared: Port | None = None,
    ) -> None:
        self.settings, self.ae, self.handler = settings, ae, handler
        self.services = dict(services or {})
        self.counters: Counters = intake.counters
        self._intake = intake
        self._rules = AccessRules(settings.ae_title, settings.peers)
        self._shared = shared or Port.shared(settings.host, settings.port)
        self._shared.publish_load(pending=0, associations=0)
        self._slots = AssociationSlots(self._shared.share(settings.max_associations))
        self.max_instance_bytes = intake.limits.max_instance_bytes
        listening = self._shared.listening
        self.server: PortServer = ae.make_server(
            listening.getsockname(),
            ae_title=settings.ae_title,
            evt_handlers=evt_handlers,
            server_class=PortServer,
            listening=listening,
        )
        self.port: int = self.server.server_address[1]
        self.negotiation_cache = NegotiationCache()
        self._trail = _RejectionTrail(intake)
        self._association_log = AssociationLog(intake.database, self.counters)
        self._abort_throttle = Throttle(1.0, 20)
        self._acceptor = ConnectionAcceptor(
            self._shared,
            self,
            settings.acceptor,
            self.counters,
            settings.tls,
        )
        self._acceptor.start()

    def decide(self, caller: Caller) -> Decision:
        """Admit a caller, let it wait, or reject it; runs on the acceptor's thread."""
        sender = self._rules.check_request(caller.request, caller.address, caller.certificate)
        if isinstance(sender, Rejection):
            return sender
        if not self._slots.try_reserve():
            return "wait"
        return self._start_association(caller, sender)

    def _start_association(self, caller: Caller, sender: Sender) -> Decision:
        association = None
        try:
            association = PortAssociation(self, caller, sender)
            self._slots.assign(association)
            association.start()
        except (*MALFORMED, RuntimeError) as error:  # RuntimeError: no further thread can be started
            _log.warning("association:failed", extra={"error_type": type(error).__name__})
            if association is not None:
                self._slots.release(association)
            return Rejection.BUSY
        self._count_associations()
        return "admitted"

    def leave(self, association: SlotHolder) -> None:
        """Release the slot of an association; called by itself, possibly more than once."""
        self._slots.release(association)
        self._count_associations()

    def _count_associations(self) -> None:
        count = self.association_count
        self.counters.set("associations_open", count)
        self._shared.publish_load(associations=count)

    def is_known(self, address: str) -> bool:
        """Return True if any peer calls from an address."""
        return self._rules.is_known_address(address)

    def on_refused(self, refusal: RefusedConnection) -> None:
        """Log a refusal, and audit a rejection; runs on the acceptor's thread."""
        titles = refusal.calling_ae_title, refusal.called_ae_title
        result = "rejected" if refusal.is_rejection else "aborted"
        self._association_log.add(refusal.address, titles, result, refusal.reason)
        calling, called = map(printable, titles)
        peer = {"calling_ae_title": calling, "called_ae_title": called, "peer_address": refusal.address}
        if not refusal.is_rejection:
            passes, withheld = self._abort_throttle.admit(f"{refusal.reason} {refusal.address}")
            if passes:
                extra = {"reason_code": refusal.reason, "count": withheld + 1, **peer}
                _log.warning("association:aborted", extra=extra)
            return
        certificate = {"certificate_sha256": fingerprint(refusal.certificate)} if refusal.certificate else {}
        _log.warning("association:rejected", extra={"reason_code": refusal.reason, **peer, **certificate})
        self._trail.add(Sender(calling, refusal.address), {"reason": refusal.reason, **certificate})

    def on_accepted(self, sender: Sender, context_count: int) -> None:
        """Count an accepted association, and note where no context was accepted."""
        titles = sender.calling_ae_title, self.settings.ae_title
        self._association_log.add(sender.address, titles, "accepted", "" if context_count else "no-context-accepted")

    def on_aborted(self, sender: Sender, reason: str) -> None:
        """Log an association that ended without a release."""
        titles = sender.calling_ae_title, self.settings.ae_title
        self._association_log.add(sender.address, titles, "aborted", reason)
        peer = {"calling_ae_title": sender.calling_ae_title, "peer_address": sender.address}
        passes, withheld = self._abort_throttle.admit(f"{reason} {sender.address}")
        if passes:
            _log.warning("association:aborted", extra={"reason_code": reason, "count": withheld + 1, **peer})

    @property
    def association_count(self) -> int:
        """Number of associations with a slot."""
        return len(self._slots.holders())

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop accepting, abort idle associations, let running stores finish, and close."""
        self._acceptor.stop()
        self._shared.leave()
        self._trail.stop()
        associations = [holder for holder in self._slots.holders() if isinstance(holder, PortAssociation)]
        for association in associations:
            association.evict()
        for association in associations:
            association.join(timeout_s)
        self._association_log.stop()
