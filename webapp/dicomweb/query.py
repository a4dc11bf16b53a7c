"""QIDO-RS (PS3.18 10.6): search for studies, series and instances."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, request

from db.archive import search
from db.archive.search import Between, Condition, Like, OneOf, Page, SearchResult
from db.domain.uids import is_uid
from webapp.dicomweb import attributes
from webapp.dicomweb.negotiation import JSON, check_json
from webapp.endpoints import ANY_QUERY, READ_CLINICAL, endpoint
from webapp.http.errors import BadRequestError
from webapp.reading import blinded_reading
from webapp.services.registry import current_services

blueprint = Blueprint("qido", __name__, url_prefix="/dicom-web")

MAX_LIMIT = 1000
"""Matches on one page; a warning states how many remain."""
MAX_OFFSET = 10_000_000
MAX_VALUE = 256
MAX_UIDS, MAX_VALUES = 1000, 50
"""Most values of one attribute in a query."""
CONTROLS = frozenset({"limit", "offset", "fuzzymatching", "includefield", "accept"})
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_LATEST = "235959.999999"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN_NAME = re.compile(r"[A-Za-z0-9.,]{1,64}")
_SEPARATORS = re.compile(r"[,\\]")
_LISTS = frozenset({"ModalitiesInStudy", "Modality"})


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query; ``warnings`` state unsupported parameters (PS3.18 8.3.4)."""

    conditions: dict[str, Condition]
    page: Page
    fields: frozenset[str]
    warnings: tuple[str, ...]

    @property
    def wants_all(self) -> bool:
        """Return True if all attributes are requested."""
        return "all" in self.fields


@endpoint(blueprint, "GET", "/studies", may=READ_CLINICAL, query=ANY_QUERY)
def studies() -> Response:
    """Search for studies."""
    query, result = _search(search.STUDY_KEYWORDS, search.search_studies)
    return _answer(query, result, [attributes.study(match.study) for match in result.matches])


@endpoint(blueprint, "GET", "/series", "/studies/<uid:study_uid>/series", may=READ_CLINICAL, query=ANY_QUERY)
def series(study_uid: str | None = None) -> Response:
    """Search for series."""
    query, result = _search(search.SERIES_KEYWORDS, search.search_series, StudyInstanceUID=study_uid)
    return _answer(query, result, [attributes.series(match) for match in result.matches])


@endpoint(
    blueprint,
    "GET",
    "/instances",
    "/studies/<uid:study_uid>/instances",
    "/studies/<uid:study_uid>/series/<uid:series_uid>/instances",
    may=READ_CLINICAL,
    query=ANY_QUERY,
)
def instances(study_uid: str | None = None, series_uid: str | None = None) -> Response:
    """Search for instances; attributes outside the index are read from their files."""
    parents = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    query, result = _search(search.INSTANCE_KEYWORDS, search.search_instances, **parents)
    paths = [match.instance.path for match in result.matches if match.instance is not None]
    documents = current_services().files.documents(paths, [""] * len(paths))
    indexed = [attributes.instance(match) for match in result.matches]
    return _answer(query, result, map(_with_file_attributes, indexed, documents, itertools.repeat(query)))


def _with_file_attributes(indexed: attributes.Attributes, document: str | None, query: Query) -> attributes.Attributes:
    """Return the attributes with the requested ones that only the file has."""
    in_file = json.loads(document) if document else {}
    requested_tags = in_file if query.wants_all else {*attributes.FROM_FILES, *query.fields}
    return {
        tag: value for tag, value in in_file.items() if tag in requested_tags and "BulkDataURI" not in value
    } | indexed


def _search(
    keywords: frozenset[str], find: Callable[..., SearchResult], **parents: str | None
) -> tuple[Query, SearchResult]:
    check_json()
    query = read_query(keywords)
    named = {keyword: OneOf((uid,)) for keyword, uid in parents.items() if uid is not None}
    with current_services().database.read() as session:
        return query, find(session, query.conditions | named, query.page, reads_first=blinded_reading.blind_reader())


def _answer(query: Query, result: SearchResult, described: Iterable[attributes.Attributes]) -> Response:
    """Stream the matches; 204 if there are none."""
    warnings = list(query.warnings)
    if result.remaining:
        warnings.append(f"There are {result.remaining} additional results that can be requested")
    headers = [("Warning", f'299 lungnode "{text}"') for text in warnings]
    if not result.matches:
        return Response(status=204, headers=headers)
    encoded = (json.dumps(match, separators=(",", ":")) for match in described)
    body = itertools.chain(["[", next(encoded)], (f",{match}" for match in encoded), ["]"])
    return Response(body, content_type=JSON, headers=headers)


