"""Questions to a PACS: Study Root C-FIND and C-MOVE (PS3.4 C), on an association of ``dicom_node.scu``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydicom.dataset import Dataset

from dicom_node.scu import UNCOMPRESSED, NodeConnection
from lungnode.errors import LungnodeError

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
QUERY_CONTEXTS = [(uid, UNCOMPRESSED) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE)]
_PENDING = (0xFF00, 0xFF01)


class QueryError(LungnodeError):
    """The PACS refused a question or broke off its answer."""


@dataclass(frozen=True, slots=True)
class MoveAnswer:
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


class QueryConnection(NodeConnection):
    """An association that can ask as well as send."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def find_studies(self, *, accession: str = "", study_instance_uid: str = "") -> list[str]:
        """Find studies; gives their Study Instance UIDs.

        Raises
        ------
        QueryError
            The PACS refused or broke off.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.AccessionNumber = accession
        query.StudyInstanceUID = study_instance_uid
        found = []
        for status, answer in self._open().send_c_find(query, STUDY_ROOT_FIND):
            code = _code(status, "the query")
            if code in _PENDING and answer is not None:
                found.append(str(answer.StudyInstanceUID))
            elif code:
                raise QueryError(f"the PACS refused the query with status 0x{code:04X}")
        return found

    def move_study(self, study_instance_uid: str, target: str) -> MoveAnswer:
        """Have a study sent to the AE ``target``; returns when the PACS is done.

        Raises
        ------
        QueryError
            The PACS broke off.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = study_instance_uid
        last, code = Dataset(), 0
        for status, _ in self._open().send_c_move(query, target, STUDY_ROOT_MOVE):
            last, code = status, _code(status, "the retrieval; what arrived is kept")
        return MoveAnswer(
            study_instance_uid=study_instance_uid,
            completed=_count(last, "Completed"),
            warning=_count(last, "Warning"),
            failed=_count(last, "Failed"),
            status=code,
        )


def _code(status: Dataset, what: str) -> int:
    if not status or "Status" not in status:
        raise QueryError(f"the PACS broke off {what}")
    return int(status.Status)


def _count(status: Dataset, outcome: str) -> int:
    return int(status.get(f"NumberOf{outcome}Suboperations") or 0)
