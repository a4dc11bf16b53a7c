"""C-FIND on our own store, received instances and results, Study Root (PS3.4 C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from db.archive import search as archive_search
from db.archive.search import Condition, Match, OneOf, Page
from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.errors import DbError
from dicom_node.encoding.errors import DicomNodeError
from dicom_node.services.identifiers import (
    IMAGE,
    SERIES,
    STUDY,
    Identifier,
    IdentifierError,
    Values,
    condition,
    has_unknown_keys,
    image_values,
    matches,
    read_identifier,
    refuse_unsupported_keys,
    response,
    series_values,
    study_values,
)

_log = logging.getLogger(__name__)

PENDING, PENDING_WITHOUT_SOME_KEYS, CANCELLED = 0xFF00, 0xFF01, 0xFE00
NOT_AUTHORIZED, OUT_OF_RESOURCES, DOES_NOT_MATCH = 0x0124, 0xA700, 0xA900

MAX_MATCHES = 10_000
_ABOVE = {STUDY: (), SERIES: ("StudyInstanceUID",), IMAGE: ("StudyInstanceUID", "SeriesInstanceUID")}
"""Unique keys of the levels above, which a query names (PS3.4 C.4.1.2.1)."""
_LEVELS = {
    STUDY: (archive_search.search_studies, archive_search.STUDY_KEYWORDS),
    SERIES: (archive_search.search_series, archive_search.SERIES_KEYWORDS - archive_search.STUDY_KEYWORDS),
    IMAGE: (archive_search.search_instances, archive_search.INSTANCE_KEYWORDS - archive_search.SERIES_KEYWORDS),
}
"""Search function of each level, and its keys besides the unique ones above."""
_OF_STUDY = frozenset({"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "InstanceAvailability"})
COUNTS = _OF_STUDY | {"NumberOfSeriesRelatedInstances"}
"""Keys that say how much there is and where, which changes; they identify nothing."""
_MATCHED = {
    STUDY: archive_search.STUDY_KEYWORDS | _OF_STUDY,
    SERIES: archive_search.SERIES_KEYWORDS | COUNTS,
    IMAGE: archive_search.INSTANCE_KEYWORDS | COUNTS,
}
"""Keys whose values are compared at each level; others with a value are refused."""

Answer = tuple[int | Dataset, Dataset | None]


class TooManyMatchesError(DicomNodeError):
    """A query matches more than the limit."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_MATCHES} match, narrow the query")


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
        """Answer a request (``EVT_C_FIND``); the query is audited before the first match is sent."""
        sender = event.assoc.sender
        if not sender.may_query:
            yield refusal(NOT_AUTHORIZED, "this peer may not query")
            return
        try:
            identifier = read_identifier(lambda: event.identifier)
            answers = self._find(identifier, sender.actor)
        except IdentifierError as error:
            yield refusal(DOES_NOT_MATCH, str(error))
            return
        except TooManyMatchesError as error:
            yield refusal(OUT_OF_RESOURCES, str(error))
            return
        except DbError:
            yield refusal(OUT_OF_RESOURCES, "the index is unavailable")
            return
        for values in answers:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            status = PENDING_WITHOUT_SOME_KEYS if has_unknown_keys(identifier, values) else PENDING
            yield status, response(identifier, values, self._station)

    def _find(self, identifier: Identifier, actor: str) -> list[Values]:
        above = {keyword: OneOf((identifier.unique(keyword),)) for keyword in _ABOVE[identifier.level]}
        with self._database.read() as session:
            matching = find_matches(session, identifier, above)
        details: dict[str, object] = {"level": identifier.level, "matches": len(matching)}
        with self._database.begin() as session:
            audit.append(session, AuditEvent("query:answered", actor, details=details))
        _log.info("query:answered", extra={"count": len(matching), "kind": identifier.level.lower()})
        return matching


def find_matches(session: Session, identifier: Identifier, unique: Mapping[str, OneOf]) -> list[Values]:
    """Return the attributes of what matches all keys of an identifier, at its level.

    Parameters
    ----------
    unique
        Unique keys that limit the search, besides those of the identifier's own level.

    Raises
    ------
    IdentifierError
        A key with a value is not matched at this level.
    TooManyMatchesError
    """
    search, keywords = _LEVELS[identifier.level]
    refuse_unsupported_keys(identifier, _MATCHED[identifier.level])
    conditions: dict[str, Condition | None] = {
        **unique,
        **{key.keyword: condition(key) for key in identifier.keys if key.keyword in keywords},
    }
    usable = {keyword: value for keyword, value in conditions.items() if value is not None}
    page = search(session, usable, Page(MAX_MATCHES))
    if page.remaining:
        raise TooManyMatchesError
    return [values for match in page.matches if matches(identifier, values := _values(match))]


def _values(match: Match) -> Values:
    """Return the attributes of a match, with those of the levels above."""
    values = study_values(match.study)
    if match.series is not None:
        values |= series_values(match.study.study_instance_uid, match.series)
    if match.instance is not None:
        values |= image_values(match.instance)
    return values


def refusal(status: int, comment: str) -> Answer:
    """Return a refusing status with a comment that holds no value of the identifier."""
    ds = Dataset()
    ds.Status = status
    ds.ErrorComment = comment[:64]
    return ds, None


__all__ = ["IMAGE", "QueryService", "refusal"]
