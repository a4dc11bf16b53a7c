"""Tables of readers' verdicts and pathology results."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.findings import Verdict
from db.tables.analyses import FindingRow
from db.tables.base import Base, OpaqueId
from db.tables.column_types import words
from db.tables.studies import StudyRow


class AssessmentRow(Base):
    """A reader's verdict on a finding; ``number`` orders them independently of the clock."""

    __tablename__ = "assessments"
    __table_args__ = (UniqueConstraint("finding_id", "number"), Index("ix_assessments_created_at", "created_at"))

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    finding_id: Mapped[str] = mapped_column(ForeignKey(FindingRow.id))
    number: Mapped[int]
    verdict: Mapped[Verdict] = mapped_column(words(Verdict, "verdict"))
    reason: Mapped[str]
    comment: Mapped[str]
    reader: Mapped[str]
    is_read_first: Mapped[bool] = mapped_column(server_default=false())
    """True if the reader had read the study before the model was shown, by the audit trail."""
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    size: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """``ReaderSize`` by its fields, with the instance's id (our own) for its UID."""


class PathologyRow(Base):
    """A pathology result of a nodule; ``id`` is a digest of its subject, so that a repeated import changes nothing."""

    __tablename__ = "pathology"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), index=True)
    finding_id: Mapped[str | None] = mapped_column(ForeignKey(FindingRow.id), index=True)
    x_mm: Mapped[float]
    y_mm: Mapped[float]
    z_mm: Mapped[float]
    is_malignant: Mapped[bool]
    reported_on: Mapped[str]
    source: Mapped[str]
    imported_by: Mapped[str]
    imported_at: Mapped[datetime] = mapped_column(index=True)
