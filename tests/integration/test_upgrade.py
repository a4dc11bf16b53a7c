"""Databases of every release are upgraded, with all that they hold.

``tests/support/releases`` has one SQLite database of each release, recorded by ``lungnode demo`` with one verdict, one
refused upload, a user and a token; its only patient is the phantom. A new release adds its own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select, text

from db.audit.verification import verify
from db.database import Database
from db.domain.findings import Verdict
from db.domain.worklist import WorklistQuery
from db.engine import schema
from db.engine.connections import make_engine
from db.read_models.studies import study_detail
from db.worklist.rows import worklist_page

RELEASES = {"1.0.0": "0100"}
"""The last migration of each release."""
MIGRATIONS = {"0100_first_release.py": "801430640678029ca8599ef258736bf630d001d3347125c11d342c2a0b71db47"}
"""SHA-256 of the migrations that were released: databases in use were made by them."""
FOLDER = Path(__file__).parents[1] / "support" / "releases"
AUDIT_KEY = bytes(range(32))


def count_rows(engine: Engine) -> dict[str, int]:
    """Count the rows of every table that a migration made; the search index is made anew."""
    names = [name for name in inspect(engine).get_table_names() if schema.is_described(None, name)]
    with engine.connect() as connection:
        counts = {name: connection.scalar(select(func.count()).select_from(text(f'"{name}"'))) for name in names}
    return {name: count or 0 for name, count in counts.items() if name not in {"alembic_version", "served_revisions"}}


def copy_rows(source: Engine, target: Engine) -> None:
    """Copy every row into the tables of an empty database of the same revision, and set its sequences."""
    metadata = MetaData()
    metadata.reflect(target, only=lambda name, _: schema.is_described(None, name))
    with source.connect() as reading, target.begin() as writing:
        for table in metadata.sorted_tables:
            rows = [dict(row._mapping) for row in reading.execute(select(table))]
            if not writing.scalar(select(func.count()).select_from(table)):
                if rows:
                    writing.execute(table.insert(), rows)
            elif rows:  # the one row that the migration wrote
                (values,) = rows
                writing.execute(table.update(), values)
            set_sequences(writing, table)


def set_sequences(connection: Connection, table: Table) -> None:
    """Have the sequences of a table go on after its rows."""
    for column in table.columns:
        if column.autoincrement is True or "nextval" in str(getattr(column.server_default, "arg", "")):
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'),"
                    f' (SELECT max("{column.name}") FROM "{table.name}"))'
                )
            )


@pytest.fixture(params=RELEASES)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The revision of a release, and its database."""
    path = tmp_path / "released.db"
    path.write_bytes(gzip.decompress((FOLDER / f"{request.param}.db.gz").read_bytes()))
    return RELEASES[request.param], path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, released: tuple[str, Path]) -> str:
    """The URL of a database of the release, once of each kind."""
    revision, path = released
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_url")
    schema.upgrade(url, revision)
    source, target = make_engine(f"sqlite:///{path}"), make_engine(url)
    try:
        copy_rows(source, target)
    finally:
        source.dispose()
        target.dispose()
    return url


def test_a_database_of_a_release_is_upgraded_and_loses_nothing(url: str) -> None:
    engine = make_engine(url)
    before = count_rows(engine)
    assert before["findings"] == 9
    assert before["audit_events"] > 20
    schema.upgrade(url)
    assert schema.is_current(url)
    after = count_rows(engine)
    engine.dispose()
    assert {name: after[name] for name in before} == before


def test_an_upgraded_database_is_read_verified_and_written(url: str) -> None:
    schema.upgrade(url)
    database = Database(url, AUDIT_KEY)
    try:
        assert verify(database).is_intact
        with database.read() as session:
            (item,) = worklist_page(session, WorklistQuery()).items
            detail = study_detail(session, item.study_instance_uid)
        assert detail is not None
        (judged,) = [finding for finding in detail.findings if finding.assessment]
        assert judged.assessment is not None
        assert (judged.assessment.verdict, judged.assessment.comment) == (Verdict.ACCEPT, "Known since 2024.")
    finally:
        database.dispose()


def test_released_migrations_do_not_change() -> None:
    folder = schema.MIGRATIONS / "versions"
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MIGRATIONS}
    assert digests == MIGRATIONS, json.dumps(digests)


def test_every_release_has_a_database() -> None:
    assert {path.name.removesuffix(".db.gz") for path in FOLDER.glob("*.db.gz")} == set(RELEASES)
