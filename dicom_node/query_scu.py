"""Questions to a PACS: Study Root C-FIND and C-MOVE (PS3.4 C), on an association of ``dicom_node.scu``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from dicom_node.errors import UNREADABLE, DicomNodeError
from dicom_node.header import is_uid
from dicom_node.query_scp import STUDY_ROOT_FIND
from dicom_node.retrieve_scp import STUDY_ROOT_MOVE
from dicom_node.scu import UNCOMPRESSED, NodeConnection

QUERY_CONTEXTS = [(uid, UNCOMPRESSED) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE)]
MAX_ANSWERS = 10_000
_PENDING = (0xFF00, 0xFF01)


class QueryError(DicomNodeError):
    """The PACS refused a question or broke off its answer."""


@dataclass(frozen=True, slots=True)
class MoveAnswer:
    """What the PACS said of sending a series: sub-operations by outcome, and the final status."""

    completed: int = 0
    failed: int = 0
    status: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the PACS says that it sent everything."""
        return self.status in (0, 0xB000) and not self.failed


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as a PACS describes it."""

    study_instance_uid: str
    study_date: str
    study_description: str
    patient_id: str
    birth_date: str
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series as a PACS describes it; ``instance_count`` is None where it does not tell."""

    series_instance_uid: str
    modality: str
    series_description: str
    body_part: str
    instance_count: int | None


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
        return [uid for answer in self._find(query) if (uid := _text(answer, "StudyInstanceUID"))]

    def find_studies_of(self, patient_id: str, until_date: str = "") -> list[FoundStudy]:
        """Find a patient's studies, those of ``until_date`` (YYYYMMDD) and before; which of them fit is for the caller.

        Raises
        ------
        QueryError
        """
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.PatientID = patient_id
        query.StudyDate = f"-{until_date}" if until_date else ""
        for keyword in ("StudyInstanceUID", "StudyDescription", "PatientBirthDate", "ModalitiesInStudy"):
            setattr(query, keyword, "")
        return [
            FoundStudy(
                study_instance_uid=_text(answer, "StudyInstanceUID"),
                study_date=_text(answer, "StudyDate"),
                study_description=_text(answer, "StudyDescription"),
                patient_id=_text(answer, "PatientID"),
                birth_date=_text(answer, "PatientBirthDate"),
                modalities=tuple(_text(answer, "ModalitiesInStudy").split("\\")),
            )
            for answer in self._find(query)
        ]

    def find_series(self, study_instance_uid: str) -> list[FoundSeries]:
        """List the series of a study; what has no valid UID cannot be asked for and is left out.

        Raises
        ------
        QueryError
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_instance_uid
        for keyword in ("SeriesInstanceUID", "Modality", "SeriesDescription", "BodyPartExamined"):
            setattr(query, keyword, "")
        query.NumberOfSeriesRelatedInstances = None
        return [
            FoundSeries(
                series_instance_uid=_text(answer, "SeriesInstanceUID"),
                modality=_text(answer, "Modality"),
                series_description=_text(answer, "SeriesDescription"),
                body_part=_text(answer, "BodyPartExamined"),
                instance_count=_number(_text(answer, "NumberOfSeriesRelatedInstances")),
            )
            for answer in self._find(query)
            if is_uid(_text(answer, "SeriesInstanceUID"))
        ]

    def find_instances(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        """List the instances of a series by UID, each with its SOP class where the PACS tells.

        Raises
        ------
        QueryError
        """
        query = _image_query(study_instance_uid, series_instance_uid)
        query.SOPClassUID = ""
        answers = self._find(query)
        return {_text(answer, "SOPInstanceUID"): _text(answer, "SOPClassUID") for answer in answers}

    def has_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> bool:
        """Whether the PACS lists an instance.

        Raises
        ------
        QueryError
        """
        query = _image_query(study_instance_uid, series_instance_uid)
        query.SOPInstanceUID = sop_instance_uid
        return any(_text(answer, "SOPInstanceUID") == sop_instance_uid for answer in self._find(query))

    def move_series(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        target: str,
        progress: Callable[[MoveAnswer], object] = lambda _: None,
    ) -> MoveAnswer:
        """Have a series sent to the AE ``target``; returns when the PACS is done, and tells of each answer before.

        Raises
        ------
        QueryError
            The PACS broke off.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, series_instance_uid
        last = MoveAnswer()
        for status, _ in self._asking().send_c_move(query, target, STUDY_ROOT_MOVE):
            code = _code(status, "the retrieval; what arrived is kept")
            last = MoveAnswer(_count(status, "Completed"), _count(status, "Failed"), code)
            progress(last)
        return last

    def _asking(self) -> Association:
        if not self.is_open:
            raise QueryError("the PACS ended the association")
        return self._open()

    def _find(self, query: Dataset) -> Iterator[Dataset]:
        """Ask, and give what is found; more than anyone needs is an error of the question, not read to its end."""
        count = 0
        for status, answer in self._asking().send_c_find(query, STUDY_ROOT_FIND):
            code = _code(status, "the query")
            if code in _PENDING and answer is not None:
                count += 1
                if count > MAX_ANSWERS:
                    raise QueryError(f"the PACS has more than {MAX_ANSWERS} answers to the query")
                yield answer
            elif code:
                raise QueryError(f"the PACS refused the query with status 0x{code:04X}")


def _image_query(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = study_instance_uid, series_instance_uid
    query.SOPInstanceUID = ""
    return query


def _text(ds: Dataset, keyword: str) -> str:
    """Read one value as text; several are joined by backslashes, and what cannot be read is empty."""
    try:
        value = ds.get(keyword)
        parts = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
        return "\\".join(str(part).strip(" \0") for part in parts if part is not None)
    except UNREADABLE:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 9 else None


def _code(status: Dataset, what: str) -> int:
    if not status or "Status" not in status:
        raise QueryError(f"the PACS broke off {what}")
    return int(status.Status)


def _count(status: Dataset, outcome: str) -> int:
    return int(status.get(f"NumberOf{outcome}Suboperations") or 0)
