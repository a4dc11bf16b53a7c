"""Wrappers of ``pg_dump`` and ``pg_restore`` that pass no password on the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL

from lungnode.errors import BackupError


def dump(url: URL, copy: Path) -> None:
    """Dump the database in pg_dump's custom format.

    Raises
    ------
    BackupError
        pg_dump is missing, or failed.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _run(url, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={copy}")


def load(url: URL, copy: Path) -> None:
    """Restore a dump into an empty database, in one transaction.

    Raises
    ------
    BackupError
        pg_restore is missing, or failed.
    """
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", f"--dbname={url.database}")
    _run(url, "pg_restore", *options, str(copy))


def check_empty(url: URL) -> None:
    """Check that a database holds none of our tables.

    Raises
    ------
    BackupError
        The database is not empty.
    """
    from db.engine.schema import current

    if current(url.render_as_string(hide_password=False)) is not None:
        raise BackupError("the database that LUNGNODE_DATABASE__URL names is not empty; a restore never overwrites")


def _run(url: URL, program: str, *options: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise BackupError(f"{program} is not on PATH: install the PostgreSQL client programs of the server's version")
    process = subprocess.run(  # noqa: S603 (one of two fixed programs, no shell)
        [path, *options], env=_environment(url), capture_output=True, check=False
    )
    if process.returncode:
        raise BackupError(
            f"{program} failed (status {process.returncode}): check LUNGNODE_DATABASE__URL and its permissions"
        )


def _environment(url: URL) -> dict[str, str]:
    """Return connection parameters as libpq's environment variables; arguments are visible to all local users."""
    parameters = {
        "PGHOST": url.host or url.query.get("host"),
        "PGPORT": url.port or url.query.get("port"),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": url.query.get("sslmode"),
    }
    return {**os.environ, **{name: str(value) for name, value in parameters.items() if value}}
