"""Attribute search for studies, series and instances (QIDO-RS, C-FIND; PS3.4 C.2.2.2, PS3.18 8.3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Row, Select, SQLColumnExpression, Subquery, and_, func, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from db.archive import index as archive
from db.archive.index import ArchivedInstance
from db.domain.studies import PatientAttributes
from db.engine.session import record_of
from db.studies import patients
from db.tables.exchange import ResultRow
from db.tables.studies import PatientRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class OneOf:
    """Matches any of the values; person names regardless of case."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Matches a wildcard pattern of ``*`` and ``?``, case-sensitive except for person names."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """Matches values in a range, bounds included; an empty bound is open."""

    low: str
    high: str


Condition = OneOf | Like | Between
Conditions = Mapping[str, Condition]
"""Conditions by the keyword of their attribute."""

_STUDY: dict[str, SQLColumnExpression[Any]] = {
    "StudyInstanceUID": StudyRow.study_instance_uid,
    "StudyDate": StudyRow.study_date,
    "StudyTime": StudyRow.study_time,
    "StudyID": StudyRow.local_study_id,
    "AccessionNumber": StudyRow.accession_number,
    "StudyDescription": StudyRow.study_description,
    "ReferringPhysicianName": StudyRow.referring_physician,
    "PatientName": PatientRow.name,
    "PatientID": PatientRow.patient_id,
    "IssuerOfPatientID": PatientRow.issuer,
    "PatientBirthDate": PatientRow.birth_date,
    "PatientSex": PatientRow.sex,
}
_SERIES = {
    "SeriesInstanceUID": "series_instance_uid",
    "SeriesNumber": "series_number",
    "SeriesDescription": "series_description",
    "Modality": "modality",
}
_INSTANCE = {
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "InstanceNumber": "instance_number",
}
_MODALITIES = "ModalitiesInStudy"
_NAMES = frozenset({"PatientName", "ReferringPhysicianName"})
STUDY_KEYWORDS = frozenset({*_STUDY, _MODALITIES})
SERIES_KEYWORDS = frozenset({*STUDY_KEYWORDS, *_SERIES})
INSTANCE_KEYWORDS = frozenset({*SERIES_KEYWORDS, *_INSTANCE})


