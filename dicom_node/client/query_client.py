"""Study Root C-FIND and C-MOVE requests to a PACS (PS3.4 C), on an association of ``dicom_node.client.peer``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from db.domain.uids import is_uid
from dicom_node.client.peer import UNCOMPRESSED, NodeConnection
from dicom_node.client.query_keys import QueryError, exact_key, exact_uid, mismatched_key, value_text
from dicom_node.query_models import STUDY_ROOT_FIND, STUDY_ROOT_MOVE

_log = logging.getLogger(__name__)

QUERY_CONTEXTS = [(uid, UNCOMPRESSED) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE)]
MAX_ANSWERS = 10_000
_PENDING = (0xFF00, 0xFF01)
_UNIQUE_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_STUDY_ATTRIBUTES = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "ModalitiesInStudy",
)


@dataclass(frozen=True, slots=True)
class MoveAnswer:
    """Outcome of a C-MOVE: sub-operations by outcome, and the final status."""

    completed: int = 0
    failed: int = 0
    status: int = 0

    @property
    def is_complete(self) -> bool:
        """Return True if the PACS reports that every instance was sent."""
        return self.status in (0, 0xB000) and not self.failed


@dataclass(frozen=True, slots=True)
class StudyMatch:
    """A study in a C-FIND response."""

    study_instance_uid: str
    study_date: str
    study_description: str
    patient_id: str
    birth_date: str
    modalities: tuple[str, ...]
    issuer_of_patient_id: str = ""
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class SeriesMatch:
    """A series in a C-FIND response; ``instance_count`` is None where the PACS does not return it."""

    series_instance_uid: str
    modality: str
    series_description: str
    body_part: str
    instance_count: int | None


class QueryConnection(NodeConnection):
    """An association for queries, retrieval and storage."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.ignored_count = 0
        """Answers that did not bear what was asked for, on this association."""

    def find_studies(self, *, accession: str = "", study_instance_uid: str = "") -> list[StudyMatch]:
        """Find studies by Accession Number or Study Instance UID, both exact.

        Raises
        ------
        InexactKeyError
            A key is empty, holds wildcards, or is no UID.
        QueryError
            The PACS refused or broke off.
        """
        query = _study_query()
        if accession or not study_instance_uid:
            query.AccessionNumber = exact_key("accession number", accession)
        if study_instance_uid:
            query.StudyInstanceUID = exact_uid("Study Instance UID", study_instance_uid)
        return self._studies(query)

    def find_studies_of(self, patient_id: str, until_date: str = "") -> list[StudyMatch]:
        """Find studies of a Patient ID up to and including ``until_date`` (YYYYMMDD).

        Whether they are of the same patient (issuer, birth date) is for the caller to compare.

        Raises
        ------
        InexactKeyError
            The Patient ID is empty or holds wildcards.
        QueryError
        """
        query = _study_query()
        query.PatientID = exact_key("Patient ID", patient_id)
        query.StudyDate = f"-{until_date}" if until_date else ""
        return self._studies(query)

    def find_series(self, study_instance_uid: str) -> list[SeriesMatch]:
        """List the series of a study; series without a valid UID are left out.

        Raises
        ------
        QueryError
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = exact_uid("Study Instance UID", study_instance_uid)
        for keyword in ("SeriesInstanceUID", "Modality", "SeriesDescription", "BodyPartExamined"):
            setattr(query, keyword, "")
        query.NumberOfSeriesRelatedInstances = None
        matches = [
            SeriesMatch(
                series_instance_uid=value_text(answer, "SeriesInstanceUID"),
                modality=value_text(answer, "Modality"),
                series_description=value_text(answer, "SeriesDescription"),
                body_part=value_text(answer, "BodyPartExamined"),
                instance_count=_number(value_text(answer, "NumberOfSeriesRelatedInstances")),
            )
            for answer in self._find(query)
        ]
        return list({series.series_instance_uid: series for series in matches}.values())

    def find_instances(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        """List the instances of a series by UID, each with its SOP class where the PACS returns it.

        Raises
        ------
        QueryError
        """
        query = _image_query(study_instance_uid, series_instance_uid)
        query.SOPClassUID = ""
        answers = self._find(query)
        return {value_text(answer, "SOPInstanceUID"): value_text(answer, "SOPClassUID") for answer in answers}

    def has_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> bool:
        """Return True if the PACS lists an instance.

        Raises
        ------
        QueryError
        """
        query = _image_query(study_instance_uid, series_instance_uid)
        query.SOPInstanceUID = exact_uid("SOP Instance UID", sop_instance_uid)
        return bool(list(self._find(query)))

    def move_series(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        target: str,
        progress: Callable[[MoveAnswer], object] = lambda _: None,
    ) -> MoveAnswer:
        """Have a series sent to the AE ``target``; report progress and return the final outcome.

        Raises
        ------
        QueryError
            The PACS broke off.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = exact_uid("Study Instance UID", study_instance_uid)
        query.SeriesInstanceUID = exact_uid("Series Instance UID", series_instance_uid)
        last = MoveAnswer()
        for status, _ in self._asking().send_c_move(query, target, STUDY_ROOT_MOVE):
            code = _code(status, "the retrieval; received instances stay stored")
            last = MoveAnswer(_count(status, "Completed"), _count(status, "Failed"), code)
            progress(last)
        return last

    def _asking(self) -> Association:
        if not self.is_open:
            raise QueryError("the PACS ended the association")
        return self._open()

    def _studies(self, query: Dataset) -> list[StudyMatch]:
        matches = [
            StudyMatch(
                study_instance_uid=value_text(answer, "StudyInstanceUID"),
                study_date=value_text(answer, "StudyDate"),
                study_description=value_text(answer, "StudyDescription"),
                patient_id=value_text(answer, "PatientID"),
                birth_date=value_text(answer, "PatientBirthDate"),
                modalities=tuple(value_text(answer, "ModalitiesInStudy").split("\\")),
                issuer_of_patient_id=value_text(answer, "IssuerOfPatientID"),
                accession_number=value_text(answer, "AccessionNumber"),
            )
            for answer in self._find(query)
        ]
        return list({study.study_instance_uid: study for study in matches}.values())

    def _find(self, query: Dataset) -> Iterator[Dataset]:
        """Send a query and return the matches that bear its keys and a valid UID; count the others."""
        ignored_before = self.ignored_count
        unique_key = _UNIQUE_KEYS[query.QueryRetrieveLevel]
        for answer in self._answers(query):
            if mismatched_key(query, answer) or not is_uid(value_text(answer, unique_key)):
                self.ignored_count += 1
            else:
                yield answer
        if ignored := self.ignored_count - ignored_before:
            level = str(query.QueryRetrieveLevel).lower()
            fields = {"ae_title": self.node.ae_title, "kind": level, "count": ignored}
            _log.warning("query:answers_ignored", extra=fields)

    def _answers(self, query: Dataset) -> Iterator[Dataset]:
        """Send a query and return all matches; a PACS that returns too many is aborted."""
        if any(not str(element.value).isascii() for element in query):
            query.SpecificCharacterSet = "ISO_IR 192"
        count = 0
        for status, answer in self._asking().send_c_find(query, STUDY_ROOT_FIND):
            code = _code(status, "the query")
            if code in _PENDING and answer is not None:
                count += 1
                if count > MAX_ANSWERS:
                    raise QueryError(f"the PACS has more than {MAX_ANSWERS} answers to the query")
                yield answer
            elif code in _PENDING:
                raise QueryError("an answer of the PACS to the query cannot be read")
            elif code:
                raise QueryError(f"the PACS refused the query with status 0x{code:04X}")


def _study_query() -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword in _STUDY_ATTRIBUTES:
        setattr(query, keyword, "")
    return query


def _image_query(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = exact_uid("Study Instance UID", study_instance_uid)
    query.SeriesInstanceUID = exact_uid("Series Instance UID", series_instance_uid)
    query.SOPInstanceUID = ""
    return query


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 9 else None


def _code(status: Dataset, operation: str) -> int:
    if not status or "Status" not in status:
        raise QueryError(f"the PACS broke off {operation}")
    return int(status.Status)


def _count(status: Dataset, outcome: str) -> int:
    return int(status.get(f"NumberOf{outcome}Suboperations") or 0)
