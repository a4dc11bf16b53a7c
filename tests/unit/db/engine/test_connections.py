"""The engine: durability, errors, and no parameters in messages."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.audit import trail as audit
from db.audit.verification import verify
from db.database import Database, load_or_create_audit_key
from db.domain.audit import AuditEvent
from db.domain.errors import AuditKeyError, DatabaseUnavailableError, UnfitDatabaseError
from db.engine import schema
from db.engine.connections import database_url

EVENT = AuditEvent("study:received", "PACS")


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_commits_reach_the_disk(database: Database, pragma: str, value: object) -> None:
    for transaction in (database.begin, database.read):
        with transaction() as session:
            assert session.scalar(text(f"PRAGMA {pragma}")) == value


def test_the_files_are_private_to_the_owner(path: Path) -> None:
    schema.upgrade(f"sqlite:///{path}")  # not a copy of the tests' own
    database = Database(f"sqlite:///{path}", bytes(range(32)))
    with database.begin() as session:
        audit.append(session, EVENT)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    database.dispose()
    assert set(modes) >= {path.name, f"{path.name}-wal"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_program_that_looks_in_and_leaves_takes_nothing_that_was_written(database: Database, path: Path) -> None:
    """SQLite removes the log when the last connection closes, and knows by locks which one that is.

    Closing any descriptor of the file drops them all: how the file is made may not (sqlite.org/howtocorrupt, 2.2).
    """
    with database.begin() as session:
        audit.append(session, EVENT)
    with database.read() as one, database.read() as another:  # at once: a second connection is made
        assert len(audit.recent(one)) == len(audit.recent(another)) == 1
    log = path.with_name(f"{path.name}-wal")
    before = log.stat().st_ino
    program = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT * FROM audit_events'); c.close()"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert log.stat().st_ino == before
    with database.begin() as session:
        audit.append(session, EVENT)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM audit_events").fetchone() == (2,)


def test_a_write_transaction_is_alone_from_its_beginning(database: Database) -> None:
    with database.begin() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailableError), database.begin() as other:
            other.execute(text("SELECT 1"))


def test_readers_neither_wait_nor_see_what_is_not_committed(database: Database) -> None:
    with database.begin() as session:
        audit.append(session, EVENT)
    with database.begin() as session, database.read() as reader:
        session.execute(text("INSERT INTO patients VALUES ('1', '', 'P', 0, '', '', '', '2026-01-01 00:00:00.000000')"))
        assert reader.scalar(text("SELECT count(*) FROM patients")) == 0
        assert len(audit.recent(reader)) == 1


def test_a_reader_sees_one_moment_throughout(database: Database) -> None:
    with database.read() as reader:
        assert audit.recent(reader) == ()
        with database.begin() as session:
            audit.append(session, EVENT)
        assert audit.recent(reader) == ()
    with database.read() as reader:
        assert len(audit.recent(reader)) == 1


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError), database.read() as session:
        session.execute(text("DELETE FROM patients"))
    with database.begin() as session:
        session.execute(text("DELETE FROM patients"))


def test_a_locked_database_is_said_to_be_unavailable(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailableError, match="nothing was saved"), database.begin() as session:
        audit.append(session, EVENT)
    other.execute("ROLLBACK")
    other.close()
    with database.begin() as session:
        audit.append(session, EVENT)
    assert verify(database).event_count == 1


def test_a_lock_that_ends_in_time_is_waited_for(path: Path, database: Database) -> None:
    patient = Database(database.url, bytes(range(32)), busy_timeout_s=20)
    holds, released = threading.Event(), threading.Event()

    def hold() -> None:
        with database.begin() as session:
            audit.append(session, EVENT)
            session.execute(text("SELECT 1"))
            holds.set()
            released.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait()
    releaser = threading.Timer(0.1, released.set)
    releaser.start()
    with patient.begin() as session:
        audit.append(session, EVENT)
    holder.join()
    patient.dispose()
    assert verify(database).event_count == 2


def test_a_full_database_is_said_to_be_unavailable(database: Database) -> None:
    with database.begin() as session:
        audit.append(session, EVENT)
        pages = session.scalar(text("PRAGMA page_count"))
    database.dispose()

    def fill() -> None:
        with database.begin() as session:
            session.execute(text(f"PRAGMA max_page_count = {pages}"))
            for number in range(1000):
                audit.append(session, AuditEvent("study:received", "PACS" * 1000, str(number)))

    with pytest.raises(DatabaseUnavailableError) as caught:
        fill()
    assert "full" in str(caught.value.__cause__)
    database.dispose()
    assert verify(database).event_count == 1


def test_errors_show_no_parameters(database: Database) -> None:
    insert = text("INSERT INTO patients (id, issuer) VALUES (:id, :issuer)")
    with pytest.raises(IntegrityError) as caught, database.begin() as session:
        session.execute(insert, {"id": "CANARY", "issuer": "CANARY"})
    assert "CANARY" not in str(caught.value)


def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError), database.begin() as session:
        session.execute(
            text(
                "INSERT INTO deliveries VALUES"
                " ('1', 'absent', '1.2', '1.2', 'k', 'd', 'p', 'sent', 0, '', NULL, '2026-01-01', '2026-01-01')"
            )
        )


def test_replacing_an_event_fires_the_triggers(database: Database, path: Path) -> None:
    """SQLite deletes rows that REPLACE overwrites without their triggers by default."""
    with database.begin() as session:
        audit.append(session, EVENT)
    columns = "action, actor, subject, outcome, details, mac"
    replace = f"INSERT OR REPLACE INTO audit_events SELECT 1, 'x', {columns} FROM audit_events"
    with pytest.raises(IntegrityError), database.begin() as session:
        session.execute(text(replace))
    plain = sqlite3.connect(path)  # a connection without our settings
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute(replace)
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute("INSERT OR REPLACE INTO audit_head VALUES (1, 0, '', '')")
    plain.close()
    assert verify(database).is_intact


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "no url", "", "postgresql+asyncpg://x/y"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(UnfitDatabaseError):
        database_url(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_means_psycopg(scheme: str) -> None:
    assert database_url(f"{scheme}://ann:secret@host/records").drivername == "postgresql+psycopg"


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(UnfitDatabaseError) as caught:
        database_url("postgresql://ann:hunter2@host:port:port/x")
    assert "hunter2" not in str(caught.value)


def test_a_database_shows_no_password() -> None:
    database = Database("postgresql://ann:hunter2@host/records", bytes(32))
    assert "hunter2" not in repr(database)
    database.dispose()


def test_many_first_connections_at_once_all_get_wal(path: Path) -> None:
    def connect(_: int) -> str:
        database = Database(f"sqlite:///{path}", bytes(32))
        with database.begin() as session:
            mode = session.scalar(text("PRAGMA journal_mode"))
        database.dispose()
        return str(mode)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(connect, range(16))) == {"wal"}


def test_a_missing_schema_is_recognised(path: Path) -> None:
    url = f"sqlite:///{path}"
    assert schema.current(url) is None
    assert not schema.is_current(url)
    assert not path.parent.exists()


def test_the_audit_key_is_created_once_and_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "audit.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_audit_key(path), range(16)))
    assert len(keys) == 1
    assert {len(key) for key in keys} == {32}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["audit.key"]  # noqa: PTH208 (hidden files too)


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "é"])
def test_a_key_file_of_other_content_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "audit.key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AuditKeyError, match="hexadecimal"):
        load_or_create_audit_key(path)


def test_a_short_audit_key_is_refused(path: Path) -> None:
    with pytest.raises(AuditKeyError):
        Database(f"sqlite:///{path}", b"short")
