"""Common setup of commands: settings, logs, and the database at the required revision."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lungnode.commands.restore_mark import refuse_unfinished
from lungnode.errors import CommandError

if TYPE_CHECKING:
    from db.database import Database
    from lungnode.settings.service import Settings


def read_settings(*, is_restoring: bool = False) -> Settings:
    """Read the settings and configure the logs with them.

    Raises
    ------
    SettingsError
        One line for each problem.
    CommandError
        A restore into HOME was interrupted, and ``is_restoring`` is false.
    """
    from lungnode.logs import configure_logging
    from lungnode.settings.table import load_settings

    settings = load_settings()
    if not is_restoring:
        refuse_unfinished(settings.home)
    configure_logging(settings.log.level, settings.log.format)
    return settings


def who() -> str:
    """Return the actor of this command for the audit log."""
    return f"command:{getpass.getuser()}"


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the database for a command; creates LUNGNODE_HOME and the audit key if missing, never tables.

    Raises
    ------
    FaultError
        HOME cannot be used.
    CommandError
        The database is not at the required revision.
    """
    from db.database import Database, open_audit_key
    from db.engine.schema import current, is_current, is_newer, unknown_revision
    from lungnode.commands.preflight import check_home

    check_home(settings)
    if is_newer(settings.database_url):
        raise CommandError(unknown_revision(current(settings.database_url)))
    if not is_current(settings.database_url):
        raise CommandError("the database schema is outdated: run `lungnode db upgrade`")
    database = Database(settings.database_url, open_audit_key(settings.database_url, settings.audit_key_path))
    try:
        yield database
    finally:
        database.dispose()
