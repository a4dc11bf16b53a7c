"""SQLite databases with the current schema, migrated once by each process that runs tests and copied; the way back."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config

from db.engine import schema
from db.engine.connections import make_engine


def migrate_sqlite(path: Path) -> str:
    """Give the URL of a database at ``path`` with the current schema, empty where the file is new."""
    url = f"sqlite:///{path}"
    if path.exists():
        schema.upgrade(url)
        return url
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(_template()[0])
    path.write_bytes(_template()[1])
    return url


def downgrade(url: str, revision: str) -> None:
    """Downgrade the schema to ``revision`` (``base`` for none)."""
    engine, config = make_engine(url), Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


@cache
def _template() -> tuple[int, bytes]:
    """Mode and content of a migrated file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lungnode.db"
        schema.upgrade(f"sqlite:///{path}")
        assert not path.with_name("lungnode.db-wal").exists(), "the file must be whole without its log"
        return path.stat().st_mode & 0o777, path.read_bytes()
