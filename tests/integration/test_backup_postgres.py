"""A node on PostgreSQL is backed up by pg_dump and comes back in another database."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from db.audit.trail import append
from db.audit.verification import verify
from db.database import Database, load_or_create_audit_key
from db.domain.audit import AuditEvent
from db.engine.schema import upgrade
from lungnode.commands import restore
from lungnode.commands.backup import create_backup
from lungnode.commands.postgres_tools import dump
from lungnode.commands.restore import restore_backup
from lungnode.commands.restore_mark import refuse_unfinished
from lungnode.errors import BackupError, CommandError
from lungnode.settings.records import DatabaseSettings
from lungnode.settings.service import Settings

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not (shutil.which("pg_dump") and shutil.which("pg_restore")), reason="no pg_dump on the PATH"),
]


def make_node(home: Path, url: str) -> Settings:
    return Settings(home=home, database=DatabaseSettings(url=SecretStr(url)))


def open_node(settings: Settings) -> Database:
    return Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))


def test_a_dump_comes_back_with_its_chain_and_goes_on(postgres_databases: Callable[[], str], tmp_path: Path) -> None:
    node = make_node(tmp_path / "home", postgres_databases())
    upgrade(node.database_url)
    database = open_node(node)
    with database.begin() as session:
        append(session, AuditEvent("study:received", "test"))
    database.dispose()
    manifest = create_backup(node, tmp_path / "backup")
    assert manifest.backend == "postgresql"

    other = make_node(tmp_path / "other", postgres_databases())
    restore_backup(other, tmp_path / "backup")
    database = open_node(other)
    with database.begin() as session:
        append(session, AuditEvent("study:received", "test"))
    verification = verify(database)
    database.dispose()
    assert (verification.event_count, verification.problems) == (2, ())

    with pytest.raises(BackupError, match="not empty"):
        restore_backup(make_node(tmp_path / "third", other.database_url), tmp_path / "backup")


def test_an_interrupted_restore_goes_on_with_tables_that_came(
    postgres_databases: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(tmp_path / "home", postgres_databases())
    upgrade(node.database_url)
    database = open_node(node)
    with database.begin() as session:
        append(session, AuditEvent("study:received", "test"))
    database.dispose()
    create_backup(node, tmp_path / "backup")
    other = make_node(tmp_path / "other", postgres_databases())

    def killed(_home: Path) -> None:
        raise KeyboardInterrupt

    for moment in ("sync_folder", "unmark"):
        with monkeypatch.context() as patched:
            patched.setattr(restore, moment, killed)
            with pytest.raises(KeyboardInterrupt):
                restore_backup(other, tmp_path / "backup")
        with pytest.raises(CommandError, match="is incomplete"):
            refuse_unfinished(other.home)
    restore_backup(other, tmp_path / "backup")
    refuse_unfinished(other.home)
    database = open_node(other)
    assert verify(database).event_count == 1
    database.dispose()


def test_a_backup_fits_only_its_kind_of_database(postgres_url: str, tmp_path: Path) -> None:
    node = Settings(home=tmp_path / "home")
    open_node(node).dispose()
    upgrade(node.database_url)
    create_backup(node, tmp_path / "backup")
    with pytest.raises(BackupError, match="of sqlite"):
        restore_backup(make_node(tmp_path / "other", postgres_url), tmp_path / "backup")


def test_no_password_is_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    lines = ["#!/bin/sh", f'echo "$@" > {tmp_path}/arguments', f'echo "$PGPASSWORD $PGHOST $PGPORT" > {tmp_path}/given']
    program.write_text("\n".join(lines))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    dump(make_url("postgresql+psycopg://lungnode:hunter2@127.0.0.1:6543/lungnode"), tmp_path / "copy")
    assert "hunter2" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "given").read_text().split() == ["hunter2", "127.0.0.1", "6543"]


def test_a_failing_dump_leaves_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node(tmp_path / "home", "postgresql+psycopg://lungnode@127.0.0.1:1/lungnode")
    load_or_create_audit_key(node.audit_key_path)
    with pytest.raises(BackupError, match="pg_dump failed"):
        create_backup(node, tmp_path / "backup")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match="not on PATH"):
        create_backup(node, tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
