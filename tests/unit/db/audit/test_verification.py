"""Checking the trail: what no database driver expects, and a trail too long for memory."""

from __future__ import annotations

import tracemalloc

import pytest
from sqlalchemy import text

from db.audit import trail as audit
from db.audit import verification
from db.audit.verification import verify
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.errors import DatabaseUnavailableError

BATCH = 500


def write(database: Database, count: int) -> None:
    with database.begin() as session:
        for number in range(count):
            audit.append(session, AuditEvent("study:received", "PACS", f"study-{number}", details={"n": number}))


@pytest.mark.parametrize("value", ["CAST(x'ff00' AS TEXT)", "x'6162'", "3", "1.5", "''"])
@pytest.mark.parametrize("column", ["occurred_at", "details", "mac", "actor"])
def test_values_of_any_kind_are_found_rather_than_raised(database: Database, column: str, value: str) -> None:
    write(database, 3)
    with database.engine.begin() as connection:
        sql = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'audit_events_no_update'"))
        connection.execute(text("DROP TRIGGER audit_events_no_update"))
        connection.execute(text(f"UPDATE audit_events SET {column} = {value} WHERE sequence = 2"))
        connection.exec_driver_sql(sql)
    assert verify(database).problems[0].startswith("event 2 was altered")


def test_reading_is_as_strict_after_a_check_as_before(database: Database) -> None:
    write(database, 1)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError), database.read() as session:
            session.execute(text("SELECT CAST(x'ff00' AS TEXT)")).all()
        verify(database)


def test_memory_does_not_grow_with_the_trail(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "BATCH", BATCH)
    peaks = []
    for _ in range(3):
        write(database, 3 * BATCH)
        tracemalloc.start()
        assert verify(database).is_intact
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert verify(database).event_count == 9 * BATCH
    assert peaks[2] < 1.25 * peaks[0]
