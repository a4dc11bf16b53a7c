"""Tables of workers' heartbeats and of the revisions that the schema serves."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class WorkerRow(Base):
    """A worker's heartbeats."""

    __tablename__ = "workers"

    executor_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    beats: Mapped[int] = mapped_column(BigInteger())
    version: Mapped[str]
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class ServedRevisionRow(Base):
    """A schema revision whose code may still run on the present one (``db.engine.schema``)."""

    __tablename__ = "served_revisions"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
