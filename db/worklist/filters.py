"""Conditions of a worklist query, with an index lookup for selective filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, column, func, select, table, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.domain.worklist import WorklistOrder, WorklistQuery
from db.engine.session import free_text
from db.studies import patients
from db.tables.studies import StudyRow

TERM_LIMIT = 8
NARROW = 1000
"""Number of studies up to which fetching and sorting is cheaper than walking an index in order."""
TRIGRAM = 3
SAMPLE, COMMON = 2000, 40
"""A text found in ``COMMON`` of the ``SAMPLE`` latest studies is found soon by walking an index in order."""

_search = table("study_search", column("study_id"), column("search_text"))


def restricted(session: Session, query: WorklistQuery, statement: Select[Any, Any]) -> Select[Any, Any] | None:
    """Return a statement over studies restricted by the query; None if nothing can match."""
    statement = statement.where(*_conditions(session, query))
    if not _is_sqlite(session):  # a plan made for any value knows nothing of how common this one is
        session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    for candidates in _candidates(session, query):
        ids = session.scalars(candidates.limit(NARROW + 1)).all()
        if not ids:
            return None
        if len(ids) <= NARROW:
            return statement.where(StudyRow.id.in_(ids))
    return statement


def terms(searched: str) -> list[str]:
    """Split a search text into terms: words match anywhere, one or two letters at the beginning of a word."""
    words = patients.folded_text(free_text(searched)).split()[:TERM_LIMIT]
    return [word if len(word) >= TRIGRAM else f"  {word}" for word in words]


def _conditions(session: Session, query: WorklistQuery) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of the query, without influence on the choice of an index.

    PostgreSQL decides by its statistics, which only bare columns have, whether to walk an index in order or to sort.
    On SQLite ``coalesce`` hides an index, which would otherwise fetch and sort half of all studies each time.
    """

    def operand(attribute: InstrumentedAttribute[Any], absent: object) -> SQLColumnExpression[Any]:
        return func.coalesce(attribute, absent) if _is_sqlite(session) else attribute

    yield from _text_conditions(query, operand(StudyRow.search_text, ""))
    is_by_date = query.order in (WorklistOrder.STUDY_DATE, WorklistOrder.STUDY_DATE_DESC)
    yield from _date_conditions(query, StudyRow.study_date if is_by_date else operand(StudyRow.study_date, ""))
    yield from _probability_conditions(query, operand(StudyRow.malignancy_probability, -1.0))
    if query.state is not None and query.order in (WorklistOrder.NEWEST, WorklistOrder.OLDEST):
        yield StudyRow.state == query.state  # has an index by arrival
    elif query.state is not None:
        yield operand(StudyRow.state, "") == query.state
    if query.is_reviewed is not None:
        yield StudyRow.reviewed_at.is_not(None) if query.is_reviewed else StudyRow.reviewed_at.is_(None)


def _text_conditions(query: WorklistQuery, searched: SQLColumnExpression[str]) -> Iterator[ColumnElement[bool]]:
    return (searched.contains(term, autoescape=True) for term in terms(query.text))


def _date_conditions(query: WorklistQuery, date: SQLColumnExpression[str]) -> Iterator[ColumnElement[bool]]:
    if query.date_from:
        yield date >= query.date_from
    if query.date_to:
        yield date <= query.date_to
        yield date > ""  # an unknown date is in no range


def _probability_conditions(query: WorklistQuery, likely: SQLColumnExpression[Any]) -> Iterator[ColumnElement[bool]]:
    if query.min_probability is not None:
        yield likely >= query.min_probability
    if query.max_probability is not None:
        yield likely <= query.max_probability
        yield likely >= 0.0  # an unknown probability is in no range


def _candidates(session: Session, query: WorklistQuery) -> Iterator[Select[str]]:
    """Yield a statement for each filter that an index serves."""
    if terms(query.text) and not _is_common(session, query):
        yield _having_text(session, query)
    for conditions in (
        tuple(_date_conditions(query, StudyRow.study_date)),
        tuple(_probability_conditions(query, StudyRow.malignancy_probability)),
    ):
        if conditions:
            yield select(StudyRow.id).where(*conditions)
    if query.state is not None:
        yield select(StudyRow.id).where(StudyRow.state == query.state)


def _is_common(session: Session, query: WorklistQuery) -> bool:
    """Return whether many studies contain the text: PostgreSQL's trigram index would read all of them first."""
    if _is_sqlite(session):  # its index stops at the limit
        return False
    latest = select(StudyRow.search_text).order_by(StudyRow.received_at.desc(), StudyRow.id.desc()).limit(SAMPLE)
    sample = latest.subquery()
    statement = select(func.count()).select_from(sample).where(*_text_conditions(query, sample.c.search_text))
    return session.scalars(statement).one() >= COMMON


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _having_text(session: Session, query: WorklistQuery) -> Select[str]:
    if not _is_sqlite(session):
        return select(StudyRow.id).where(*_text_conditions(query, StudyRow.search_text))
    phrases = " ".join(f'"{term}"' for term in (term.replace('"', '""') for term in terms(query.text)))
    return select(_search.c.study_id).where(_search.c.search_text.match(phrases))
