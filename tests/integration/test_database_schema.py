"""Migrations on both databases."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from db.audit.verification import verify
from db.database import Database
from db.domain.errors import UnfitDatabaseError
from db.domain.studies import ReceivedInstance
from db.engine import schema
from db.engine.connections import make_engine
from db.tables.all import METADATA
from tests.support.migrated import downgrade
from tests.support.records import record_instance

KEY = bytes(range(32))
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", "{}", None, None


def upgrade():
    op.add_column("studies", sa.Column("novelty", sa.Text(), nullable=True))


def downgrade():
    op.drop_column("studies", "novelty")
"""


def _objects(url: str) -> set[str]:
    engine = make_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _differences(url: str) -> list[object]:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "include_object": schema.is_described}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))
    finally:
        engine.dispose()


def _constraint_names(url: str) -> dict[str, set[str | None]]:
    engine = make_engine(url)
    try:
        inspector = inspect(engine)
        return {
            table: {constraint["name"] for constraint in inspector.get_check_constraints(table)}
            | {constraint["name"] for constraint in inspector.get_unique_constraints(table)}
            | {constraint["name"] for constraint in inspector.get_foreign_keys(table)}
            | {inspector.get_pk_constraint(table)["name"]}
            for table in METADATA.tables
        }
    finally:
        engine.dispose()


def test_up_down_and_up_again(database_url: str, received: Callable[..., ReceivedInstance]) -> None:
    assert schema.current(database_url) is None
    schema.upgrade(database_url)
    assert schema.current(database_url) == schema.head()
    database = Database(database_url, KEY)
    with database.begin() as session:
        record_instance(session, received())
    database.dispose()
    downgrade(database_url, "base")
    assert schema.current(database_url) is None
    assert _objects(database_url) == {"alembic_version"}
    schema.upgrade(database_url)
    assert schema.is_current(database_url)
    database = Database(database_url, KEY)
    assert verify(database).is_intact
    database.dispose()


def test_each_step_goes_up_and_down_alone(database_url: str) -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()  # the newest first; numbers are not their order
    revisions = [script.revision for script in scripts][::-1]
    for revision in revisions:
        schema.upgrade(database_url, revision)
        assert schema.current(database_url) == revision
    for revision in reversed(revisions[:-1]):
        downgrade(database_url, revision)
        assert schema.current(database_url) == revision
    schema.upgrade(database_url)
    assert schema.is_current(database_url)


def test_the_migrated_schema_is_the_one_that_the_tables_describe(database_url: str) -> None:
    schema.upgrade(database_url)
    assert _differences(database_url) == []


def test_constraints_have_the_names_that_later_migrations_will_call_them_by(database_url: str) -> None:
    schema.upgrade(database_url)
    result = _constraint_names(database_url)
    for name, table in METADATA.tables.items():
        expected = {str(c.name) for c in table.constraints}
        assert result[name] == expected, name


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    schema.upgrade(database_url)
    schema.upgrade(database_url)
    assert schema.is_current(database_url)


def test_processes_that_start_at_once_all_find_the_schema(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=schema.upgrade, args=(database_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert schema.is_current(database_url)


def test_code_of_an_earlier_revision_runs_on_and_starts_on_a_newer_schema(database_url: str) -> None:
    """The migration of the next release has come first: a column more, and a revision that this code does not know."""
    schema.upgrade(database_url)
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE studies ADD COLUMN novelty TEXT"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'next'"))
        connection.execute(text("INSERT INTO served_revisions (revision) VALUES ('next')"))
    assert schema.is_current(database_url)
    schema.upgrade(database_url)
    assert schema.current(database_url) == "next"
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM served_revisions WHERE revision <> 'next'"))
    engine.dispose()
    assert not schema.is_current(database_url)
    assert schema.is_newer(database_url)
    with pytest.raises(UnfitDatabaseError, match="of a newer release"):
        schema.upgrade(database_url)


@pytest.mark.parametrize("revision", ["0001", "0020"])
def test_a_database_of_a_development_version_is_refused(database_url: str, revision: str) -> None:
    schema.upgrade(database_url)
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.execute(text("DELETE FROM served_revisions"))
    engine.dispose()
    assert schema.is_newer(database_url)
    with pytest.raises(UnfitDatabaseError, match=f"development version .*revision {revision}.*set LUNGNODE_DATABASE"):
        schema.upgrade(database_url)


def test_there_is_one_head_and_the_first_release_is_its_base() -> None:
    """Migrations of releases are never joined: databases in use stand at each of them."""
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    assert len(scripts.get_heads()) == 1
    assert scripts.get_bases() == ["0100"]
