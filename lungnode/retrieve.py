"""``lungnode retrieve``: find studies in a PACS and have it send them to this node's listener."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.query_scp import STUDY_ROOT_FIND
from dicom_node.query_scu import QUERY_CONTEXTS, MoveAnswer, QueryConnection
from dicom_node.retrieve_scp import STUDY_ROOT_MOVE
from dicom_node.scu import NodeUnreachableError, ScuTimeouts
from lungnode.errors import CommandError
from lungnode.settings import Peer, Settings
from lungnode.wiring import remote_node

TIMEOUTS = ScuTimeouts(connect_s=15.0, association_s=30.0, response_s=1800.0)
"""A PACS may fetch a study from tape before it says anything."""


def choose_pacs(settings: Settings, ae_title: str | None) -> Peer:
    """Choose the peer to ask: the one of that AE title, or the only one.

    Raises
    ------
    CommandError
        There is none, or several and none was named.
    """
    peers = settings.dicom.peers
    chosen = [peer for peer in peers if ae_title is None or peer.ae_title == ae_title]
    if len(chosen) == 1:
        return chosen[0]
    if not peers:
        raise CommandError("no PACS is configured: name it in LUNGNODE_DICOM__PEERS, with its port")
    if not chosen:
        raise CommandError(f"--from {ae_title}: LUNGNODE_DICOM__PEERS has no peer of that AE title")
    raise CommandError("several peers are configured; say which one with --from AE")


def retrieve(settings: Settings, pacs: Peer, *, accession: str = "", study: str = "") -> Iterator[MoveAnswer]:
    """Find studies by accession number or Study Instance UID and have them sent here, one after another.

    Raises
    ------
    CommandError
        The PACS does not answer, does not offer this, or knows no such study.
    QueryError
        It refused, or broke off.
    """
    node = remote_node(settings, pacs, pacs.query_ae_title)
    try:
        with QueryConnection(node, settings.dicom.ae_title, QUERY_CONTEXTS, TIMEOUTS) as connection:
            if not (connection.accepts(STUDY_ROOT_FIND) and connection.accepts(STUDY_ROOT_MOVE)):
                raise CommandError(f"{pacs.ae_title} does not offer Study Root Query/Retrieve to this node")
            studies = connection.find_studies(accession=accession, study_instance_uid=study)
            if not studies:
                raise CommandError(f"{pacs.ae_title} knows no such study")
            for study_instance_uid in studies:
                yield connection.move_study(study_instance_uid, settings.dicom.ae_title)
    except NodeUnreachableError as error:
        raise CommandError(f"{pacs.ae_title} at {pacs.host}:{pacs.port}: {error.reason}") from None