@dataclass(frozen=True, slots=True)
class Page:
    """Limit and offset of the matches to return."""

    limit: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ArchivedStudy:
    """A study with its attributes and counts."""

    study_instance_uid: str
    study_date: str
    study_time: str
    local_study_id: str
    study_description: str
    accession_number: str
    referring_physician: str
    patient: PatientAttributes
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class ArchivedSeries:
    """A received or result series."""

    series_instance_uid: str
    series_number: int | None
    series_description: str
    modality: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class Match:
    """A match: a study and, by query level, a series and an instance of it."""

    study: ArchivedStudy
    series: ArchivedSeries | None = None
    instance: ArchivedInstance | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A page of matches, and the number of those after it."""

    matches: tuple[Match, ...]
    remaining: int


def search_studies(
    session: Session, conditions: Conditions, page: Page, *, reads_first: str | None = None
) -> SearchResult:
    """Search for studies, latest received first."""
    rows, remaining = _page(session, _studies(conditions, reads_first), page)
    studies = _described(session, rows, reads_first)
    return SearchResult(tuple(Match(studies[row.StudyRow.id]) for row in rows), remaining)


def search_series(
    session: Session, conditions: Conditions, page: Page, *, reads_first: str | None = None
) -> SearchResult:
    """Search for series, by study (latest received first) and series number."""
    series = archive.all_series(_study_ids(session, conditions), reads_first)
    statement = _studies(conditions, reads_first).join(series, series.c.study_id == StudyRow.id)
    statement = statement.add_columns(*_labelled(series)).where(*_below(conditions, series, _SERIES))
    rows, remaining = _page(session, statement.order_by(series.c.series_number, series.c.series_instance_uid), page)
    studies = _described(session, rows, reads_first)
    return SearchResult(tuple(Match(studies[row.StudyRow.id], _series(row)) for row in rows), remaining)


def search_instances(
    session: Session, conditions: Conditions, page: Page, *, reads_first: str | None = None
) -> SearchResult:
    """Search for instances, by series and instance number within their study."""
    study_ids = _study_ids(session, conditions)
    series, instances = archive.all_series(study_ids, reads_first), archive.all_instances(study_ids, reads_first)
    statement = _studies(conditions, reads_first).join(series, series.c.study_id == StudyRow.id)
    is_within = and_(
        instances.c.study_id == series.c.study_id, instances.c.series_instance_uid == series.c.series_instance_uid
    )
    statement = statement.join(instances, is_within).add_columns(*_labelled(series), *_labelled(instances))
    statement = statement.where(*_below(conditions, series, _SERIES), *_below(conditions, instances, _INSTANCE))
    order = (series.c.series_number, series.c.series_instance_uid, instances.c.instance_number)
    rows, remaining = _page(session, statement.order_by(*order, instances.c.sop_instance_uid), page)
    studies = _described(session, rows, reads_first)
    matches = (Match(studies[row.StudyRow.id], _series(row), _instance(row)) for row in rows)
    return SearchResult(tuple(matches), remaining)


def _studies(conditions: Conditions, reads_first: str | None = None) -> Select[StudyRow, PatientRow]:
    """Select the studies that match, without order within a study."""
    clauses = [
        _matches(keyword, _STUDY[keyword], condition) for keyword, condition in conditions.items() if keyword in _STUDY
    ]
    if _MODALITIES in conditions:
        condition = conditions[_MODALITIES]
        received = select(SeriesRow.id).where(
            SeriesRow.study_id == StudyRow.id, _matches(_MODALITIES, SeriesRow.modality, condition)
        )
        results = select(ResultRow.id).where(
            ResultRow.study_id == StudyRow.id,
            archive.is_shown(reads_first),
            _matches(_MODALITIES, ResultRow.modality, condition),
        )
        clauses.append(or_(received.exists(), results.exists()))
    statement = select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)
    return statement.where(*clauses).order_by(StudyRow.received_at.desc(), StudyRow.id.desc())


def _below(conditions: Conditions, table: Subquery, columns: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [
        _matches(keyword, table.c[columns[keyword]], condition)
        for keyword, condition in conditions.items()
        if keyword in columns
    ]


def _matches(keyword: str, column: SQLColumnExpression[Any], condition: Condition) -> ColumnElement[bool]:
    if isinstance(condition, Between):
        bounds = [column >= condition.low] if condition.low else []
        return and_(column != "", *bounds, *([column <= condition.high] if condition.high else []))
    if isinstance(condition, Like):
        return (
            _name_like(column, condition.pattern) if keyword in _NAMES else matches_wildcard(column, condition.pattern)
        )
    if keyword.endswith("Number") and keyword != "AccessionNumber":
        return column.in_([int(value) for value in condition.values])
    if keyword in _NAMES:
        return or_(*(_name_like(column, value, wild=False) for value in condition.values))
    return column.in_(condition.values)


def _like(pattern: str, *, wild: bool = True) -> str:
    """Return the LIKE form of a wildcard pattern, escaped."""
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return pattern.replace("*", "%").replace("?", "_") if wild else pattern


class _Wildcard(ColumnElement[bool]):
    """Case-sensitive wildcard match (PS3.4 C.2.2.2.4): LIKE on PostgreSQL, GLOB on SQLite."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: SQLColumnExpression[Any], pattern: str) -> None:
        self.as_like = column.like(_like(pattern), escape="\\")
        self.as_glob = column.op("GLOB")(pattern.replace("[", "[[]"))


@compiles(_Wildcard)
def _compile_like(element: _Wildcard, compiler: SQLCompiler, **more: Any) -> str:
    return str(compiler.process(element.as_like, **more))


