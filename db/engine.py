"""The database: one engine, write transactions that stand alone, reads that see one moment."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from db.audit import AuditedSession
from db.errors import AuditKeyError, DatabaseUnavailableError, UnfitDatabaseError
from db.writer import Writer

AUDIT_KEY_BYTES = 32
READ_ONLY = "lungnode_read_only"
POOL = {"pool_size": 4, "max_overflow": 20, "pool_timeout": 30.0}
"""Connections of one process; the node's three stay below PostgreSQL's usual 100. More threads wait their turn."""

_Connect = Any  # a DBAPI connection: sqlite3 or psycopg


def load_or_create_audit_key(path: Path) -> bytes:
    """Read the audit chain's key, or make one (32 random bytes, in hex, mode 0600) where there is none.

    Safe to be called by several processes at once: the first one's key counts.

    Raises
    ------
    AuditKeyError
        If the file does not hold such a key.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _create_key_file(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != AUDIT_KEY_BYTES:
        raise AuditKeyError(f"the audit key file must hold {AUDIT_KEY_BYTES} bytes in hexadecimal")
    return key


def _create_key_file(path: Path) -> None:
    """Write a whole synced file under a name of its own, then link it into place: never a half-written key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(AUDIT_KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def database_url(url: str) -> URL:
    """Parse an SQLAlchemy URL; plain ``postgres://`` and ``postgresql://`` mean psycopg 3.

    Raises
    ------
    UnfitDatabaseError
        For other databases, and for SQLite in memory, which keeps nothing.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        raise UnfitDatabaseError("the database URL cannot be read") from error
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise UnfitDatabaseError("the database must be SQLite or PostgreSQL (postgresql+psycopg://)")
    if parsed.get_backend_name() == "sqlite" and (parsed.database or ":memory:") == ":memory:":
        raise UnfitDatabaseError("SQLite needs a file: a database in memory keeps nothing")
    return parsed


def make_engine(url: str, *, busy_timeout_s: float = 30.0) -> Engine:
    """Make an engine with the settings that durability rests on (see ``_configure_sqlite``)."""
    parsed = database_url(url)
    serializer = partial(json.dumps, allow_nan=False)
    engine = create_engine(
        parsed,
        hide_parameters=True,
        json_serializer=serializer,
        pool_pre_ping=parsed.get_backend_name() != "sqlite",
        **POOL,
    )
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database)).absolute()
        event.listen(engine, "connect", partial(_configure_sqlite, path, busy_timeout_s))
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "do_connect", partial(_create_sqlite_file, path))
    else:
        _watch_postgres(engine)
        event.listen(engine, "connect", partial(_configure_postgres, busy_timeout_s))
    return engine


def _watch_postgres(engine: Engine) -> None:
    """Have connections notice a server that says nothing; SQLite alone needs no psycopg."""
    from db.pulse import Pulse, WatchedConnection

    pulse = Pulse()

    def connect(_dialect: object, _record: object, _given: object, parameters: dict[str, Any]) -> WatchedConnection:
        return WatchedConnection.watched(pulse, parameters)

    event.listen(engine, "do_connect", connect)


