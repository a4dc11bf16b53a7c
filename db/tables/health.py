"""Tables of this node's faults and clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class FaultRow(Base):
    """A persistent fault: a damaged file, a damaged database, a clock that jumped."""

    __tablename__ = "faults"

    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(256), primary_key=True)
    count: Mapped[int] = mapped_column(Integer())
    details: Mapped[dict[str, Any]]
    since: Mapped[datetime]
    last_at: Mapped[datetime]


class ClockRow(Base):
    """Wall clock and uptime of one boot, read together, and the latest trusted time."""

    __tablename__ = "clock"

    id: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    boot_id: Mapped[str] = mapped_column(String(64))
    booted_at: Mapped[datetime]
    """Wall clock less uptime, at the first reading of this boot."""
    uptime_s: Mapped[float] = mapped_column()
    seen_at: Mapped[datetime]
