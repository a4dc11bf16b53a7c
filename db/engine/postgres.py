"""Connection setup for PostgreSQL: synchronous commits and lock timeouts."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Engine, event

_Connect = Any  # a DBAPI connection


def prepare(engine: Engine, busy_timeout_s: float) -> None:
    """Install the setup of an engine's connections, and their server probe."""
    _watch(engine)
    event.listen(engine, "connect", partial(_configure, busy_timeout_s))


def _watch(engine: Engine) -> None:
    """Use connections that detect a silent server; psycopg is imported here, as SQLite does not need it."""
    from db.engine.server_probe import ServerProbe, WatchedConnection

    probe = ServerProbe()

    def connect(_dialect: object, _record: object, _given: object, parameters: dict[str, Any]) -> WatchedConnection:
        return WatchedConnection.watched(probe, parameters)

    event.listen(engine, "do_connect", connect)


def _configure(busy_timeout_s: float, connection: _Connect, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
    connection.commit()
