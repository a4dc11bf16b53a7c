"""Reviews and saved filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from db.analyses import analyses, reviews
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.models import ModelIdentity
from db.domain.studies import ReceivedInstance
from db.domain.worklist import WorklistItem, WorklistQuery
from db.studies.instances import receiving_series, series_record
from db.worklist import rows as worklist
from db.worklist import saved_filters
from tests.support.records import record_instance

Received = Callable[..., ReceivedInstance]
STUDY = "1.2.3"


def arrive(database: Database, *instances: ReceivedInstance) -> None:
    with database.begin() as session:
        for instance in instances:
            record_instance(session, instance)


def review(database: Database) -> None:
    with database.begin() as session:
        reviews.review_study(session, STUDY, reviewed_by="reader")


def item(database: Database) -> WorklistItem:
    with database.read() as session:
        return worklist.worklist_page(session, WorklistQuery()).items[0]


def actions(database: Database) -> list[str]:
    with database.read() as session:
        entries = audit.recent(session, limit=50)
    return [f"{entry.event.action} {entry.event.actor}" for entry in reversed(entries)]


def answer(database: Database, model: ModelIdentity) -> None:
    with database.begin() as session:
        (series,) = receiving_series(session) or (series_record(session, series_instance_uid="1.2.3.1"),)
        assert series is not None
        record = analyses.request_analysis(session, series.id, model, requested_by="node", force=True)
        analyses.complete_analysis(session, record.id, AnalysisOutcome())


def test_a_review_says_who_and_when_and_is_on_record(database: Database, received: Received) -> None:
    arrive(database, received())
    review(database)
    review(database)
    result = item(database)
    assert result.reviewed_by == "reader"
    assert result.reviewed_at is not None
    assert actions(database) == ["study:received PACS", "study:reviewed reader"]


def test_a_study_can_be_reopened(database: Database, received: Received) -> None:
    arrive(database, received())
    review(database)
    for _ in range(2):
        with database.begin() as session:
            reviews.reopen_study(session, STUDY, reopened_by="colleague")
    assert (item(database).reviewed_at, item(database).reviewed_by) == (None, None)
    assert actions(database)[2:] == ["study:reopened colleague"]


def test_images_that_come_later_reopen_a_study(database: Database, received: Received) -> None:
    arrive(database, received(1))
    review(database)
    arrive(database, received(1))
    assert item(database).reviewed_at is not None, "the same image again is no news"
    arrive(database, received(2))
    assert item(database).reviewed_at is None


def test_an_answer_that_comes_later_reopens_a_study(
    database: Database, received: Received, model: ModelIdentity
) -> None:
    arrive(database, received())
    review(database)
    answer(database, model)
    assert item(database).reviewed_at is None
    review(database)
    assert item(database).reviewed_at is not None
    answer(database, model)
    assert item(database).reviewed_at is None


def test_an_unknown_study_cannot_be_reviewed(database: Database) -> None:
    with pytest.raises(UnknownRecordError), database.begin() as session:
        reviews.review_study(session, STUDY, reviewed_by="reader")
    with pytest.raises(UnknownRecordError), database.begin() as session:
        reviews.reopen_study(session, STUDY, reopened_by="reader")


def test_filters_are_saved_per_reader(database: Database) -> None:
    with database.begin() as session:
        saved_filters.save_filter(session, "ann", " Mine ", {"state": "failed"})
        saved_filters.save_filter(session, "ann", "Mine", {"state": "analysed"})
        other = saved_filters.save_filter(session, "bob", "Mine", {})
    with database.read() as session:
        (stored,) = saved_filters.saved_filters(session, "ann")
    assert (stored.name, stored.query) == ("Mine", {"state": "analysed"})
    with pytest.raises(UnknownRecordError), database.begin() as session:
        saved_filters.remove_filter(session, "ann", other.id)
    with database.begin() as session:
        saved_filters.remove_filter(session, "ann", stored.id)
    with database.read() as session:
        assert saved_filters.saved_filters(session, "ann") == ()
        assert len(saved_filters.saved_filters(session, "bob")) == 1


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_a_filter_needs_a_name(database: Database, name: str) -> None:
    with pytest.raises(InvalidRecordError), database.begin() as session:
        saved_filters.save_filter(session, "ann", name, {})


def test_a_reader_keeps_only_so_many_filters(database: Database) -> None:
    with database.begin() as session:
        for number in range(saved_filters.FILTER_LIMIT):
            saved_filters.save_filter(session, "ann", str(number), {})
    with pytest.raises(InvalidRecordError), database.begin() as session:
        saved_filters.save_filter(session, "ann", "one more", {})
