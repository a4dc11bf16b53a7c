"""The watch on both databases: what it collects, who read first, and that it outlives the studies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from db.analyses import findings, ground_truth, readings
from db.analyses.readings import ReadingEvent
from db.archive import purge
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.studies import ReceivedInstance
from db.monitoring import drift_observations
from lungnode.monitoring.watch_report import refresh_report, run_watch
from tests.integration.test_database_analyses import arrive, complete, request, start
from tests.support.watched_series import Recorder, Source


def test_series_are_collected_compared_and_reported(database: Database) -> None:
    recorder = Recorder(database)
    recorder.record(Source(judged=0.5, proven=0.2, refused=0.2), 70)
    run_watch(database)
    recorder.record(Source("Phantom Two", site="SOUTH"), 5)
    run_watch(database)
    assert not refresh_report(database), "it is fresh, and no block has become whole"
    assert refresh_report(database, at_once=True)
    with database.read() as session:
        _, report = drift_observations.latest_report(session) or (None, {})
        judged, proven = ground_truth.latest_judged(session), ground_truth.latest_proven(session)
    scanners = {one["model"]: (one["series_count"], len(one["history"])) for one in report["scanners"]}
    assert scanners == {"Phantom One": (70, 1), "Phantom Two": (5, 0)}
    assert len(judged) == report["overall"]["overrides"]["all"]["n"] > 30
    assert len(proven) > 5
    assert {one.site for one in judged} | {one.site for one in proven} == {"PACS"}
    with database.read() as session:
        outcomes = drift_observations.outcomes_by_machine(session, recorder.began)
    one = outcomes["Phantom One"]
    assert one.series == 70 + one.reasons["localizer"] > 75
    assert one.findings > 70
    assert set(one.doubts) == {"nodule_texture"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], False),
        ([(ReadingEvent.OPENED, True), (ReadingEvent.REVEALED, True)], True),
        ([(ReadingEvent.OPENED, False), (ReadingEvent.OPENED, True), (ReadingEvent.REVEALED, True)], False),
        ([(ReadingEvent.OPENED, True), (ReadingEvent.CLOSED, True)], False),
    ],
)
def test_a_verdict_records_whether_its_reader_read_first(
    database: Database,
    received: Callable[..., ReceivedInstance],
    new_finding: Callable[..., NewFinding],
    model: ModelIdentity,
    events: list[tuple[ReadingEvent, bool]],
    expected: bool,
) -> None:
    series_id = arrive(database, received())
    analysis = request(database, series_id, model)
    start(database, analysis.id)
    measures = {"summary": {"lung_hu": -850.0}, "acquisition": {"Manufacturer": "Maker"}, "spacing_mm": [1.0]}
    complete(database, analysis.id, AnalysisOutcome((new_finding(),), measures=measures))
    with database.begin() as session:
        (result,) = findings.findings_of_analysis(session, analysis.id)
        for event, hidden in events:
            readings.record_reading(session, "1.2.3", event, is_model_hidden=hidden, seconds=1.0, reader="ada")
    with database.begin() as session:
        findings.record_assessment(session, result.id, Verdict.UNSURE, "", "", reader="ada")
        drift_observations.collect(session)
    with database.read() as session:
        (judged,) = ground_truth.latest_judged(session)
    assert judged.is_read_first is expected
    assert (judged.verdict, judged.site) == (Verdict.UNSURE, "PACS")


def test_a_series_that_was_refused_before_all_of_it_came_counts_by_its_later_answer(
    database: Database, received: Callable[..., ReceivedInstance], model: ModelIdentity
) -> None:
    few = Reason("too_few_slices", "The series covers 2 mm in 2 slices.")
    read: dict[str, object] = {"summary": {"lung_hu": -850.0}}
    outcomes = (
        (AnalysisOutcome(reasons=(few,)), 0),
        (AnalysisOutcome(reasons=(few,)), 0),
        (AnalysisOutcome(measures=read), 1),
        (AnalysisOutcome(reasons=(few,)), 1),
        (AnalysisOutcome(measures=read), 1),
    )
    for number, (outcome, expected) in enumerate(outcomes, 1):
        series_id = arrive(database, received(number))
        analysis = request(database, series_id, model)
        start(database, analysis.id)
        complete(database, analysis.id, outcome)
        for _ in range(2):
            with database.begin() as session:
                drift_observations.collect(session)
        with database.read() as session:
            assert sum(one.series_count for one in drift_observations.watched_scanners(session)) == expected
            (one,) = drift_observations.outcomes_by_machine(session, datetime(2000, 1, 1, tzinfo=UTC)).values()
        assert (one.series, sum(one.reasons.values())) == (1, 1 - expected)


def test_what_was_observed_outlives_the_study_and_pathology_does_not(database: Database) -> None:
    recorder = Recorder(database)
    recorder.record(Source(proven=1.0, judged=1.0, refused=0.0), 3)
    run_watch(database)
    later = recorder.began + 1000 * recorder.every
    with database.read() as session:
        due = purge.purgeable_studies(session, later)
    with database.begin() as session:
        for study_id in due:
            purge.purge_study(session, study_id, later)
    run_watch(database)
    with database.read() as session:
        (watched,) = drift_observations.watched_scanners(session)
        assert len(due) == 3
        assert watched.series_count == 3
        assert ground_truth.latest_proven(session) == ()
