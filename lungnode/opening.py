"""What a command opens first: settings, logs, and the database at the revision that this code needs."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lungnode.errors import CommandError

if TYPE_CHECKING:
    from db.engine import Database
    from lungnode.settings import Settings


def read_settings() -> Settings:
    """Read the settings and configure the logs with them.

    Raises
    ------
    SettingsError
        One line for each problem.
    """
    from lungnode.logs import configure_logging
    from lungnode.settings_table import load_settings

    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)
    return settings


def who() -> str:
    """Name who acts, for the trail."""
    return f"command:{getpass.getuser()}"


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the database for a command; makes LUNGNODE_HOME and the audit key where they are missing, never tables.

    Raises
    ------
    CommandError
        The database is not at the revision that this code needs.
    """
    from db.engine import Database, load_or_create_audit_key
    from db.schema import is_current

    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_current(settings.database_url):
        raise CommandError("the database is not at the revision that this version needs: run `lungnode db upgrade`")
    database = Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))
    try:
        yield database
    finally:
        database.dispose()
