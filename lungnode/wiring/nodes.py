"""Builds remote nodes and the delivery configuration from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lungnode.settings.dicom import Destination, Peer
from lungnode.settings.service import Settings

if TYPE_CHECKING:
    from dicom_node.client.peer import RemoteNode
    from dicom_node.port.tls import TlsFiles
    from dicom_node.results.delivery import DeliveryConfig


def remote_node(settings: Settings, node: Peer | Destination, ae_title: str = "") -> RemoteNode:
    """Return the address of a node, with ``ae_title`` as called AE title if given."""
    from dicom_node.client.peer import RemoteNode

    tls = tls_files(settings) if node.tls else None
    called = ae_title or node.ae_title
    return RemoteNode(called, node.host, node.port, tls=tls, tls_name=node.tls_name, sends_as=node.ae_title)


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the TLS files of the settings, if any."""
    from dicom_node.port.tls import TlsFiles

    tls = settings.dicom.tls
    if tls.certificate is None or tls.key is None or tls.authority is None:
        return None
    return TlsFiles(tls.certificate, tls.key, tls.authority, tls.revocations, tls.require_certificate)


def delivery_config(settings: Settings) -> DeliveryConfig:
    """Return the destinations of results and our own address."""
    from dicom_node.results.delivery import DeliveryConfig

    dicom = settings.dicom
    return DeliveryConfig(
        station=dicom.ae_title,
        destinations=tuple(
            replace(
                remote_node(settings, node),
                storage_commitment=node.storage_commitment,
                url=node.url,
                authorization=node.authorization.get_secret_value(),
                ca_file=node.ca_file,
            )
            for node in dicom.destinations
        ),
        own_address=(dicom.host, dicom.port) if dicom.port else None,
    )


def address_book(settings: Settings) -> dict[str, RemoteNode]:
    """Map AE titles to peers and destinations."""
    peers = [remote_node(settings, peer) for peer in settings.dicom.peers]
    return {node.ae_title: node for node in (*delivery_config(settings).destinations, *peers) if not node.url}
