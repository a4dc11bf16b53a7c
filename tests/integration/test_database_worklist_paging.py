"""Paging over many studies: every order complete and without repetition, every page by index."""

from __future__ import annotations

import base64
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, text

from benchmarks.worklist import CLOCK, fill
from db.database import Database
from db.domain.errors import InvalidCursorError
from db.domain.studies import StudyState
from db.domain.worklist import WorklistItem, WorklistOrder, WorklistPage, WorklistQuery
from db.studies.patients import sort_name
from db.worklist import rows as worklist
from db.worklist.filters import NARROW

COUNT = 1500
"""More than are ever fetched and sorted at once."""
FILTERS: dict[str, dict[str, object]] = {
    "none": {},
    "state": {"state": StudyState.NOT_ANALYSED},
    "rare state": {"state": StudyState.FAILED},
    "text": {"text": "haddad"},
    "every study's text": {"text": "thorax"},
    "two letters": {"text": "li"},
    "dates": {"date_from": "20260210", "date_to": "20260220"},
    "likely": {"min_probability": 0.6},
    "unlikely": {"max_probability": 0.1},
    "unread": {"is_reviewed": False},
    "reviewed": {"is_reviewed": True},
    "all": {"state": StudyState.ANALYSED, "text": "thorax", "date_from": "20260101", "min_probability": 0.1},
}
ORDERS = list(WorklistOrder)


@pytest.fixture
def many(database: Database) -> Database:
    """A database of many studies, seen at the moment after the last arrival."""
    fill(database, COUNT)
    database._clock = lambda: CLOCK
    return database


def page(database: Database, **query: object) -> WorklistPage:
    with database.read() as session:
        return worklist.worklist_page(session, WorklistQuery(**query))  # type: ignore[arg-type]


def walk(database: Database, limit: int, **query: object) -> Iterator[WorklistItem]:
    cursor = None
    while True:
        result = page(database, limit=limit, cursor=cursor, **query)
        yield from result.items
        if (cursor := result.next_cursor) is None:
            return


def fits(item: WorklistItem, query: WorklistQuery) -> bool:
    """The filters once more, in plain Python."""
    haystack = f"{item.patient.name} {item.patient.patient_id} {item.accession_number} {item.study_description}"
    words = re.split(r"[\s^]", haystack.lower())
    likely = item.malignancy_probability
    return (
        (query.state is None or item.state is query.state)
        and (not query.text or any(word.startswith(query.text) for word in words))
        and (not query.date_from or item.study_date >= query.date_from)
        and (not query.date_to or item.study_date <= query.date_to)
        and (query.min_probability is None or (likely is not None and likely >= query.min_probability))
        and (query.max_probability is None or (likely is not None and likely <= query.max_probability))
        and (query.is_reviewed is None or (item.reviewed_at is not None) is query.is_reviewed)
    )


def rank(item: WorklistItem, order: WorklistOrder) -> tuple[Any, ...]:
    """The orders once more, in plain Python."""
    at = item.received_at.timestamp()
    if order in (WorklistOrder.PATIENT, WorklistOrder.PATIENT_DESC):
        return (sort_name(item.patient.name), at)
    if order in (WorklistOrder.STUDY_DATE, WorklistOrder.STUDY_DATE_DESC):
        return (item.study_date, at)
    if order is not WorklistOrder.PRIORITY:
        return (at if order is WorklistOrder.OLDEST else -at,)
    if item.reviewed_at is not None:
        return (4, -at)
    if item.is_stat:
        return (0, at)
    if item.received_at <= CLOCK - timedelta(seconds=WorklistQuery().max_wait_s):
        return (1, at)
    return (3, at) if item.malignancy_probability is None else (2, -item.malignancy_probability, at)


