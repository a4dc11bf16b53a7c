"""PostgreSQL itself: that the tests' cluster is one, and what only it needs."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db import audit, schema
from db.domain import AuditEvent
from db.engine import Database

pytestmark = pytest.mark.postgres

KEY = bytes(range(32))


@pytest.fixture
def postgres(postgres_url: str) -> Database:
    schema.upgrade(postgres_url)
    return Database(postgres_url, KEY)


def test_sessions_wait_for_the_disk_and_speak_utc(postgres: Database) -> None:
    with postgres.read() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
        assert session.scalar(text("SHOW TIME ZONE")) == "UTC"
        assert session.scalar(text("SHOW transaction_read_only")) == "on"
        assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    with postgres.begin() as session:
        assert session.scalar(text("SHOW transaction_read_only")) == "off"
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    postgres.dispose()


@pytest.mark.parametrize("table", ["audit_events", "audit_head"])
def test_truncating_the_trail_is_refused(postgres: Database, table: str) -> None:
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    with pytest.raises(IntegrityError, match="append-only"), postgres.begin() as session:
        session.execute(text(f"TRUNCATE {table}"))
    assert audit.verify(postgres).is_intact
    postgres.dispose()


def test_triggers_fire_where_replication_would_leave_them_out(postgres: Database) -> None:
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    with postgres.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        with pytest.raises(IntegrityError, match="append-only"):
            session.execute(text("DELETE FROM audit_events"))
        session.rollback()
    postgres.dispose()


def test_a_trigger_switched_off_is_found(postgres: Database) -> None:
    with postgres.begin() as session:
        session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER audit_events_no_delete"))
    assert any("audit_events_no_delete" in problem for problem in audit.verify(postgres).problems)
    postgres.dispose()


def test_plain_postgresql_urls_are_understood(postgres_url: str) -> None:
    plain = postgres_url.replace("postgresql+psycopg://", "postgres://")
    schema.upgrade(plain)
    assert schema.is_current(plain)


def test_schema_upgrades_at_once_end_in_one_schema(postgres_url: str) -> None:
    barrier = Barrier(3)
    errors: list[BaseException] = []

    def upgrade() -> None:
        barrier.wait()
        try:
            schema.upgrade(postgres_url)
        except BaseException as error:  # noqa: BLE001 (told to the test's own thread)
            errors.append(error)

    threads = [Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert schema.is_current(postgres_url)