@compiles(_Wildcard, "sqlite")
def _compile_glob(element: _Wildcard, compiler: SQLCompiler, **more: Any) -> str:
    return str(compiler.process(element.as_glob, **more))


def matches_wildcard(column: SQLColumnExpression[Any], pattern: str) -> ColumnElement[bool]:
    """Match a text with a pattern of ``*`` and ``?``, case-sensitive."""
    return _Wildcard(column, pattern)


def _name_like(column: SQLColumnExpression[Any], pattern: str, *, wild: bool = True) -> ColumnElement[bool]:
    """Compare with each component group of a person name (PS3.5 6.2.1.1); empty components at the end do not count."""
    name = func.rtrim(func.lower(column), "^")
    groups = [_like(group, wild=wild).lower() for part in pattern.split("=") if (group := part.strip(" ").rstrip("^ "))]
    return and_(true(), *(_group_like(name, form) for form in groups))


def _group_like(name: SQLColumnExpression[Any], form: str) -> ColumnElement[bool]:
    forms = (form, f"{form}=%", f"%={form}", f"%={form}=%")
    return or_(*(name.like(pattern, escape="\\") for pattern in forms))


def _study_ids(session: Session, conditions: Conditions) -> list[str] | None:
    """Return the ids of the studies that the query names by UID; None if it names none."""
    condition = conditions.get("StudyInstanceUID")
    if not isinstance(condition, OneOf):
        return None
    return list(session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid.in_(condition.values))))


def _labelled(table: Subquery) -> list[ColumnElement[Any]]:
    """Label columns with their table's name, since both levels have a series' UID and number."""
    return [column.label(f"{table.name}_{column.name}") for column in table.c]


def _page(session: Session, statement: Select[*tuple[Any, ...]], page: Page) -> tuple[Sequence[Row[Any]], int]:
    rows = session.execute(statement.limit(page.limit).offset(page.offset)).all()
    if len(rows) < page.limit and (rows or not page.offset):
        return rows, 0
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    return rows, max(0, total - page.offset - len(rows))


def _described(session: Session, rows: Sequence[Row[Any]], reads_first: str | None) -> dict[str, ArchivedStudy]:
    """Return the studies of some rows, with the counts of their series and instances."""
    studies = {row.StudyRow.id: (row.StudyRow, row.PatientRow) for row in rows}
    series = archive.all_series(list(studies), reads_first)
    modalities: dict[str, set[str]] = {study_id: set() for study_id in studies}
    counts = dict.fromkeys(studies, (0, 0))
    for study_id, modality, series_count, instance_count in session.execute(
        select(series.c.study_id, series.c.modality, func.count(), func.sum(series.c.instance_count)).group_by(
            series.c.study_id, series.c.modality
        )
    ):
        modalities[study_id] |= {modality} - {""}
        before = counts[study_id]
        counts[study_id] = (before[0] + series_count, before[1] + int(instance_count))
    return {
        study_id: record_of(
            ArchivedStudy,
            study,
            patient=patients.attributes(patient),
            modalities=tuple(sorted(modalities[study_id])),
            series_count=counts[study_id][0],
            instance_count=counts[study_id][1],
        )
        for study_id, (study, patient) in studies.items()
    }


def _series(row: Row[Any]) -> ArchivedSeries:
    return ArchivedSeries(
        series_instance_uid=row.every_series_series_instance_uid,
        series_number=row.every_series_series_number,
        series_description=row.every_series_series_description,
        modality=row.every_series_modality,
        instance_count=row.every_series_instance_count,
    )


def _instance(row: Row[Any]) -> ArchivedInstance:
    return ArchivedInstance(
        study_instance_uid=row.StudyRow.study_instance_uid,
        series_instance_uid=row.every_instance_series_instance_uid,
        sop_instance_uid=row.every_instance_sop_instance_uid,
        sop_class_uid=row.every_instance_sop_class_uid,
        transfer_syntax_uid=row.every_instance_transfer_syntax_uid,
        instance_number=row.every_instance_instance_number,
        path=row.every_instance_path,
    )