def test_every_filter_in_every_order_gives_what_python_gives(many: Database) -> None:
    everything = list(walk(many, 500))
    assert len({item.study_instance_uid for item in everything}) == COUNT
    for filters, order in itertools.product(FILTERS.values(), ORDERS):
        query = WorklistQuery(**filters, order=order)  # type: ignore[arg-type]
        is_descending = order in (WorklistOrder.PATIENT_DESC, WorklistOrder.STUDY_DATE_DESC)
        matching = [item for item in everything if fits(item, query)]
        expected = sorted(matching, key=lambda item: rank(item, order), reverse=is_descending)
        result = list(walk(many, 97, **filters, order=order))
        assert [item.study_instance_uid for item in result] == [item.study_instance_uid for item in expected], query


def test_what_waited_too_long_comes_before_the_likeliest(many: Database) -> None:
    soon = {"order": WorklistOrder.PRIORITY, "is_reviewed": False, "limit": 500}
    due = CLOCK - timedelta(hours=6)
    listed = page(many, max_wait_s=6 * 3600, **soon).items
    urgent = [item for item in listed if item.is_stat]
    assert list(listed[: len(urgent)]) == sorted(urgent, key=lambda item: item.received_at)
    items = listed[len(urgent) :]
    overdue = [item for item in items if item.received_at <= due]
    assert overdue, "the morning's list holds studies from the day before"
    assert list(items[: len(overdue)]) == sorted(overdue, key=lambda item: item.received_at)
    assert items[len(overdue)].malignancy_probability == max(
        item.malignancy_probability or 0 for item in items[len(overdue) :]
    )


def test_nothing_starves_however_many_likelier_studies_arrive(many: Database) -> None:
    """A reader who always takes the first study, while likelier ones arrive faster than she reads."""
    with many.begin() as session:
        session.execute(
            text(
                "UPDATE studies SET reviewed_at = NULL, malignancy_probability = 0.99, state = 'analysed',"
                " is_stat = false"
            )
        )
        patient = session.execute(text("SELECT id FROM studies ORDER BY received_at DESC LIMIT 1")).scalar_one()
        session.execute(text("UPDATE studies SET malignancy_probability = 0.01 WHERE id = :id"), {"id": patient})
    (newest,) = page(many, limit=1).items
    assert newest.malignancy_probability == 0.01
    before = page(many, order=WorklistOrder.PRIORITY, limit=500, max_wait_s=10**9).items
    assert newest not in before, "by probability alone it comes last"
    many._clock = lambda: CLOCK + timedelta(hours=5)
    with many.begin() as session:  # all the earlier ones are read; likelier ones have come since
        session.execute(
            text("UPDATE studies SET reviewed_at = :at WHERE id <> :id AND received_at < :since"),
            {"at": "2026-03-02 09:00:00.000000", "id": patient, "since": "2026-03-01 08:00:00.000000"},
        )
        session.execute(
            text("UPDATE studies SET received_at = :at WHERE id <> :id AND reviewed_at IS NULL"),
            {"at": "2026-03-02 12:59:00.000000", "id": patient},
        )
    first = page(many, order=WorklistOrder.PRIORITY, limit=2).items
    assert first[0].study_instance_uid == newest.study_instance_uid
    assert first[1].malignancy_probability == 0.99


def test_the_clock_moves_nothing_between_pages(many: Database) -> None:
    order = {"order": WorklistOrder.PRIORITY, "is_reviewed": False}
    one_page = [item.study_instance_uid for item in walk(many, 500, **order)]
    observed, cursor = [], None
    for hours in itertools.count():
        many._clock = partial(operator.add, CLOCK, timedelta(hours=hours))
        result = page(many, limit=60, cursor=cursor, **order)
        observed += [item.study_instance_uid for item in result.items]
        if (cursor := result.next_cursor) is None:
            break
    assert observed == one_page


def test_a_cursor_belongs_to_its_order(many: Database) -> None:
    cursor = page(many, limit=1).next_cursor
    with pytest.raises(InvalidCursorError):
        page(many, limit=1, cursor=cursor, order=WorklistOrder.PRIORITY)


