"""Tables of the audit trail."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Integer
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Sha256


class AuditEventRow(Base):
    """An audit event. Triggers refuse UPDATE, DELETE, TRUNCATE and any sequence but the next."""

    __tablename__ = "audit_events"

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
    )
    occurred_at: Mapped[str]
    """ISO 8601, UTC, microseconds: exactly the sealed text."""
    action: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    outcome: Mapped[str]
    details: Mapped[str]
    mac: Mapped[str] = mapped_column(Sha256)


class AuditHeadRow(Base):
    """Head of the trail; ``head_mac`` prevents a forged earlier head without the key."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"))
    mac: Mapped[str] = mapped_column(Sha256)
    head_mac: Mapped[str] = mapped_column(Sha256)
