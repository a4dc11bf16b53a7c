"""C-FIND on our own store: what was received and what was made of it, Study Root (PS3.4 C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from pydicom.dataset import Dataset

from db import audit, catalogue
from db.catalogue import StudyKeys
from db.domain import AuditEvent
from db.engine import Database
from db.errors import DbError
from dicom_node.identifiers import (
    IMAGE,
    SERIES,
    STUDY,
    Identifier,
    IdentifierError,
    Values,
    date_range,
    has_unknown_keys,
    image_values,
    matches,
    read_identifier,
    response,
    series_values,
    study_values,
)

_log = logging.getLogger(__name__)

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PENDING, PENDING_WITHOUT_SOME_KEYS, CANCELLED = 0xFF00, 0xFF01, 0xFE00
NOT_AUTHORIZED, OUT_OF_RESOURCES, DOES_NOT_MATCH = 0x0124, 0xA700, 0xA900

Answer = tuple[int | Dataset, Dataset | None]


class QueryService:
    """Answers C-FIND requests of peers that may query.

    Parameters
    ----------
    station
        Our own AE title: where what was found can be fetched.
    """

    def __init__(self, database: Database, station: str) -> None:
        self._database = database
        self._station = station

    def on_find(self, event: Any) -> Iterator[Answer]:
        """Answer a request (``EVT_C_FIND``): the search is on record before the first match goes out."""
        sender = event.assoc.sender
        if not sender.may_query:
            yield refusal(NOT_AUTHORIZED, "this peer may not query")
            return
        try:
            identifier = read_identifier(lambda: event.identifier)
            found = list(self._find(identifier, sender.actor))
        except IdentifierError as error:
            yield refusal(DOES_NOT_MATCH, str(error))
            return
        except DbError:
            yield refusal(OUT_OF_RESOURCES, "the index is unavailable")
            return
        for values in found:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            status = PENDING_WITHOUT_SOME_KEYS if has_unknown_keys(identifier, values) else PENDING
            yield status, response(identifier, values, self._station)

    def _find(self, identifier: Identifier, actor: str) -> Iterable[Values]:
        with self._database.read() as session:
            if identifier.level == STUDY:
                known = [study_values(study) for study in catalogue.studies(session, _study_keys(identifier))]
            elif identifier.level == SERIES:
                study_uid = identifier.unique("StudyInstanceUID")
                known = [series_values(study_uid, series) for series in catalogue.series(session, study_uid)]
            else:
                study_uid, series_uid = (identifier.unique(f"{level}InstanceUID") for level in ("Study", "Series"))
                found = catalogue.objects(session, [study_uid], series_instance_uids=[series_uid])
                known = [image_values(study_uid, one) for one in found]
        matching = [values for values in known if matches(identifier, values)]
        details: dict[str, object] = {"level": identifier.level, "matches": len(matching)}
        with self._database.begin() as session:
            audit.append(session, AuditEvent("query:answered", actor, details=details))
        _log.info("query:answered", extra={"count": len(matching), "kind": identifier.level.lower()})
        return matching


def _study_keys(identifier: Identifier) -> StudyKeys:
    keys = {key.keyword: key for key in identifier.keys}
    date_from, date_to = date_range(keys.get("StudyDate"))
    return StudyKeys(
        study_instance_uids=identifier.values("StudyInstanceUID"),
        patient_id=keys["PatientID"].single if "PatientID" in keys else "",
        accession_number=keys["AccessionNumber"].single if "AccessionNumber" in keys else "",
        date_from=date_from,
        date_to=date_to,
    )


def refusal(status: int, comment: str) -> Answer:
    """Refuse with a status and a comment that holds no value of the identifier."""
    ds = Dataset()
    ds.Status = status
    ds.ErrorComment = comment[:64]
    return ds, None


__all__ = ["IMAGE", "STUDY_ROOT_FIND", "QueryService", "refusal"]
