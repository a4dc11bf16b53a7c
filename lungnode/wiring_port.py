"""Builds the collaborators of the listener from the settings: who may call, and what the port answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.engine import Database
from dicom_node.store import InstanceStore
from lungnode.settings import Settings
from lungnode.settings_dicom import Peer
from lungnode.wiring_nodes import address_book, tls_files

if TYPE_CHECKING:
    from dicom_node.access import PeerRule
    from dicom_node.listener import ListenerSettings
    from dicom_node.scp import PortServices


def listener_settings(settings: Settings) -> ListenerSettings:
    """Say what the listener has to know.

    Raises
    ------
    OSError
        A file of TLS cannot be read.
    """
    from dicom_node.listener import ListenerSettings
    from dicom_node.tls import ServerTls

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
    """Say what a peer may do, and how it is known."""
    from dicom_node.access import PeerRule
    from dicom_node.identity import CertificateRule

    certificate = CertificateRule(frozenset(peer.certificate_sha256), frozenset(peer.certificate_names))
    return PeerRule(peer.ae_title, peer.host, peer.may_store, peer.may_query, certificate)


def port_services(settings: Settings, database: Database, store: InstanceStore) -> PortServices:
    """Make what the port answers besides C-STORE: queries, retrievals and storage commitment."""
    from dicom_node.commitment import report_handler
    from dicom_node.commitment_scp import CommitmentService
    from dicom_node.query_scp import QueryService
    from dicom_node.retrieve_scp import RetrieveService
    from dicom_node.scp import PortServices

    station, nodes = settings.dicom.ae_title, address_book(settings)
    committing = [d.ae_title for d in settings.dicom.destinations if d.storage_commitment]
    return PortServices(
        query=QueryService(database, station),
        retrieve=RetrieveService(database, store, station, nodes),
        commitment=CommitmentService(database, store, station, nodes),
        reports=report_handler(database, committing) if committing else None,
    )
