"""``lungnode retrieve``: find studies in a PACS and have it send their CT series to this node's listener."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from db.engine import Database
from dicom_node.fetch import TIMEOUTS, WHAT_IS_MISSING, FetchedSeries, Scope, SeriesFetcher
from dicom_node.query_scu import QUERY_CONTEXTS, QueryConnection, QueryError
from dicom_node.scu import NodeUnreachableError
from lungnode.errors import CommandError
from lungnode.settings import Settings
from lungnode.settings_dicom import Peer
from lungnode.wiring_nodes import remote_node


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


def retrieve(
    settings: Settings,
    database: Database,
    pacs: Peer,
    *,
    accession: str = "",
    study: str = "",
    scope: Scope = WHAT_IS_MISSING,
) -> Iterator[FetchedSeries]:
    """Find studies by accession number or Study Instance UID and have their series sent here, one after another.

    Parameters
    ----------
    scope
        Which series.

    Raises
    ------
    CommandError
        The PACS does not answer, does not offer this, knows no such study, refused, or broke off.
    """
    node = remote_node(settings, pacs, pacs.query_ae_title)
    try:
        with QueryConnection(node, settings.dicom.ae_title, QUERY_CONTEXTS, TIMEOUTS) as connection:
            fetcher = SeriesFetcher(connection, database, settings.dicom.ae_title, progress=_show)
            studies = connection.find_studies(accession=accession, study_instance_uid=study)
            if not studies:
                raise CommandError(f"{pacs.ae_title} knows no such study")
            for uid in studies:
                yield from fetcher.fetch_study(uid, connection.find_series(uid), scope)
    except NodeUnreachableError as error:
        raise CommandError(f"{pacs.ae_title} at {pacs.host}:{pacs.port}: {error.reason}") from None
    except QueryError as error:
        hint = f"is {settings.dicom.ae_title} known there, and may it query and retrieve?"
        raise CommandError(f"{pacs.ae_title} at {pacs.host}:{pacs.port}: {error}; {hint}") from None


def _show(sent: int, expected: int) -> None:
    """Show a person at a terminal how far a series is."""
    if sys.stderr.isatty():
        print(f"\r{sent} of {expected} sent", end="\n" if sent >= expected else "", file=sys.stderr, flush=True)
