"""The worklist: every study exactly once, whatever arrives meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from db.analyses import analyses
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryStatus
from db.domain.errors import InvalidCursorError
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.studies import PatientAttributes, ReceivedInstance, StudyState
from db.domain.worklist import WorklistPage, WorklistQuery
from db.monitoring import workload
from db.results import deliveries
from db.studies.instances import receiving_series
from db.worklist import rows as worklist
from tests.support.databases import ManualClock
from tests.support.records import record_instance

Received = Callable[..., ReceivedInstance]


def arrive(database: Database, *instances: ReceivedInstance) -> None:
    for instance in instances:
        with database.begin() as session:
            record_instance(session, instance)


def page(database: Database, **query: object) -> WorklistPage:
    with database.read() as session:
        return worklist.worklist_page(session, WorklistQuery(**query))  # type: ignore[arg-type]


def uids(listed: WorklistPage) -> list[str]:
    return [item.study_instance_uid for item in listed.items]


def walk(database: Database, **query: object) -> list[str]:
    observed: list[str] = []
    cursor = None
    while True:
        listed = page(database, cursor=cursor, **query)
        observed += uids(listed)
        if listed.next_cursor is None:
            return observed
        cursor = listed.next_cursor


def test_an_empty_worklist_has_no_next_page(database: Database) -> None:
    assert page(database) == WorklistPage((), None)


def test_newest_received_comes_first_and_later_slices_move_nothing(database: Database, received: Received) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in (5, 3, 4)))
    arrive(database, received(2, study="1.2.5"))
    assert uids(page(database)) == ["1.2.4", "1.2.3", "1.2.5"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 500])
def test_pages_cover_every_study_once(database: Database, received: Received, limit: int) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(10, 17)))
    assert walk(database, limit=limit) == [f"1.2.{n}" for n in range(16, 9, -1)]


def test_studies_received_in_the_same_microsecond_are_all_listed(database: Database, received: Received) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(10, 17)))
    with database.begin() as session:
        session.execute(text("UPDATE studies SET received_at = (SELECT received_at FROM studies LIMIT 1)"))
    assert sorted(walk(database, limit=2)) == [f"1.2.{n}" for n in range(10, 17)]


def test_arrivals_between_two_pages_neither_repeat_nor_hide_a_study(database: Database, received: Received) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(10, 16)))
    first = page(database, limit=3)
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(20, 24)))
    rest = page(database, limit=10, cursor=first.next_cursor)
    assert uids(first) + uids(rest) == [f"1.2.{n}" for n in range(15, 9, -1)]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_page_has_at_least_one_row(database: Database, received: Received, limit: int) -> None:
    arrive(database, received(1))
    assert len(page(database, limit=limit).items) == 1


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "A" * 5000, "....", "\0"])
def test_a_cursor_that_was_not_given_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        page(database, cursor=cursor)
    with pytest.raises(ValueError, match="cursor"):
        page(database, cursor=cursor)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cursor_with_any_altered_byte_is_refused(database: Database, received: Received, data: st.DataObject) -> None:
    arrive(database, received(1), received(1, study="1.2.4"))
    cursor = page(database, limit=1).next_cursor
    assert cursor is not None
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidCursorError):
        page(database, cursor=base64.urlsafe_b64encode(raw).decode().rstrip("="))


def test_a_cursor_holds_no_identity(database: Database, received: Received) -> None:
    arrive(database, received(1), received(1, study="1.2.4"))
    cursor = page(database, limit=1).next_cursor
    assert cursor is not None
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert b"1.2." not in raw
    assert b"CANARY" not in raw


@pytest.mark.parametrize(
    ("words", "is_match"),
    [
        ("müller", True),
        ("MULLER anna", True),
        ("anna  müller", True),
        ("pid-77", True),
        ("acc-7", True),
        ("thorax", True),
        ("1.2.77", True),
        ("müller peter", False),
        ("%", False),
        ("_", False),
        ("' OR 1=1 --", False),
        ("\\", False),
        ("\0", False),
    ],
)
def test_text_search_looks_for_every_word(database: Database, received: Received, words: str, is_match: bool) -> None:
    person = PatientAttributes("PID-77", "", "Müller^Anna", "19700101", "F")
    arrive(database, received(1, study="1.2.77", patient=person, accession_number="ACC-78"))
    other = replace(person, patient_id="Q", name="X^Y")
    arrive(database, received(1, study="1.2.5", study_description="Kopf", accession_number="B", patient=other))
    assert ("1.2.77" in uids(page(database, text=words))) is is_match
    if is_match:
        assert "1.2.5" not in uids(page(database, text=words))


@pytest.mark.parametrize("words", ["", "  ", "^", "=", "\u0301"])
def test_text_without_a_word_restricts_nothing(database: Database, received: Received, words: str) -> None:
    arrive(database, received(1))
    assert len(page(database, text=words).items) == 1


def test_the_state_filter_pages_too(database: Database, received: Received, model: ModelIdentity) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(10, 20)))
    with database.begin() as session:
        for series in receiving_series(session)[::2]:
            analyses.request_analysis(session, series.id, model, requested_by="node")
    assert walk(database, state=StudyState.QUEUED, limit=2) == [f"1.2.{n}" for n in range(18, 9, -2)]
    assert walk(database, state=StudyState.RECEIVING, limit=2) == [f"1.2.{n}" for n in range(19, 10, -2)]
    assert walk(database, state=StudyState.FAILED) == []


def test_counts_for_metrics_add_up(
    database: Database, received: Received, model: ModelIdentity, clock: ManualClock
) -> None:
    arrive(database, *(received(1, study=f"1.2.{n}") for n in range(10, 15)))
    with database.begin() as session:
        series = receiving_series(session)
        records = [analyses.request_analysis(session, one.id, model, requested_by="node") for one in series[:4]]
    clock.advance(90)
    with database.begin() as session:
        analyses.complete_analysis(session, records[0].id, AnalysisOutcome())
        analyses.complete_analysis(session, records[1].id, AnalysisOutcome(reasons=(Reason("no_lung", "No lung."),)))
        analyses.start_analysis(session, records[2].id)
        for number, status in enumerate([None, DeliveryStatus.SENT, DeliveryStatus.FAILED]):
            delivery = deliveries.request_delivery(
                session,
                analysis_id=records[0].id,
                sop_instance_uid=f"2.25.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
                kind="report",
                destination="PACS",
                path=f"results/{number}",
            )
            if status:
                deliveries.record_delivery(session, delivery.id, status)
    with database.read() as session:
        counts = workload.workload(session)
    assert {state.value: n for state, n in counts.studies.items() if n} == {
        "receiving": 1,
        "queued": 1,
        "analysing": 1,
        "analysed": 1,
        "not_analysed": 1,
    }
    assert counts.queue_depth == 2
    assert counts.oldest_queued_s == pytest.approx(90, abs=0.1)
    assert {status.value: n for status, n in counts.deliveries.items()} == {
        "pending": 1,
        "sent": 1,
        "committed": 0,
        "failed": 1,
        "declined": 0,
    }


def test_an_empty_database_counts_to_nothing(database: Database) -> None:
    with database.read() as session:
        counts = workload.workload(session)
    assert set(counts.studies) == set(StudyState)
    assert (sum(counts.studies.values()), counts.queue_depth, counts.oldest_queued_s) == (0, 0, 0.0)
