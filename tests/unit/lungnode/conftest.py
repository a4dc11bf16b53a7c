"""A HOME with a database for commands that are run in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from db.database import Database, load_or_create_audit_key
from tests.support.migrated import migrate_sqlite


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty HOME that commands take; the logs are afterwards as they were."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LUNGNODE_HOME", str(folder))
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield folder
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def home_database(home: Path) -> Iterator[Database]:
    """Its database."""
    url = migrate_sqlite(home / "lungnode.db")
    database = Database(url, load_or_create_audit_key(home / "audit.key"))
    yield database
    database.dispose()
