"""``lungnode retrieve``: C-FIND studies in a PACS and C-MOVE their CT series to this node."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from db.database import Database
from db.domain.studies import PatientAttributes
from dicom_node.client.peer import NodeUnreachableError
from dicom_node.client.query_client import QUERY_CONTEXTS, QueryConnection, StudyMatch
from dicom_node.client.query_keys import InexactKeyError, QueryError, exact_key, exact_uid, plain_date
from dicom_node.client.retrieve_client import (
    MISSING_ONLY,
    TIMEOUTS,
    ExpectedStudy,
    FetchedSeries,
    Scope,
    SeriesFetcher,
)
from lungnode.errors import CommandError
from lungnode.settings.dicom import Peer
from lungnode.settings.service import Settings
from lungnode.wiring.nodes import remote_node


def choose_pacs(settings: Settings, ae_title: str | None) -> Peer:
    """Return the peer with that AE title, or the only one.

    Raises
    ------
    CommandError
        There is no such peer, or several and no AE title was given.
    """
    peers = settings.dicom.peers
    chosen = [peer for peer in peers if ae_title is None or peer.ae_title == ae_title]
    if len(chosen) == 1:
        return chosen[0]
    if not peers:
        raise CommandError("no PACS is configured: add it to LUNGNODE_DICOM__PEERS, with its port")
    if not chosen:
        raise CommandError(f"--from {ae_title}: LUNGNODE_DICOM__PEERS has no peer of that AE title")
    raise CommandError("several peers are configured; specify one with --from AE")


def check_keys(*, accession: str = "", study: str = "") -> None:
    """Check that a key can match one study only (no wildcards).

    Raises
    ------
    CommandError
    """
    try:
        if study:
            exact_uid("Study Instance UID", study)
        if accession or not study:
            exact_key("accession number", accession)
    except InexactKeyError as error:
        option = "--study" if study else "--accession"
        raise CommandError(f"{option} {study or accession!r}: {error}") from None


def retrieve(
    settings: Settings,
    database: Database,
    pacs: Peer,
    *,
    accession: str = "",
    study: str = "",
    scope: Scope = MISSING_ONLY,
) -> Iterator[FetchedSeries]:
    """Retrieve studies by accession number or Study Instance UID, series by series.

    Parameters
    ----------
    scope
        Series to retrieve.

    Raises
    ------
    CommandError
        The PACS does not answer, does not support the query, has no matching study, refused, or aborted; or studies of
        several patients have that accession number.
    """
    check_keys(accession=accession, study=study)
    node = remote_node(settings, pacs, pacs.query_ae_title)
    try:
        with QueryConnection(node, settings.dicom.ae_title, QUERY_CONTEXTS, TIMEOUTS) as connection:
            fetcher = SeriesFetcher(connection, database, settings.dicom.ae_title, progress=_show)
            studies = connection.find_studies(accession=accession, study_instance_uid=study)
            _check_answer(pacs.ae_title, studies, connection.ignored_count)
            for study_match in studies:
                ignored_before = connection.ignored_count
                series = connection.find_series(study_match.study_instance_uid)
                yield from fetcher.fetch_study(_expected(study_match), series, scope)
                _show_ignored(pacs.ae_title, connection.ignored_count - ignored_before)
    except NodeUnreachableError as error:
        raise CommandError(f"{pacs.ae_title} at {pacs.host}:{pacs.port}: {error.reason}") from None
    except QueryError as error:
        hint = f"is {settings.dicom.ae_title} registered there with query and retrieve permission?"
        raise CommandError(f"{pacs.ae_title} at {pacs.host}:{pacs.port}: {error}; {hint}") from None


def _check_answer(ae_title: str, studies: Sequence[StudyMatch], ignored_count: int) -> None:
    """Report ignored answers; raise if no study is left, or studies of several patients match."""
    if not studies:
        ignored = f"; {_ignored_text(ignored_count)}" if ignored_count else ""
        raise CommandError(f"no matching study at {ae_title}{ignored}")
    _show_ignored(ae_title, ignored_count)
    patients = {(match.patient_id, match.issuer_of_patient_id) for match in studies if match.patient_id}
    if len(patients) > 1:
        uids = ", ".join(match.study_instance_uid for match in studies)
        raise CommandError(f"{ae_title} has studies of {len(patients)} patients; choose one with --study: {uids}")


def _show_ignored(ae_title: str, count: int) -> None:
    if count:
        print(f"lungnode: {ae_title}: {_ignored_text(count)}", file=sys.stderr)


def _ignored_text(count: int) -> str:
    return f"answers that did not match the query were ignored: {count}"


def _expected(match: StudyMatch) -> ExpectedStudy:
    patient = PatientAttributes(match.patient_id, match.issuer_of_patient_id, birth_date=plain_date(match.birth_date))
    return ExpectedStudy(match.study_instance_uid, match.accession_number, patient)


def _show(sent: int, expected: int) -> None:
    """Show the progress of a series on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{sent} of {expected} sent", end="\n" if sent >= expected else "", file=sys.stderr, flush=True)
