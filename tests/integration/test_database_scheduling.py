"""Order of due analyses: small studies before large ones, alternating, as on the worklist, without starvation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from db.analyses import scheduling
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.models import ModelIdentity
from tests.support.records import record_instance

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def pending(study: str, slices: int, *, minutes: float = 0.0, by: str = "system", name: str = "") -> AnalysisRecord:
    return AnalysisRecord(
        id=name or study,
        series_id=study,
        series_instance_uid="",
        study_instance_uid=study,
        input_digest="",
        model=ModelIdentity("fast", "0", "f" * 64),
        status=AnalysisStatus.QUEUED,
        reasons=(),
        requested_by=by,
        attempts=0,
        requested_at=NOW + timedelta(minutes=minutes),
        started_at=None,
        finished_at=None,
        run_number=1,
        instance_count=slices,
        measures={},
    )


@pytest.fixture
def order(database: object) -> Callable[..., list[str]]:
    def order(*records: AnalysisRecord) -> list[str]:
        with database.read() as session:  # type: ignore[attr-defined]
            due = scheduling.due_times(session, sorted(records, key=lambda record: record.requested_at))
        return sorted(due, key=lambda name: due[name])

    return order


def test_a_small_study_comes_before_a_huge_one_that_came_first(order: Callable[..., list[str]]) -> None:
    assert order(pending("huge", 5000), pending("small", 120, minutes=60)) == ["small", "huge"]


def test_the_huge_one_does_not_wait_for_ever(order: Callable[..., list[str]]) -> None:
    assert order(pending("huge", 5000), pending("small", 120, minutes=200)) == ["huge", "small"]


def test_series_of_one_study_take_turns_with_other_studies(order: Callable[..., list[str]]) -> None:
    many = [pending("many", 300, name=f"many {number}") for number in range(4)]
    assert order(*many, pending("one", 300, minutes=1)) == ["many 0", "one", "many 1", "many 2", "many 3"]


def test_what_a_person_asked_for_comes_sooner(order: Callable[..., list[str]]) -> None:
    assert order(pending("system", 300), pending("asked", 300, minutes=20, by="reader")) == ["asked", "system"]


def test_what_the_worklist_puts_first_is_due_first(
    order: Callable[..., list[str]], database: object, received: Callable[..., object]
) -> None:

    with database.begin() as session:  # type: ignore[attr-defined]
        for number, uid in enumerate(("1.1", "1.2", "1.3")):
            instance = received(
                study_instance_uid=uid, series_instance_uid=f"{uid}.1", sop_instance_uid=f"{uid}.1.{number}"
            )
            record_instance(session, instance)  # type: ignore[arg-type]
        session.execute(text("UPDATE studies SET malignancy_probability = 0.9 WHERE study_instance_uid = '1.2'"))
        session.execute(text("UPDATE studies SET reviewed_at = received_at WHERE study_instance_uid = '1.1'"))
    assert order(*(pending(uid, 300) for uid in ("1.1", "1.2", "1.3"))) == ["1.2", "1.3", "1.1"]
