"""Database URLs and SQLAlchemy engines for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url

from db.domain.errors import UnfitDatabaseError
from db.engine import postgres, sqlite

POOL = {"pool_size": 4, "max_overflow": 20, "pool_timeout": 30.0}
"""Connection pool of one process; the node's three stay below PostgreSQL's default of 100. Further threads wait."""


def database_url(url: str) -> URL:
    """Parse an SQLAlchemy URL; plain ``postgres://`` and ``postgresql://`` select psycopg 3.

    Raises
    ------
    UnfitDatabaseError
        For other databases, and for SQLite in memory.
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
        raise UnfitDatabaseError("SQLite needs a file: an in-memory database stores nothing")
    return parsed


def make_engine(url: str, *, busy_timeout_s: float = 30.0) -> Engine:
    """Create an engine with durable settings (``db.engine.sqlite``, ``db.engine.postgres``)."""
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
        sqlite.prepare(engine, Path(str(parsed.database)).absolute(), busy_timeout_s)
    else:
        postgres.prepare(engine, busy_timeout_s)
    return engine
