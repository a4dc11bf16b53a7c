"""Table of associations and rejections."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, OpaqueId


class AssociationRow(Base):
    """Count of equal associations of one peer. AE titles are as sent by the peer."""

    __tablename__ = "associations"
    __table_args__ = (
        UniqueConstraint(
            "peer_address", "calling_ae_title", "called_ae_title", "result", "reason", name="uq_associations"
        ),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    peer_address: Mapped[str]
    calling_ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    result: Mapped[str]
    reason: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)
