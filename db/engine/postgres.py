"""How a PostgreSQL server is connected to: commits that are synced, locks that are not waited for forever."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Engine, event

_Connect = Any  # a DBAPI connection


def prepare(engine: Engine, busy_timeout_s: float) -> None:
    """Have an engine watch each connection and set it up."""
    _watch(engine)
    event.listen(engine, "connect", partial(_configure, busy_timeout_s))


def _watch(engine: Engine) -> None:
    """Have connections notice a server that says nothing; SQLite alone needs no psycopg."""
    from db.engine.server_probe import ServerProbe, WatchedConnection

    pulse = ServerProbe()

    def connect(_dialect: object, _record: object, _given: object, parameters: dict[str, Any]) -> WatchedConnection:
        return WatchedConnection.watched(pulse, parameters)

    event.listen(engine, "do_connect", connect)


def _configure(busy_timeout_s: float, connection: _Connect, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = {int(busy_timeout_s * 1000)}")
    connection.commit()
