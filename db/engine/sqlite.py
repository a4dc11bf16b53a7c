"""Connection setup for SQLite: durable settings, and write transactions that lock at their begin."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from db.domain.errors import UnfitDatabaseError

READ_ONLY = "lungnode_read_only"
"""Execution option of read-only connections."""

_Connect = Any  # a DBAPI connection


def prepare(engine: Engine, path: Path, busy_timeout_s: float) -> None:
    """Install file creation, connection setup and transaction begin on an engine."""
    event.listen(engine, "connect", partial(_configure, path, busy_timeout_s))
    event.listen(engine, "begin", _begin)
    event.listen(engine, "do_connect", partial(_create_file, path))


def _create_file(path: Path, *_: object) -> None:
    """Create the file with mode 0600, which SQLite's -wal and -shm files inherit.

    An existing one is never opened: closing its descriptor would drop the locks of every connection of this process
    (sqlite.org/howtocorrupt, 2.2).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _configure(path: Path, busy_timeout_s: float, connection: _Connect, _record: object) -> None:
    """Set WAL and a sync at every commit: NORMAL would lose acknowledged instances in a power failure."""
    connection.isolation_level = None  # transactions are begun by _begin alone
    connection.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(path, connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("lower", 1, _lower, deterministic=True)
    connection.execute("PRAGMA recursive_triggers=ON")  # else INSERT OR REPLACE deletes without firing a trigger
    state = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    if state != ["wal", 2, 1]:
        raise UnfitDatabaseError(
            "SQLite cannot use WAL, synchronous=FULL and foreign_keys here: is it a network folder?"
        )


def _lower(text: object) -> object:
    """Return text in lower case for every script: SQLite's own function covers ASCII only, unlike PostgreSQL's."""
    return text.lower() if isinstance(text, str) else text


def _switch_to_wal(path: Path, connection: _Connect) -> None:
    """Switch to WAL, one process at a time: SQLite's busy timeout does not cover the switch."""
    descriptor = os.open(path.with_name(path.name + "-lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        os.close(descriptor)


def _begin(connection: Connection) -> None:
    """Begin a SQLAlchemy transaction."""
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    begin_with(connection.exec_driver_sql, connection.info, read_only=read_only)


def begin_with(execute: Callable[[str], object], info: dict[Any, Any], *, read_only: bool) -> None:
    """Begin a transaction; a writing one takes the lock at once, so that it cannot fail midway."""
    if info.get(READ_ONLY, False) != read_only:
        execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        info[READ_ONLY] = read_only
    execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
