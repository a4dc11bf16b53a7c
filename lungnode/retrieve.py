"""``lungnode retrieve``: find studies in a PACS and have it send them to this node's listener (C-FIND, C-MOVE)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from lungnode.errors import CommandError
from lungnode.logs import strip_pynetdicom
from lungnode.reach import listens
from lungnode.settings import Peer, Settings

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_PENDING = (0xFF00, 0xFF01)
_ANSWER_S = 30.0
_MOVE_S = 1800.0
"""A PACS may fetch a study from tape before it says anything."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the PACS said of sending one study: sub-operations by outcome, and the final status."""

    study_instance_uid: str
    completed: int
    warning: int
    failed: int
    status: int

    @property
    def is_complete(self) -> bool:
        """Whether everything arrived that the PACS has."""
        return self.status == 0 and not self.failed


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


def retrieve(settings: Settings, pacs: Peer, *, accession: str = "", study: str = "") -> Iterator[Retrieved]:
    """Find studies by accession number or Study Instance UID and have them sent here, one after another.

    Raises
    ------
    CommandError
        The PACS does not answer, refuses, or knows no such study.
    """
    with _associated(settings, pacs) as association:
        studies = _find(association, accession, study)
        if not studies:
            raise CommandError(f"{pacs.ae_title} knows no such study")
        for study_instance_uid in studies:
            yield _move(association, settings.dicom.ae_title, study_instance_uid)


@contextmanager
def _associated(settings: Settings, pacs: Peer) -> Iterator[Association]:
    strip_pynetdicom()
    ae = AE(settings.dicom.ae_title)
    ae.acse_timeout = ae.connection_timeout = _ANSWER_S
    ae.dimse_timeout = ae.network_timeout = _MOVE_S
    for context in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE):
        ae.add_requested_context(context, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    where = f"{pacs.ae_title} at {pacs.host}:{pacs.port}"
    if not listens(pacs.host, pacs.port, _ANSWER_S):
        raise CommandError(f"{where} does not answer: check address and firewall")
    association = ae.associate(pacs.host, pacs.port, ae_title=pacs.ae_title)
    if not association.is_established:
        raise CommandError(f"{where} does not accept an association: try `lungnode doctor --pacs`")
    try:
        if len({context.abstract_syntax for context in association.accepted_contexts}) < 2:
            raise CommandError(f"{pacs.ae_title} does not offer Study Root Query/Retrieve to {settings.dicom.ae_title}")
        yield association
    finally:
        association.release()


def _find(association: Association, accession: str, study: str) -> list[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.AccessionNumber = accession
    query.StudyInstanceUID = study
    found = []
    for status, answer in association.send_c_find(query, STUDY_ROOT_FIND):
        if "Status" not in status:
            raise CommandError("the PACS broke off the query")
        if status.Status in _PENDING and answer is not None:
            found.append(str(answer.StudyInstanceUID))
        elif status.Status:
            raise CommandError(f"the PACS refused the query with status 0x{status.Status:04X}")
    return found


def _move(association: Association, target: str, study_instance_uid: str) -> Retrieved:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    last = Dataset()
    for status, _ in association.send_c_move(query, target, STUDY_ROOT_MOVE):
        if "Status" not in status:
            raise CommandError("the PACS broke off the retrieval; what arrived is kept")
        last = status
    return Retrieved(
        study_instance_uid=study_instance_uid,
        completed=int(last.get("NumberOfCompletedSuboperations", 0) or 0),
        warning=int(last.get("NumberOfWarningSuboperations", 0) or 0),
        failed=int(last.get("NumberOfFailedSuboperations", 0) or 0),
        status=int(last.Status),
    )
