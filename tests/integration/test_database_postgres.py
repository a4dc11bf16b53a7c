"""PostgreSQL itself: what only it has, and what only it can do wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from db.analyses import analyses, findings
from db.audit import trail as audit
from db.audit.verification import verify
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.errors import DatabaseUnavailableError
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.studies import ReceivedInstance
from db.engine import schema
from db.read_models import studies
from db.results import deliveries
from db.studies.instances import series_record
from tests.support.records import record_instance

pytestmark = pytest.mark.postgres

KEY = bytes(range(32))


@pytest.fixture
def postgres(copied_postgres: str) -> Iterator[Database]:
    database = Database(copied_postgres, KEY)
    yield database
    database.dispose()


def test_sessions_wait_for_the_disk_and_speak_utc(postgres: Database) -> None:
    with postgres.read() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
        assert session.scalar(text("SHOW TIME ZONE")) == "UTC"
        assert session.scalar(text("SHOW transaction_read_only")) == "on"
        assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    with postgres.begin() as session:
        assert session.scalar(text("SHOW transaction_read_only")) == "off"
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"


@pytest.mark.parametrize("table", ["audit_events", "audit_head"])
def test_truncating_the_trail_is_refused(postgres: Database, table: str) -> None:
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    with pytest.raises(IntegrityError, match="append-only"), postgres.begin() as session:
        session.execute(text(f"TRUNCATE {table}"))
    assert verify(postgres).is_intact


def test_triggers_fire_where_replication_would_leave_them_out(postgres: Database) -> None:
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    with postgres.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        with pytest.raises(IntegrityError, match="append-only"):
            session.execute(text("DELETE FROM audit_events"))
        session.rollback()


def test_a_trigger_switched_off_is_found(postgres: Database) -> None:
    with postgres.begin() as session:
        session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER audit_events_no_delete"))
    assert any("audit_events_no_delete" in problem for problem in verify(postgres).problems)


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
        except BaseException as error:  # noqa: BLE001 (handed to the test's own thread)
            errors.append(error)

    threads = [Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert schema.is_current(postgres_url)


def test_a_server_that_is_gone_is_said_to_be_unavailable(postgres_url: str, tmp_path: Path) -> None:
    elsewhere = make_url(postgres_url).set(query={"host": str(tmp_path)}).render_as_string(hide_password=False)
    database = Database(elsewhere, KEY)
    with pytest.raises(DatabaseUnavailableError), database.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    with pytest.raises(DatabaseUnavailableError), database.read() as session:
        audit.recent(session)
    database.dispose()


def test_connections_that_broke_are_replaced(postgres: Database) -> None:
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
        others = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    engine = create_engine(make_url(postgres.url))
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": others})
    engine.dispose()
    with postgres.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS"))
    assert verify(postgres).event_count == 2


def test_a_connection_that_breaks_in_mid_transaction_commits_nothing(postgres: Database) -> None:
    def write() -> None:
        with postgres.begin() as session:
            audit.append(session, AuditEvent("study:received", "PACS"))
            own = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with postgres.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})

    with pytest.raises(DatabaseUnavailableError):
        write()
    assert verify(postgres).event_count == 0


def test_a_lock_held_too_long_is_said_to_be_unavailable(postgres: Database) -> None:
    impatient = Database(postgres.url, KEY, busy_timeout_s=0.2)
    with postgres.begin() as holder:
        holder.execute(text("SELECT * FROM audit_head FOR UPDATE"))
        with pytest.raises(DatabaseUnavailableError), impatient.begin() as session:
            audit.append(session, AuditEvent("study:received", "PACS"))
    assert verify(postgres).event_count == 0
    impatient.dispose()


def test_the_whole_flow_at_once_from_many_threads_meets_no_deadlock(
    postgres: Database,
    received: Callable[..., ReceivedInstance],
    model: ModelIdentity,
    new_finding: Callable[..., NewFinding],
) -> None:
    def flow(number: int) -> None:
        study = f"1.2.{number % 3}"
        with postgres.begin() as session:
            record_instance(session, received(number + 100, study=study, series=str(number % 2)))
        with postgres.begin() as session:
            series = series_record(session, series_instance_uid=f"{study}.{number % 2}")
            assert series is not None
            record = analyses.request_analysis(session, series.id, model, requested_by="node", force=True)
            analyses.start_analysis(session, record.id)
        finding = new_finding(f"{study}.{number % 2}.{number + 100}")
        with postgres.begin() as session:
            analyses.complete_analysis(session, record.id, AnalysisOutcome(findings=(finding,)))
            for destination in ("PACS", "ARCHIVE"):
                deliveries.request_delivery(
                    session,
                    analysis_id=record.id,
                    sop_instance_uid=f"2.25.{number}",
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
                    kind="report",
                    destination=destination,
                    path="x",
                )
        with postgres.begin() as session:
            marked = findings.add_reader_finding(session, study, f"{study}.{number % 2}", finding, model, reader="ann")
            findings.record_assessment(session, marked.id, Verdict.ACCEPT, "", "", reader="ann")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(flow, range(48)))
    assert verify(postgres).is_intact
    with postgres.read() as session:
        for study in range(3):
            detail = studies.study_detail(session, f"1.2.{study}")
            assert detail is not None
            assert detail.item.instance_count == 16
            current = [record for record in detail.analyses if record.status is AnalysisStatus.CURRENT]
            assert len(current) == detail.item.series_count == 2
            assert detail.item.finding_count == len(detail.findings)
