"""Access control by called and calling AE title, address and certificate, before an association takes a slot."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, ip_address

from db.domain.uids import APPLICATION_CONTEXT
from dicom_node.intake.instance_intake import Sender
from dicom_node.port.associate_request import AssociationRequest
from dicom_node.port.certificate_identity import ANY_CERTIFICATE, CertificateRule

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeerRule:
    """A peer that may associate."""

    ae_title: str
    host: str
    may_store: bool = True
    may_query: bool = False
    """True if it may query and retrieve."""
    certificate: CertificateRule = ANY_CERTIFICATE
    """Certificate it must present; by default any of the CA."""


class Rejection(Enum):
    """Reason of a rejection: result, source and reason of A-ASSOCIATE-RJ (PS3.8 table 9-21), and a code."""

    CALLED_AE_TITLE = (1, 1, 7, "called-ae-title")
    CALLING_AE_TITLE = (1, 1, 3, "calling-ae-title")
    ADDRESS = (1, 1, 3, "address")
    CERTIFICATE = (1, 1, 3, "certificate")
    APPLICATION_CONTEXT = (1, 1, 2, "application-context")
    PROTOCOL_VERSION = (1, 2, 2, "protocol-version")
    BUSY = (2, 3, 2, "busy")

    @property
    def code(self) -> str:
        """Stable, machine-readable code."""
        return self.value[3]

    @property
    def pdu(self) -> bytes:
        """A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
        return b"\3\0\0\0\0\4\0" + bytes(self.value[:3])


_PADDING = "\0 "
"""Insignificant around an AE title: spaces by PS3.5 6.2, NUL as many nodes pad."""


def printable(ae_title: str) -> str:
    """Return an AE title for logs and display; empty where it has characters that PS3.5 6.2 forbids."""
    title = ae_title.strip(_PADDING)
    return title if title.isascii() and title.isprintable() and "\\" not in title else ""


def plain_address(address: str) -> str:
    """Return the canonical spelling of an address; IPv4-mapped IPv6 becomes IPv4."""
    try:
        ip = ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip)


def _addresses_of(host: str) -> frozenset[str]:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        _log.warning("peer:unresolved", extra={"host": host})
        return frozenset()
    return frozenset(plain_address(str(entry[4][0])) for entry in entries)


OWN_ADDRESSES = frozenset({"127.0.0.1", "::1"})
"""Addresses from which this machine calls itself."""


class AccessRules:
    """Our AE title and the peers that may call it.

    Parameters
    ----------
    ae_title
        Ours; an association that calls another one is rejected. Case counts, surrounding spaces and
        NULs do not (PS3.5 6.2, AE).
    peers
        Peers that may associate. Empty means any, which settings allow on loopback only. Host names are resolved once.
        The node itself may always ask by C-ECHO whether it answers: from loopback, by its own AE title, nothing else.
    """

    def __init__(self, ae_title: str, peers: Iterable[PeerRule] = ()) -> None:
        self._ae_title = ae_title.strip()
        self._peers: dict[tuple[str, str], PeerRule] = {}
        for peer in peers:
            for address in _addresses_of(peer.host):
                self._peers[peer.ae_title.strip(), address] = peer
        self._addresses = frozenset(address for _, address in self._peers)
        self._titles = frozenset(title for title, _ in self._peers)
        self._is_open = not tuple(peers)

    def is_known_address(self, address: str) -> bool:
        """Return True if any peer calls from this address."""
        return self._is_open or address in self._addresses or address in OWN_ADDRESSES

    def check_request(self, request: AssociationRequest, address: str, certificate: bytes = b"") -> Sender | Rejection:
        """Return the sender or the rejection, by protocol, context, titles, address and certificate (DER)."""
        if not request.is_version_1:
            return Rejection.PROTOCOL_VERSION
        if request.application_context != APPLICATION_CONTEXT:
            return Rejection.APPLICATION_CONTEXT
        return self.check(request.called_ae_title, request.calling_ae_title, address, certificate)

    def check(
        self, called_ae_title: str, calling_ae_title: str, address: str, certificate: bytes = b""
    ) -> Sender | Rejection:
        """Return the sender or the rejection, by titles, address and certificate (DER)."""
        calling = printable(calling_ae_title)
        if called_ae_title.strip(_PADDING) != self._ae_title:
            return Rejection.CALLED_AE_TITLE
        if not calling:
            return Rejection.CALLING_AE_TITLE
        if self._is_open:
            return Sender(calling, address)
        return self._of_peer(calling, address, certificate)

    def _of_peer(self, calling: str, address: str, certificate: bytes) -> Sender | Rejection:
        peer = self._peers.get((calling, address))
        if peer is not None and not peer.certificate.allows(certificate):
            return Rejection.CERTIFICATE
        if peer is not None:
            return Sender(calling, address, peer.may_store, peer.may_query)
        if calling == self._ae_title and address in OWN_ADDRESSES:
            return Sender(calling, address, may_store=False, may_query=False)
        return Rejection.ADDRESS if calling in self._titles else Rejection.CALLING_AE_TITLE