@pytest.mark.parametrize("order", [WorklistOrder.PATIENT, WorklistOrder.STUDY_DATE_DESC])
def test_a_cursor_holds_no_name_and_none_of_a_removed_study(many: Database, order: WorklistOrder) -> None:
    result = page(many, limit=1, order=order)
    cursor = result.next_cursor or ""
    payload = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode(errors="replace").casefold()
    assert sort_name(result.items[0].patient.name).split()[0] not in payload
    with many.begin() as session:
        session.execute(
            text("DELETE FROM studies WHERE study_instance_uid = :uid"), {"uid": result.items[0].study_instance_uid}
        )
    with pytest.raises(InvalidCursorError):
        page(many, limit=1, order=order, cursor=cursor)


def test_what_waits_is_counted(many: Database) -> None:
    with many.read() as session:
        load = worklist.reading_load(session, 4 * 3600)
    unread = list(walk(many, 500, is_reviewed=False))
    assert load.unread == len(unread)
    assert load.overdue == sum(item.received_at <= CLOCK - timedelta(hours=4) for item in unread)


Asked = list[tuple[str, Sequence[Any]]]


@pytest.fixture
def asked(database: Database) -> Callable[..., Asked]:
    """A maker of the statements over studies that one page and the page after it need."""
    noted: Asked = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Sequence[Any], *_: object) -> None:
        if statement.startswith("SELECT") and "FROM stud" in statement.replace("\n", " "):
            noted.append((statement, parameters))

    def make(**query: object) -> Asked:
        noted.clear()
        event.listen(database.engine, "before_cursor_execute", note)
        cursor = page(database, limit=20, **query).next_cursor
        if cursor:
            page(database, limit=20, cursor=cursor, **query)
        event.remove(database.engine, "before_cursor_execute", note)
        assert noted
        return list(noted)

    return make


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_on_sqlite_no_page_reads_every_study_and_no_unfiltered_one_is_sorted(
    many: Database, asked: Callable[..., Asked]
) -> None:
    for (name, filters), order in itertools.product(FILTERS.items(), ORDERS):
        for statement, parameters in asked(**filters, order=order):
            with many.engine.connect() as connection:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in (str(row[-1]) for row in rows):
                assert not re.search(r"SCAN (studies|patients)(?! USING)", step), (name, order, step)
                assert not step.startswith("SCAN study_search") or "VIRTUAL TABLE INDEX" in step
                if not filters and "B-TREE" in step:  # only equal probabilities are sorted
                    assert re.search(r"LAST TERM|LAST 2 TERMS", step), (order, step)


@pytest.mark.slow
@pytest.mark.parametrize("migrated_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_on_postgres_no_page_fetches_or_sorts_more_than_a_few_studies(
    database: Database, asked: Callable[..., Asked]
) -> None:
    """As the planner chooses by its statistics; the text of every study must not have every study fetched."""
    fill(database, 12 * COUNT)
    database._clock = lambda: CLOCK
    for (name, filters), order in itertools.product(FILTERS.items(), ORDERS):
        for statement, parameters in asked(**filters, order=order):
            with database.engine.connect() as connection:
                explain = f"EXPLAIN (ANALYZE, TIMING off, FORMAT json) {statement}"
                (plan,) = connection.exec_driver_sql(explain, parameters).scalar_one()
            assert max(rows_handled(plan["Plan"])) <= NARROW + 100, (name, order, plan)


def rows_handled(node: dict[str, Any]) -> Iterator[int]:
    """Numbers of patients that a plan's steps looked up, and of rows that each sorted."""
    yield 0
    if node.get("Relation Name") == "patients":
        yield node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    for part in node.get("Plans", ()):
        if node["Node Type"] == "Sort":
            yield part["Actual Loops"] * part["Actual Rows"]
        yield from rows_handled(part)
