"""SQLite databases with the current schema: migrated once by each process that runs tests, and copied from then on."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from db.engine import schema


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


@cache
def _template() -> tuple[int, bytes]:
    """Mode and content of a migrated file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lungnode.db"
        schema.upgrade(f"sqlite:///{path}")
        assert not path.with_name("lungnode.db-wal").exists(), "the file must be whole without its log"
        return path.stat().st_mode & 0o777, path.read_bytes()
