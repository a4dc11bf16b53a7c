"""The tables of what is wrong with this node itself: faults that last, and what is known of the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class FaultRow(Base):
    """Something that is wrong until it is mended: a damaged file, a damaged database, a clock that was set."""

    __tablename__ = "faults"

    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(256), primary_key=True)
    count: Mapped[int] = mapped_column(Integer())
    details: Mapped[dict[str, Any]]
    since: Mapped[datetime]
    last_at: Mapped[datetime]


class ClockRow(Base):
    """The wall clock and the uptime of one boot as they were seen together, and the latest time that was trusted."""

    __tablename__ = "clock"

    id: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    boot_id: Mapped[str] = mapped_column(String(64))
    booted_at: Mapped[datetime]
    """Wall clock less uptime, when this boot was first seen."""
    uptime_s: Mapped[float] = mapped_column()
    seen_at: Mapped[datetime]
