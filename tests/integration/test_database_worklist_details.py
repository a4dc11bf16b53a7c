"""Details of the worklist's rows: priors, size of the top finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from db.analyses import analyses, findings
from db.analyses.readings import ReadingEvent, record_reading
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding, ReaderSize, Verdict
from db.domain.models import ModelIdentity
from db.domain.studies import ReceivedInstance
from db.domain.worklist import WorklistItem, WorklistQuery
from db.intake.ingest import record_arrivals
from db.studies.instances import receiving_series
from db.worklist import rows as worklist
from tests.support.databases import ManualClock
from tests.support.records import record_instance

Received = Callable[..., ReceivedInstance]
MakeFinding = Callable[..., NewFinding]


def arrive(database: Database, *instances: ReceivedInstance) -> None:
    with database.begin() as session:
        for instance in instances:
            record_instance(session, instance)


def listed(database: Database) -> dict[str, WorklistItem]:
    with database.read() as session:
        return {item.study_instance_uid: item for item in worklist.worklist_page(session, WorklistQuery()).items}


@pytest.mark.parametrize(
    ("other", "has_prior"),
    [
        ({"study_date": "20250301"}, True),
        ({"study_date": "20260301", "study_time": "0815"}, True),
        ({"study_date": "20260301", "study_time": "0900"}, False),
        ({"study_date": "20260301", "study_time": "1000"}, False),
        ({"study_date": "20260302"}, False),
        ({"study_date": ""}, False),
        ({"study_date": "", "study_time": "0815"}, False),
    ],
)
def test_an_earlier_study_of_the_patient_is_a_prior(
    database: Database, received: Received, other: dict[str, object], has_prior: bool
) -> None:
    arrive(database, received(1, study_time="0900"), received(1, study="1.2.4", **other))
    assert listed(database)["1.2.3"].has_prior is has_prior


@pytest.mark.parametrize("changes", [{"patient_id": "PID-2"}, {"issuer": "ELSEWHERE"}, {"name": "OTHER^PERSON"}])
def test_an_earlier_study_of_another_patient_is_none(
    database: Database, received: Received, changes: dict[str, str]
) -> None:
    mine = received(1)
    arrive(database, mine, received(1, study="1.2.4", study_date="20250301", patient=replace(mine.patient, **changes)))
    assert listed(database)["1.2.3"].has_prior is False


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], None),
        ([(0.2, 9.0), (0.8, 6.5), (0.4, 12.0)], 6.5),
        ([(0.2, 9.0), (None, 30.0)], 9.0),
        ([(None, 4.0), (None, 7.5), (None, None)], 7.5),
        ([(0.8, None), (0.2, 9.0)], None),
        ([(None, None)], None),
    ],
)
def test_the_size_is_that_of_the_likeliest_finding(
    database: Database,
    received: Received,
    model: ModelIdentity,
    new_finding: MakeFinding,
    sizes: list[tuple[float | None, float | None]],
    expected: float | None,
) -> None:
    arrive(database, received(1), received(1, study="1.2.4"))
    latest = tuple(new_finding(probability=probability, diameter_mm=size) for probability, size in sizes)
    with database.read() as session:
        series = next(one for one in receiving_series(session) if one.study_instance_uid == "1.2.3")
    for outcome in (AnalysisOutcome((new_finding(probability=0.99, diameter_mm=40.0),)), AnalysisOutcome(latest)):
        with database.begin() as session:
            record = analyses.request_analysis(session, series.id, model, requested_by="node", force=True)
            analyses.start_analysis(session, record.id)
            analyses.complete_analysis(session, record.id, outcome)
    items = listed(database)
    assert items["1.2.3"].top_diameter_mm == expected
    assert items["1.2.4"].top_diameter_mm is None


def test_a_withdrawn_mark_has_no_size(
    database: Database, received: Received, model: ModelIdentity, new_finding: MakeFinding
) -> None:
    arrive(database, received(1))
    with database.begin() as session:
        marked = findings.add_reader_finding(session, "1.2.3", "1.2.3.1", new_finding(), model, reader="anna")
    assert listed(database)["1.2.3"].top_diameter_mm == 11.5
    with database.begin() as session:
        findings.withdraw_finding(session, marked.id, reader="anna")
    assert listed(database)["1.2.3"].top_diameter_mm is None


def test_a_study_is_stat_by_any_instance_and_never_loses_it(database: Database, received: Received) -> None:
    def send(*instances: ReceivedInstance) -> None:
        record_arrivals(database, instances)

    send(received(1), received(1, study="1.2.4"))
    send(received(2), received(3, series="2"))
    assert not any(item.is_stat for item in listed(database).values())
    send(received(4), received(5, is_stat=True), received(2, study="1.2.4"))  # at once, on the way for counts alone
    send(received(6), received(7, is_stat=True))
    items = listed(database)
    assert {uid: (item.is_stat, item.instance_count) for uid, item in items.items()} == {
        "1.2.3": (True, 7),
        "1.2.4": (False, 2),
    }
    with database.read() as session:
        assert [entry.event.action for entry in audit.recent(session, limit=50)].count("study:stat") == 1


def test_a_resent_instance_changes_nothing(database: Database, received: Received) -> None:
    record_arrivals(database, [received(1)])
    record_arrivals(database, [received(1, is_stat=True)])
    assert listed(database)["1.2.3"].is_stat is False


@pytest.mark.parametrize(
    ("events", "readers"),
    [
        ([], ()),
        (["anna opened"], ("anna",)),
        (["anna opened", "ben opened"], ("anna", "ben")),
        (["anna opened", "anna closed"], ()),
        (["anna opened", "ben opened", "anna closed"], ("ben",)),
        (["anna opened", "anna revealed", "anna opened"], ("anna",)),
        (["anna closed"], ()),
        (["anna opened", "anna closed", "anna opened"], ("anna",)),
        (["anna opened", "29", "ben opened"], ("anna", "ben")),
        (["anna opened", "31", "ben opened"], ("ben",)),
        (["anna opened", "20", "anna opened", "20"], ("anna",)),
        (["anna opened", "ben opened", "31"], ()),
    ],
)
def test_a_reading_lasts_until_it_is_closed_or_expires(
    database: Database, received: Received, clock: ManualClock, events: list[str], readers: tuple[str, ...]
) -> None:
    arrive(database, received(1), received(1, study="1.2.4"))
    for event in events:
        if event.isdigit():
            clock.advance(60 * int(event))
            continue
        reader, kind = event.split()
        with database.begin() as session:
            record_reading(session, "1.2.3", ReadingEvent(kind), is_model_hidden=False, seconds=0, reader=reader)
    items = listed(database)
    assert (items["1.2.3"].readers, items["1.2.4"].readers) == (readers, ())


def test_a_readers_size_overrides_the_models_until_it_is_withdrawn(
    database: Database, received: Received, model: ModelIdentity, new_finding: MakeFinding
) -> None:
    arrive(database, received(1))
    size = ReaderSize("1.2.3.1.1", 1, ((10.0, 4.0), (10.0, 16.0)), ((8.0, 10.0), (14.0, 10.0)), 14.5, 6.0)
    with database.begin() as session:
        marked = findings.add_reader_finding(session, "1.2.3", "1.2.3.1", new_finding(), model, reader="anna")
    for measured, expected in ((None, 11.5), (size, 14.5), (None, 14.5)):
        with database.begin() as session:
            findings.record_assessment(session, marked.id, Verdict.ACCEPT, "", "", reader="anna", size=measured)
        assert listed(database)["1.2.3"].top_diameter_mm == expected
    for expected in (14.5, 11.5):
        with database.begin() as session:
            findings.withdraw_assessment(session, marked.id, reader="anna")
        assert listed(database)["1.2.3"].top_diameter_mm == expected
