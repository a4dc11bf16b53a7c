"""What of the worklist is asked for, and which index finds it where that leaves few studies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, column, func, select, table, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.domain.records import WorklistOrder, WorklistQuery
from db.engine.session import free_text
from db.studies import patients
from db.tables.arrivals import StudyRow

TERM_LIMIT = 8
NARROW = 1000
"""Up to so many studies are cheaper to fetch and sort than to meet one by one on the way along an index."""
TRIGRAM = 3
SAMPLE, COMMON = 2000, 40
"""Words that so many of the latest studies hold are met soon on the way along an index."""

_search = table("study_search", column("study_id"), column("search_text"))


def restricted(session: Session, query: WorklistQuery, statement: Select[Any, Any]) -> Select[Any, Any] | None:
    """Restrict a statement over studies to what the query asks for; None where nothing can be it."""
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
    """Split a text into what to look for: whole words anywhere, one or two letters at the beginning of a word."""
    words = patients.folded_text(free_text(searched)).split()[:TERM_LIMIT]
    return [word if len(word) >= TRIGRAM else f"  {word}" for word in words]


def _conditions(session: Session, query: WorklistQuery) -> Iterator[ColumnElement[bool]]:
    """Say what a listed study is like, leaving the choice of an index to the order and to the candidates.

    PostgreSQL weighs by its statistics, which only bare columns have, whether to walk an index in order or to sort.
    From SQLite ``coalesce`` hides an index: one over half of all studies would have these fetched and sorted each time.
    """

    def seen(attribute: InstrumentedAttribute[Any], absent: object) -> SQLColumnExpression[Any]:
        return func.coalesce(attribute, absent) if _is_sqlite(session) else attribute

    yield from _text_conditions(query, seen(StudyRow.search_text, ""))
    yield from _date_conditions(query, seen(StudyRow.study_date, ""))
    yield from _probability_conditions(query, seen(StudyRow.malignancy_probability, -1.0))
    if query.state is not None and query.order is WorklistOrder.PRIORITY:
        yield seen(StudyRow.state, "") == query.state
    elif query.state is not None:
        yield StudyRow.state == query.state  # has an index by arrival
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
    """Find by index what each filter leaves by itself."""
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
    """Whether many studies hold the text: PostgreSQL's trigram index would find all of them before the first."""
    if _is_sqlite(session):  # its index stops where it is told to
        return False
    latest = select(StudyRow.search_text).order_by(StudyRow.received_at.desc(), StudyRow.id.desc()).limit(SAMPLE)
    sample = latest.subquery()
    found = select(func.count()).select_from(sample).where(*_text_conditions(query, sample.c.search_text))
    return session.scalars(found).one() >= COMMON


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _having_text(session: Session, query: WorklistQuery) -> Select[str]:
    if not _is_sqlite(session):
        return select(StudyRow.id).where(*_text_conditions(query, StudyRow.search_text))
    phrases = " ".join(f'"{term}"' for term in (term.replace('"', '""') for term in terms(query.text)))
    return select(_search.c.study_id).where(_search.c.search_text.match(phrases))
