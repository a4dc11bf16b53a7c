"""PostgreSQL's own dump and restore programs, called without a password on their command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy.engine import URL

from lungnode.errors import BackupError


def dump(url: URL, copy: Path) -> None:
    """Write one moment of the database in pg_dump's custom format.

    Raises
    ------
    BackupError
        pg_dump is missing, or failed.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _run(url, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={copy}")


def load(url: URL, copy: Path) -> None:
    """Restore such a dump into an empty database, all of it or nothing.

    Raises
    ------
    BackupError
        pg_restore is missing, or failed.
    """
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", f"--dbname={url.database}")
    _run(url, "pg_restore", *options, str(copy))


def check_empty(url: URL) -> None:
    """Refuse a database that holds our tables already.

    Raises
    ------
    BackupError
        It does.
    """
    from db.engine.schema import current

    if current(url.render_as_string(hide_password=False)) is not None:
        raise BackupError("the database that LUNGNODE_DATABASE__URL names is not empty; a restore never overwrites")


def _run(url: URL, program: str, *options: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise BackupError(f"{program} is not on PATH: install PostgreSQL's client programs, of the server's version")
    done = subprocess.run(  # noqa: S603 (one of two fixed programs, no shell)
        [found, *options], env=_environment(url), capture_output=True, check=False
    )
    if done.returncode:
        raise BackupError(f"{program} failed (status {done.returncode}): check LUNGNODE_DATABASE__URL and its rights")


def _environment(url: URL) -> dict[str, str]:
    """Give connection parameters as libpq's variables: arguments can be read by everyone on the machine."""
    parameters = {
        "PGHOST": url.host or url.query.get("host"),
        "PGPORT": url.port or url.query.get("port"),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": url.query.get("sslmode"),
    }
    return {**os.environ, **{name: str(value) for name, value in parameters.items() if value}}
