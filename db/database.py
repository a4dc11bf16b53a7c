"""Database access: serialized write transactions, snapshot reads and the audit key."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from db.audit.trail import AuditedSession
from db.domain.errors import AuditKeyError, DatabaseUnavailableError
from db.engine.connections import database_url, make_engine
from db.engine.files import draft_of, sync_folder, write_synced
from db.engine.sqlite import READ_ONLY, begin_with
from db.engine.write_lock import WriteLock
from db.tables.audit import AuditHeadRow

AUDIT_KEY_BYTES = 32


def load_or_create_audit_key(path: Path) -> bytes:
    """Read the audit chain's key, or create one (32 random bytes, in hex, mode 0600).

    Safe to call from several processes at once: the first one's key is used.

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


def open_audit_key(url: str, path: Path) -> bytes:
    """Read the audit chain's key; create one only for an empty trail.

    Raises
    ------
    AuditKeyError, DatabaseUnavailableError
        See ``check_audit_key``.
    """
    check_audit_key(url, path)
    return load_or_create_audit_key(path)


def check_audit_key(url: str, path: Path) -> None:
    """Check that the key of a trail with events exists; writes nothing.

    Raises
    ------
    AuditKeyError
        It is missing: no other key can verify those events.
    DatabaseUnavailableError
        It is missing, and the database cannot be asked for events.
    """
    if not path.exists() and _has_events(url):
        raise AuditKeyError(
            f"the audit key {path} is missing: the audit trail was written with it and can neither be checked nor "
            "continued without; restore that file from a backup, or name it in LUNGNODE_DATABASE__AUDIT_KEY_FILE"
        )


def _has_events(url: str) -> bool:
    """Return whether the database exists and its audit trail has an event."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return False
    engine = make_engine(url)
    try:
        with _translated(), engine.connect() as connection:
            if not inspect(connection).has_table(AuditHeadRow.__tablename__):
                return False
            return bool(connection.scalar(select(AuditHeadRow.sequence)))
    finally:
        engine.dispose()


def _create_key_file(path: Path) -> None:
    """Write and sync the file under a temporary name, then link it: never a half-written key."""
    draft = draft_of(path)
    try:
        write_synced(draft, f"{secrets.token_bytes(AUDIT_KEY_BYTES).hex()}\n".encode("ascii"))
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """Records and audit trail, on SQLite or PostgreSQL.

    Parameters
    ----------
    url
        ``sqlite:///file`` or ``postgresql+psycopg://...``; the schema must be there (``db.engine.schema.upgrade``).
    audit_key
        Key of the audit chain, 32 bytes, from ``load_or_create_audit_key``.
    clock
        Returns the current time, timezone-aware; tests pass another.
    busy_timeout_s
        Seconds to wait for a lock before ``DatabaseUnavailableError``.
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
        self._write_lock = (
            WriteLock(Path(str(database_url(url).database))) if self.engine.dialect.name == "sqlite" else None
        )
        self._driver_connection: PoolProxiedConnection | None = None
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
        """Open a write transaction: commits at the end of the block, audit events last; rolls back on an exception.

        Raises
        ------
        DatabaseUnavailableError
            Locked, full or unreachable; nothing was committed.
        """
        with _translated(), self._writing(), self._session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def raw_transaction(self) -> Iterator[DBAPICursor]:
        """Open a write transaction on the driver's own cursor, for the most frequent writes.

        Without a session, no audit event can be written; commits and rolls back like ``begin``.

        Raises
        ------
        DatabaseUnavailableError
            Locked, full or unreachable; nothing was committed.
        """
        with self._driver_translated(), self._writing(), self._link() as link:
            if self._write_lock is not None:
                begin_with(link.cursor().execute, link.info, read_only=False)
            try:
                yield link.cursor()
                link.commit()
            except BaseException:
                link.rollback()
                raise

    @contextmanager
    def _link(self) -> Iterator[PoolProxiedConnection]:
        """Yield the driver's connection; SQLite's is reused until an error, as the pool costs more.

        The holder of the write lock has exclusive use of it.
        """
        if self._write_lock is None:
            with closing(self.engine.raw_connection()) as link:
                yield link
            return
        link, self._driver_connection = self._driver_connection or self.engine.raw_connection(), None
        try:
            yield link
        except BaseException:
            link.close()
            raise
        self._driver_connection = link

    def now(self) -> datetime:
        """Return the current time of the database's clock."""
        return self._clock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only transaction on one snapshot.

        Raises
        ------
        DatabaseUnavailableError
            Locked or unreachable.
        """
        with _translated(), self._session(self._reader) as session:
            yield session

    def takes_writes(self, within_s: float = 2.0) -> bool:
        """Return whether a row can be written and committed now.

        Rewrites the schema's revision unchanged, which costs a sync of the log.
        """
        statement = "UPDATE alembic_version SET version_num = version_num"
        try:
            if self._write_lock is None:
                with _translated(), self.engine.begin() as connection:
                    connection.execute(text(f"SET LOCAL lock_timeout = {int(within_s * 1000)}"))
                    connection.execute(text(statement))
                return True
            path = str(database_url(self.url).database)
            with (
                self._write_lock.acquire(within_s),
                closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=within_s)) as file,
                file,
            ):
                file.execute(statement)
        except (DatabaseUnavailableError, sqlite3.DatabaseError, DBAPIError):
            return False
        return True

    @contextmanager
    def advisory_lock(self, name: str) -> Iterator[bool]:
        """Hold an advisory lock on ``name`` among all hosts; yields False if another holds it.

        The lock of a process that dies is released. SQLite has one host and one such process: always True.

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
        if self._driver_connection is not None:
            self._driver_connection.close()
            self._driver_connection = None
        self.engine.dispose()
        if self._write_lock is not None:
            self._write_lock.close()

    def _writing(self) -> AbstractContextManager[None]:
        return nullcontext() if self._write_lock is None else self._write_lock.acquire(self._busy_timeout_s)

    @contextmanager
    def _driver_translated(self) -> Iterator[None]:
        """Translate errors as ``_translated``, also those that SQLAlchemy has not wrapped."""
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
