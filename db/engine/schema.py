"""The schema's versions: up, down and which one it is. Safe when several processes start at once.

Releases roll: the migration first, then host after host. So a migration only adds, and each ``upgrade`` writes down
which revisions the schema serves; code of an earlier one goes on, and starts again, on the newer schema. A migration
that takes something away removes the revisions that needed it from ``served_revisions``, a release later.
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
from sqlalchemy import Connection, delete, insert, inspect, select, text

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
"""Beginnings of the names of what text is looked for in: another thing on each database, so no table of ours has it."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision`` in one transaction; does nothing where it is there already, or further on.

    Raises
    ------
    UnfitDatabaseError
        If the URL names no usable database, one of a newer release that does not serve this one, or one of a
        development version before the first release.
    """
    with _locked(url) as connection:
        if revision == "head" and _serves(connection, head()):
            return
        revision_found = MigrationContext.configure(connection).get_current_revision()
        if revision_found not in _known_revisions():
            raise UnfitDatabaseError(unknown_revision(revision_found))
        command.upgrade(_config(connection), revision)
        if revision == "head":
            connection.execute(insert(ServedRevisionRow), [{"revision": head()}])


def downgrade(url: str, revision: str) -> None:
    """Take the schema down to ``revision`` (``base`` for nothing at all) in one transaction."""
    with _locked(url) as connection:
        command.downgrade(_config(connection), revision)
        if _records_served(connection):
            connection.execute(delete(ServedRevisionRow))
            connection.execute(insert(ServedRevisionRow), [{"revision": revision}])


def current(url: str) -> str | None:
    """Tell the schema's revision, or None where there is no schema. Makes no file where there is none."""
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
    """Tell the revision that this code needs."""
    revision = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert revision is not None  # noqa: S101 (the package always ships its migrations)
    return revision


def is_current(url: str) -> bool:
    """Whether the schema is the one that this code needs, or a later one that still serves it."""
    if current(url) is None:
        return False
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return _serves(connection, head())
    finally:
        engine.dispose()


def is_newer(url: str) -> bool:
    """Whether this release neither knows the schema's revision nor is served by it."""
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
    """The revisions that this release's migrations name, and None for no schema at all."""
    return {None, *(script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())}


def _serves(connection: Connection, revision: str) -> bool:
    """Whether code of a revision runs on the schema that is there."""
    if not inspect(connection).has_table(ServedRevisionRow.__tablename__):
        return False
    return (
        connection.scalar(select(ServedRevisionRow.revision).where(ServedRevisionRow.revision == revision)) is not None
    )


def _records_served(connection: Connection) -> bool:
    return inspect(connection).has_table(ServedRevisionRow.__tablename__)


def is_described(_object: object, name: str | None, *_: object) -> bool:
    """Whether ``db.tables.all`` describes a thing of that name (Alembic's ``include_object``)."""
    return not (name or "").startswith(SEARCH_OBJECTS)


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """One connection in one transaction that no other process can change the schema beside."""
    engine = make_engine(url, busy_timeout_s=LOCK_TIMEOUT_S)
    try:
        with engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            yield connection
    finally:
        engine.dispose()
