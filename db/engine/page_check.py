"""Check of the database's pages: SQLite's quick_check, PostgreSQL's count of failed checksums."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import text

from db.engine.connections import database_url

if TYPE_CHECKING:
    from db.database import Database

STEPS = 10_000
"""SQLite instructions between two checks of the deadline."""


def database_damage(database: Database, limit_s: float) -> str | None:
    """Return the first damage; empty if there is none, None if the check did not end within ``limit_s``.

    SQLite reads every page (``PRAGMA quick_check``); others may read and write meanwhile.
    """
    if database.engine.dialect.name != "sqlite":
        return _failed_checksums(database)
    return sqlite_damage(str(database_url(database.url).database), limit_s)


def sqlite_damage(path: str, limit_s: float) -> str | None:
    """Return the first damage of a SQLite file; see ``database_damage``."""
    deadline_s = time.monotonic() + limit_s
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline_s, STEPS)
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        return None if str(error) in {"interrupted", "database is locked"} else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if answer == "ok" else " ".join(str(answer).split())[:200]


def _failed_checksums(database: Database) -> str:
    statement = "SELECT coalesce(checksum_failures, 0) FROM pg_stat_database WHERE datname = current_database()"
    with database.read() as session:
        count = session.execute(text(statement)).scalar() or 0
    return f"{count} pages failed their checksum" if count else ""
