"""Schema upgrade and revision. Safe when several processes start at once.

Releases roll: the migration first, then host after host. So a migration only adds, and each ``upgrade`` records which
revisions the schema serves; code of an earlier one continues, and restarts, on the newer schema. A migration that
removes something deletes the revisions that needed it from ``served_revisions``, a release later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text

from db.domain.errors import UnfitDatabaseError
from db.engine.connections import database_url, make_engine
from db.tables.releases import ServedRevisionRow

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
LOCK = 0x6C756E676E6F6465
"""Key of the PostgreSQL advisory lock under which the schema changes ("lungnode")."""
LOCK_TIMEOUT_S = 120.0
DEVELOPMENT_REVISION = re.compile(r"00\d\d")
"""Revisions before the first release, whose migrations were joined into one."""
SEARCH_OBJECTS = ("study_search", "ix_studies_search_text")
"""Name prefixes of text search objects, which differ by database and are not in our metadata."""


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade the schema to ``revision`` in one transaction; no change if it is there already or further on.

    Raises
    ------
    UnfitDatabaseError
        If the URL names no usable database, one of a newer release that does not serve this one, or one of a
        development version before the first release.
    """
    with _locked(url) as connection:
        if revision == "head" and _serves(connection, head()):
            return
        present = MigrationContext.configure(connection).get_current_revision()
        if present not in _known_revisions():
            raise UnfitDatabaseError(unknown_revision(present))
        command.upgrade(_config(connection), revision)
        if revision == "head":
            connection.execute(insert(ServedRevisionRow), [{"revision": head()}])


def current(url: str) -> str | None:
    """Return the schema's revision, or None without a schema. Creates no file."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return None
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str:
    """Return the revision that this code needs."""
    revision = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert revision is not None  # noqa: S101 (the package always ships its migrations)
    return revision


def is_current(url: str) -> bool:
    """Return whether the schema serves this code."""
    if current(url) is None:
        return False
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return _serves(connection, head())
    finally:
        engine.dispose()


def is_newer(url: str) -> bool:
    """Return whether this release neither knows the schema's revision nor is served by it."""
    return current(url) not in _known_revisions() and not is_current(url)


def unknown_revision(revision: str | None) -> str:
    """Describe a revision that no migration of this release names, and what to do."""
    if revision is not None and DEVELOPMENT_REVISION.fullmatch(revision):
        return (
            f"the database is of a development version before the first release (revision {revision}), which is not "
            "migrated: set LUNGNODE_DATABASE__URL or LUNGNODE_HOME to an empty one"
        )
    return (
        f"the database is of a newer release (revision {revision}): install that release, "
        "or restore a backup that this one wrote"
    )


def _known_revisions() -> set[str | None]:
    """Return the revisions of this release's migrations, and None for no schema."""
    return {None, *(script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())}


def _serves(connection: Connection, revision: str) -> bool:
    """Return whether code of a revision runs on the present schema."""
    if not inspect(connection).has_table(ServedRevisionRow.__tablename__):
        return False
    return (
        connection.scalar(select(ServedRevisionRow.revision).where(ServedRevisionRow.revision == revision)) is not None
    )


def is_described(_object: object, name: str | None, *_: object) -> bool:
    """Return whether ``db.tables.all`` describes an object of that name (Alembic's ``include_object``)."""
    return not (name or "").startswith(SEARCH_OBJECTS)


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """Open a connection in a transaction that excludes other schema changes."""
    engine = make_engine(url, busy_timeout_s=LOCK_TIMEOUT_S)
    try:
        with engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            yield connection
    finally:
        engine.dispose()
