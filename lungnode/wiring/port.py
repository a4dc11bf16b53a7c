"""Builds the listener's settings and services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.database import Database
from dicom_node.storage.instance_store import InstanceStore
from lungnode.settings.dicom import Peer
from lungnode.settings.service import Settings
from lungnode.wiring.nodes import address_book, tls_files

if TYPE_CHECKING:
    from dicom_node.port.access import PeerRule
    from dicom_node.port.listener import ListenerSettings
    from dicom_node.services.storage_service import PortServices


def listener_settings(settings: Settings) -> ListenerSettings:
    """Return the settings of the listener.

    Raises
    ------
    OSError
        A TLS file cannot be read.
    """
    from dicom_node.port.listener import ListenerSettings
    from dicom_node.port.tls import ServerTls

    dicom, files = settings.dicom, tls_files(settings)
    return ListenerSettings(
        host=dicom.host,
        port=dicom.port,
        ae_title=dicom.ae_title,
        peers=tuple(peer_rule(peer) for peer in dicom.peers),
        max_associations=dicom.max_associations,
        timeout_s=dicom.timeout_s,
        tls=ServerTls(files) if files else None,
    )


def peer_rule(peer: Peer) -> PeerRule:
    """Return the access rule of a peer."""
    from dicom_node.port.access import PeerRule
    from dicom_node.port.certificate_identity import CertificateRule

    certificate = CertificateRule(frozenset(peer.certificate_sha256), frozenset(peer.certificate_names))
    return PeerRule(peer.ae_title, peer.host, peer.may_store, peer.may_query, certificate)


def port_services(settings: Settings, database: Database, store: InstanceStore) -> PortServices:
    """Build the services besides C-STORE: query, retrieve and storage commitment."""
    from dicom_node.encoding.commitment_messages import report_handler
    from dicom_node.services.commitment_service import CommitmentService
    from dicom_node.services.query_service import QueryService
    from dicom_node.services.retrieve_service import RetrieveService
    from dicom_node.services.storage_service import PortServices

    station, nodes = settings.dicom.ae_title, address_book(settings)
    committing = [d.ae_title for d in settings.dicom.destinations if d.storage_commitment]
    return PortServices(
        query=QueryService(database, station),
        retrieve=RetrieveService(database, store, station, nodes),
        commitment=CommitmentService(database, store, station, nodes),
        reports=report_handler(database, committing) if committing else None,
    )
