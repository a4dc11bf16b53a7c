"""A SQLite database in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.database import Database
from tests.support.migrated import migrate_sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "lungnode.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    url = migrate_sqlite(path)
    database = Database(url, bytes(range(32)), busy_timeout_s=0.2)
    yield database
    database.dispose()
