"""Tables of analyses, findings and upload predictions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.analyses import AnalysisStatus
from db.domain.findings import FindingOrigin
from db.domain.reasons import Reason
from db.tables.base import Base, OpaqueId, Sha256
from db.tables.column_types import words
from db.tables.studies import InstanceRow, SeriesRow, StudyRow


class AnalysisRow(Base):
    """One analysis of the first ``instance_count`` instances of a series by one model."""

    __tablename__ = "analyses"
    __table_args__ = (
        UniqueConstraint("series_id", "input_digest", "model_sha256", "run_number"),
        UniqueConstraint("series_id", "ordinal"),
        Index(
            "uq_analyses_one_current",
            "series_id",
            unique=True,
            sqlite_where=text("status = 'current'"),
            postgresql_where=text("status = 'current'"),
        ),
        Index("ix_analyses_status_requested_at", "status", "requested_at"),
        Index("ix_analyses_finished_at_id", "finished_at", "id"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    series_id: Mapped[str] = mapped_column(ForeignKey(SeriesRow.id))
    ordinal: Mapped[int]
    input_digest: Mapped[str] = mapped_column(Sha256)
    instance_count: Mapped[int]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    run_number: Mapped[int]
    status: Mapped[AnalysisStatus] = mapped_column(words(AnalysisStatus, "status"))
    reasons: Mapped[tuple[Reason, ...]]
    caveats: Mapped[tuple[Reason, ...]] = mapped_column(server_default="[]", default=())
    overruled: Mapped[tuple[Reason, ...]] = mapped_column(server_default="[]", default=())
    """Refusals that a radiologist overruled for it, with the reasons."""
    measures: Mapped[dict[str, Any]]
    reconstruction: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Measures by which reconstructions of one acquisition are ranked (``db.domain.reconstructions``)."""
    is_explicit: Mapped[bool] = mapped_column(server_default=false(), default=False)
    """The series itself was requested, so that it is analysed whatever other reconstructions there are."""
    requested_by: Mapped[str]
    attempts: Mapped[int]
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class FindingRow(Base):
    """A finding of a model or a reader."""

    __tablename__ = "findings"
    __table_args__ = (
        CheckConstraint("nodule_probability BETWEEN 0 AND 1", name="nodule_probability"),
        CheckConstraint("malignancy_probability BETWEEN 0 AND 1", name="malignancy_probability"),
        CheckConstraint("interval_low BETWEEN 0 AND 1 AND interval_high BETWEEN interval_low AND 1", name="interval"),
        CheckConstraint("(origin = 'model') = (analysis_id IS NOT NULL)", name="model_findings_have_an_analysis"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), index=True)
    series_id: Mapped[str] = mapped_column(ForeignKey(SeriesRow.id))
    instance_id: Mapped[str] = mapped_column(ForeignKey(InstanceRow.id))
    analysis_id: Mapped[str | None] = mapped_column(ForeignKey(AnalysisRow.id), index=True)
    ordinal: Mapped[int]
    origin: Mapped[FindingOrigin] = mapped_column(words(FindingOrigin, "origin"))
    frame_number: Mapped[int]
    row_px: Mapped[float]
    column_px: Mapped[float]
    x_mm: Mapped[float]
    y_mm: Mapped[float]
    z_mm: Mapped[float]
    diameter_mm: Mapped[float | None]
    nodule_probability: Mapped[float | None]
    malignancy_probability: Mapped[float | None]
    interval_low: Mapped[float | None]
    interval_high: Mapped[float | None]
    prediction_set: Mapped[tuple[str, ...]]
    reasons: Mapped[tuple[Reason, ...]]
    attributes: Mapped[dict[str, Any]]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class FindingMaskRow(Base):
    """Measured voxels of a finding, run-length encoded in a box; ``db.domain.masks`` checks what is read."""

    __tablename__ = "finding_masks"

    finding_id: Mapped[str] = mapped_column(ForeignKey(FindingRow.id), primary_key=True)
    row_px: Mapped[int]
    column_px: Mapped[int]
    row_count: Mapped[int]
    column_count: Mapped[int]
    slices: Mapped[list[Any]] = mapped_column(JSON)
    """Pairs of instance (our own id) and frame number."""
    runs: Mapped[list[Any]] = mapped_column(JSON)
    axes: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class PredictionRow(Base):
    """A prediction for an upload, with the patient details provided (no identity)."""

    __tablename__ = "predictions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str]
    input_sha256: Mapped[str] = mapped_column(Sha256)
    predicted_class: Mapped[str | None]
    probabilities: Mapped[dict[str, Any]]
    prediction_set: Mapped[tuple[str, ...]]
    in_domain: Mapped[bool]
    reasons: Mapped[tuple[Reason, ...]]
    unvalidated: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    displayed: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    temperature: Mapped[float]
    age: Mapped[int | None]
    sex: Mapped[str | None]
    smoking_pack_years: Mapped[float | None]
    family_history: Mapped[bool | None]
    symptoms: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
