"""Tables of shadow runs and promotions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.models import PromotionKind
from db.domain.reasons import Reason
from db.tables.analyses import AnalysisRow
from db.tables.base import Base, OpaqueId, Sha256
from db.tables.column_types import words


class ShadowRunRow(Base):
    """Output of a shadow model for the series of an analysis; never shown to readers."""

    __tablename__ = "shadow_runs"
    __table_args__ = (
        UniqueConstraint("analysis_id", "model_sha256"),
        Index("ix_shadow_runs_model_sha256_finished_at", "model_sha256", "finished_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey(AnalysisRow.id))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    reasons: Mapped[tuple[Reason, ...]]
    findings: Mapped[dict[str, Any]]
    measures: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime]


class PromotionRow(Base):
    """One change of the live model; the row with the highest number is in force, and rows never change."""

    __tablename__ = "promotions"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[PromotionKind] = mapped_column(words(PromotionKind, "kind"))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    bundle_sha256: Mapped[str] = mapped_column(Sha256)
    files: Mapped[tuple[str, ...]]
    back_to: Mapped[int | None]
    by: Mapped[str]
    reason: Mapped[str]
    is_forced: Mapped[bool]
    figures: Mapped[dict[str, Any]]
    at: Mapped[datetime]
