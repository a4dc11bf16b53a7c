"""Shadow runs: recorded once per series, and shown to no reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from db.analyses import findings, shadow
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.studies import ReceivedInstance
from tests.integration.test_database_analyses import analyse, arrive
from tests.integration.test_database_quarantine import SHARP, answered, detail, hold

Received = Callable[..., ReceivedInstance]
NewFindings = Callable[..., NewFinding]
SECOND = ModelIdentity("nodule", "2.0", "b" * 64)
BEGINNING, END = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=3650)


def due(database: Database, model: ModelIdentity = SECOND, since: datetime = BEGINNING) -> tuple[str, ...]:
    with database.read() as session:
        return shadow.without_shadow_run(session, model, since, END)


def tried(database: Database, analysis_id: str, outcome: AnalysisOutcome) -> bool:
    with database.begin() as session:
        return shadow.record_shadow_run(session, analysis_id, SECOND, outcome)


def test_a_shadow_run_is_recorded_once_and_not_shown(
    database: Database, received: Received, new_finding: NewFindings, model: ModelIdentity
) -> None:
    instance = received()
    series_id = arrive(database, instance)
    live = AnalysisOutcome((new_finding(instance.sop_instance_uid, probability=0.3),))
    analysis = analyse(database, series_id, model, live)
    before = detail(database, instance.study_instance_uid)
    assert due(database) == (analysis.id,)
    assert due(database, model) == (), "the live model is not tried against itself"
    assert due(database, since=END) == ()
    second = AnalysisOutcome((new_finding(instance.sop_instance_uid, probability=0.91),), measures={"duration_s": 2.0})
    assert tried(database, analysis.id, second)
    assert not tried(database, analysis.id, second)
    assert due(database) == ()
    after = detail(database, instance.study_instance_uid)
    assert (after.findings, after.analyses, after.deliveries) == (before.findings, before.analyses, before.deliveries)
    assert after.item.malignancy_probability == 0.3
    with database.begin() as session:
        findings.record_assessment(session, after.findings[0].id, Verdict.ACCEPT, "", "", reader="reader")
    with database.read() as session:
        (pair,) = shadow.pairs(session, SECOND.sha256)
        assert shadow.shadow_models(session) == (SECOND,)
    assert pair.failed_with == ""
    assert [one.finding.malignancy_probability for one in pair.live] == [0.3]
    assert pair.live[0].assessment is not None
    assert [(one.position_mm, one.malignancy_probability) for one in pair.shadow] == [((-51.5, 20.25, -140.0), 0.91)]


def test_only_what_was_answered_and_shown_is_tried(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    hold(database)
    analyse(database, arrive(database, received()), model, answered(SHARP))
    refused = AnalysisOutcome(reasons=(Reason("no_lung", "No lung in view."),))
    analyse(database, arrive(database, received(study="1.2.4")), model, refused)
    assert due(database) == ()


def test_a_failed_shadow_run_is_not_repeated_and_states_its_reason(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    analysis = analyse(database, arrive(database, received()), model, AnalysisOutcome())
    tried(database, analysis.id, AnalysisOutcome(reasons=(Reason("analysis_timeout", "Takes too long."),)))
    assert due(database) == ()
    with database.read() as session:
        (pair,) = shadow.pairs(session, SECOND.sha256)
    assert (pair.failed_with, pair.shadow) == ("analysis_timeout", ())
