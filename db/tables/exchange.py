"""Tables of results, deliveries, withdrawals, storage commitments and priors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.deliveries import DeliveryStatus
from db.domain.exchange import CommitmentStatus, PriorStatus, RetractionCode
from db.tables.analyses import AnalysisRow
from db.tables.base import Base, OpaqueId, Uid
from db.tables.column_types import words
from db.tables.studies import StudyRow


class ResultRow(Base):
    """A result object of an analysis."""

    __tablename__ = "results"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey(AnalysisRow.id), index=True)
    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    series_instance_uid: Mapped[str] = mapped_column(Uid)
    series_number: Mapped[int]
    modality: Mapped[str]
    instance_number: Mapped[int]
    kind: Mapped[str]
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]


class ResultFailureRow(Base):
    """Failure to create result objects of an analysis."""

    __tablename__ = "result_failures"
    __table_args__ = (UniqueConstraint("analysis_id", "purpose"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey(AnalysisRow.id))
    purpose: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str]
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DeliveryRow(Base):
    """Delivery of one result object to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_deliveries_status_next_attempt_at", "status", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey(AnalysisRow.id), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    kind: Mapped[str]
    destination: Mapped[str]
    path: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(words(DeliveryStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RetractionRow(Base):
    """Withdrawal of the results of an analysis."""

    __tablename__ = "retractions"

    analysis_id: Mapped[str] = mapped_column(ForeignKey(AnalysisRow.id), primary_key=True)
    code: Mapped[RetractionCode] = mapped_column(words(RetractionCode, "code"))
    reason: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]


class CommitmentRow(Base):
    """A peer's storage commitment request; ``sop_references`` lists ``[SOP Class UID, SOP Instance UID]``."""

    __tablename__ = "commitments"
    __table_args__ = (
        UniqueConstraint("ae_title", "transaction_uid"),
        Index("ix_commitments_status_next_attempt_at", "status", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    ae_title: Mapped[str]
    transaction_uid: Mapped[str] = mapped_column(Uid)
    peer_address: Mapped[str]
    sop_references: Mapped[list[Any]] = mapped_column(JSON)
    status: Mapped[CommitmentStatus] = mapped_column(words(CommitmentStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PriorSearchRow(Base):
    """Search for a study's priors in one PACS."""

    __tablename__ = "prior_searches"

    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), primary_key=True)
    pacs: Mapped[str] = mapped_column(String(16), primary_key=True)
    status: Mapped[PriorStatus] = mapped_column(words(PriorStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PriorStudyRow(Base):
    """A prior to retrieve; it is stored, and analysed only on request."""

    __tablename__ = "prior_studies"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), index=True)
    pacs: Mapped[str]
    study_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    status: Mapped[PriorStatus] = mapped_column(words(PriorStatus, "status"))
    expected_count: Mapped[int]
    received_count: Mapped[int]
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