def read_query(keywords: frozenset[str]) -> Query:
    """Parse the query parameters.

    Raises
    ------
    BadRequestError
        For an invalid value or paging, or an unsupported key: a wider result might be taken for the studies of one
        patient.
    """
    conditions: dict[str, Condition] = {}
    for name, values in request.args.lists():
        keyword = attributes.keyword_of(name)
        if name in CONTROLS or (keyword is not None and not any(values)):
            continue
        if keyword is None or keyword not in keywords or keyword in conditions:
            raise _bad_key(name, is_repeated=keyword in conditions)
        conditions[keyword] = _condition(keyword, [value for value in values if value])
    warnings = []
    if request.args.get("fuzzymatching", "").lower() == "true":
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    return Query(conditions, _page(), _fields(), tuple(warnings))


def _page() -> Page:
    limit = min(_whole_number("limit", MAX_LIMIT), MAX_LIMIT)
    if limit == 0:
        raise BadRequestError("The limit must be 1 or more.", code="bad_limit")
    return Page(limit, min(_whole_number("offset", 0), MAX_OFFSET))


def _whole_number(name: str, default: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequestError(f"The parameter {name} must be an integer.", code=f"bad_{name}")
    return int(text)


def _fields() -> frozenset[str]:
    """Return the tags that ``includefield`` names, by tag or keyword."""
    named = [field.strip() for field_list in request.args.getlist("includefield") for field in field_list.split(",")]
    tags = (attributes.tag_of(field) for field in named if field and field != "all")
    return frozenset(tag for tag in tags if tag) | ({"all"} if "all" in named else frozenset())


def _bad_key(name: str, *, is_repeated: bool) -> BadRequestError:
    shown = name if _SHOWN_NAME.fullmatch(name) else "A parameter"
    if is_repeated:
        return BadRequestError(f"{shown} is given twice.", code="bad_key")
    return BadRequestError(f"{shown} is not supported as a matching key.", code="bad_key")


def _condition(keyword: str, values: Sequence[str]) -> Condition:
    if any(_CONTROL.search(value) for value in values):
        raise _bad_value(keyword)
    if any(len(value) > MAX_VALUE for value in values) and not keyword.endswith("UID"):
        raise _bad_value(keyword)
    if keyword.endswith("UID"):
        return OneOf(_each(keyword, values, is_uid))
    if keyword in {"SeriesNumber", "InstanceNumber"}:
        return OneOf(_each(keyword, values, re.compile(r"[+-]?\d{1,10}").fullmatch))
    if keyword.endswith("Date"):
        return _range(keyword, values, _DATE, ("", ""))
    if keyword.endswith("Time"):
        return _range(keyword, values, _TIME, ("", _LATEST))
    if keyword in _LISTS:
        return OneOf(_each(keyword, values, re.compile(r"[A-Za-z0-9_ ]{1,16}").fullmatch))
    wild = [value for value in values if "*" in value or "?" in value]
    if len(values) > (1 if wild else MAX_VALUES):
        raise _bad_value(keyword)
    return Like(wild[0]) if wild else OneOf(tuple(values))


def _each(keyword: str, values: Sequence[str], is_valid: Callable[[str], object]) -> tuple[str, ...]:
    """Parse a list of values, joined by commas or backslashes (PS3.18 8.3.4.1)."""
    listed = tuple(part.strip() for value in values for part in _SEPARATORS.split(value) if part.strip())
    limit = MAX_UIDS if keyword.endswith("UID") else MAX_VALUES
    if not 0 < len(listed) <= limit or not all(map(is_valid, listed)):
        raise _bad_value(keyword)
    return listed


def _range(keyword: str, values: Sequence[str], pattern: re.Pattern[str], ends: tuple[str, str]) -> Condition:
    """Parse a date or time, or a range (PS3.4 C.2.2.2.5); bounds are padded to full length."""
    low, dash, high = values[0].partition("-")
    if not dash:
        high = low
    if len(values) > 1 or not (low or high) or not all(pattern.fullmatch(bound) for bound in (low, high) if bound):
        raise _bad_value(keyword)
    return Between(low, high + ends[1][len(high) :] if high else "")


def _bad_value(keyword: str) -> BadRequestError:
    return BadRequestError(f"{keyword} cannot be matched by that value.", code="bad_value")