def _create_sqlite_file(path: Path, *_: object) -> None:
    """Make the file, for nobody else to read: SQLite gives its -wal and -shm files the same mode.

    One that is there is never opened: closing its descriptor would drop the locks of every connection of this process,
    and whoever then closes one elsewhere would take the log away from under them (sqlite.org/howtocorrupt, 2.2).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _configure_sqlite(path: Path, busy_timeout_s: float, connection: _Connect, _record: object) -> None:
    """WAL, and a sync at every commit: NORMAL would lose acknowledged instances when power fails."""
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
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
            "SQLite does not keep WAL, synchronous=FULL and foreign_keys here: is it a network folder?"
        )


def _lower(text: object) -> object:
    """Lower case for every script: SQLite's own function knows ASCII only, unlike PostgreSQL's."""
    return text.lower() if isinstance(text, str) else text


def _switch_to_wal(path: Path, connection: _Connect) -> None:
    """One process at a time: SQLite's busy timeout does not cover the switch itself."""
    descriptor = os.open(path.with_name(path.name + "-lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        os.close(descriptor)


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction of SQLAlchemy's."""
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    _begin_with(connection.exec_driver_sql, connection.info, read_only=read_only)


def _begin_with(execute: Callable[[str], object], info: dict[Any, Any], *, read_only: bool) -> None:
    """Take the write lock at once: a transaction that only later wants to write could fail in its middle."""
    if info.get(READ_ONLY, False) != read_only:
        execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        info[READ_ONLY] = read_only
    execute("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _configure_postgres(busy_timeout_s: float, connection: _Connect, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
    connection.commit()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """Records and audit trail, on SQLite or PostgreSQL.

    Parameters
    ----------
    url
        ``sqlite:///file`` or ``postgresql+psycopg://...``; the schema must be there (``db.schema.upgrade``).
    audit_key
        Key of the audit chain, 32 bytes, from ``load_or_create_audit_key``.
    clock
        The present moment, aware; only tests give another.
    busy_timeout_s
        How long to wait for another's lock before ``DatabaseUnavailableError``.
    """

    def __init__(
        self, url: str, audit_key: bytes, *, clock: Callable[[], datetime] = _utc_now, busy_timeout_s: float = 30.0
    ) -> None:
        if len(audit_key) < AUDIT_KEY_BYTES:
            raise AuditKeyError(f"the audit key must have at least {AUDIT_KEY_BYTES} bytes")
        self.url = url
        self._audit_key = audit_key
        self._clock = clock
        self._busy_timeout_s = busy_timeout_s
        self.engine = make_engine(url, busy_timeout_s=busy_timeout_s)
        self._writer = Writer(Path(str(database_url(url).database))) if self.engine.dialect.name == "sqlite" else None
        self._kept: PoolProxiedConnection | None = None
        self._reader = self.engine.execution_options(**{READ_ONLY: True})
        if self.engine.dialect.name == "postgresql":
            self._reader = self._reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def __repr__(self) -> str:
        return f"Database({self.engine.dialect.name})"

    @property
    def audit_key(self) -> bytes:
        """Key of the audit chain."""
        return self._audit_key

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open one write transaction: commits at the end of the block, audit events last; rolls back on an exception.

        Raises
        ------
        DatabaseUnavailableError
            Locked, full or unreachable; nothing was committed.
        """
        with _translated(), self._turn(), self._session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def drive(self) -> Iterator[DBAPICursor]:
        """Open one write transaction on the driver's own cursor, for what is written thousands of times an hour.

        No session is made and no audit event can be written; it commits and rolls back as ``begin`` does.

        Raises
        ------
        DatabaseUnavailableError
            Locked, full or unreachable; nothing was committed.
        """
        with self._driver_translated(), self._turn(), self._link() as link:
            if self._writer is not None:
                _begin_with(link.cursor().execute, link.info, read_only=False)
            try:
                yield link.cursor()
                link.commit()
            except BaseException:
                link.rollback()
                raise

    @contextmanager
    def _link(self) -> Iterator[PoolProxiedConnection]:
        """Lend the driver's connection; a SQLite file's is kept while all goes well, for the pool costs more than it.

        Whose turn it is has it to itself.
        """
        if self._writer is None:
            with closing(self.engine.raw_connection()) as link:
                yield link
            return
        link, self._kept = self._kept or self.engine.raw_connection(), None
        try:
            yield link
        except BaseException:
            link.close()
            raise
        self._kept = link

    def now(self) -> datetime:
        """Tell the time, by the clock that was given."""
        return self._clock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only transaction that sees one moment throughout.

        Raises
        ------
        DatabaseUnavailableError
            Locked or unreachable.
        """
        with _translated(), self._session(self._reader) as session:
            yield session

    def takes_writes(self, within_s: float = 2.0) -> bool:
        """Whether a write transaction could begin now; reads go on in a SQLite file that somebody holds."""
        try:
            if self._writer is None:
                with self.read() as session:
                    session.execute(text("SELECT 1"))
                return True
            path = str(database_url(self.url).database)
            with (
                self._writer.turn(within_s),
                closing(sqlite3.connect(path, timeout=within_s, isolation_level=None)) as connection,
            ):
                connection.execute("BEGIN IMMEDIATE")
        except (DatabaseUnavailableError, sqlite3.OperationalError):
            return False
        return True

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Hold ``name`` among all hosts while the block runs, or be told False; a holder that dies lets go.

        SQLite is of one host, where one process does such work.

        Raises
        ------
        DatabaseUnavailableError
        """
        if self.engine.dialect.name != "postgresql":
            yield True
            return
        key = {"key": int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)}
        with _translated(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            is_ours = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key))
            try:
                yield is_ours
            finally:
                if is_ours and not connection.invalidated:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

    def dispose(self) -> None:
        """Close all connections."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self.engine.dispose()
        if self._writer is not None:
            self._writer.close()

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._writer is None else self._writer.turn(self._busy_timeout_s)

    @contextmanager
    def _driver_translated(self) -> Iterator[None]:
        """As ``_translated``, for errors that SQLAlchemy has not wrapped."""
        errors = self.engine.dialect.loaded_dbapi
        with _translated():
            try:
                yield
            except (errors.OperationalError, errors.InterfaceError) as error:
                raise DatabaseUnavailableError from error

    def _session(self, engine: Engine) -> Session:
        info = {"audit_key": self._audit_key, "clock": self._clock}
        return AuditedSession(engine, expire_on_commit=False, info=info)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise DatabaseUnavailableError from error
