"""Tables of scanner quarantine and drift monitoring."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, OpaqueId, Sha256


class ScannerQuarantineRow(Base):
    """A quarantine of a scanner, until its release."""

    __tablename__ = "scanner_quarantines"
    __table_args__ = (
        Index(
            "uq_scanner_quarantines_one_each",
            "model",
            "kernel",
            "slice_spacing",
            unique=True,
            sqlite_where=text("released_at IS NULL"),
            postgresql_where=text("released_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    model: Mapped[str]
    kernel: Mapped[str]
    slice_spacing: Mapped[str]
    series_count: Mapped[int]
    reason: Mapped[str]
    held_by: Mapped[str]
    held_at: Mapped[datetime]
    release_reason: Mapped[str]
    released_by: Mapped[str]
    released_at: Mapped[datetime | None]


class WatchedScannerRow(Base):
    """A monitored scanner; ``block`` is the number of compared blocks of its series."""

    __tablename__ = "watched_scanners"

    key: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    model: Mapped[str]
    kernel: Mapped[str]
    slice_spacing: Mapped[str]
    series_count: Mapped[int]
    block: Mapped[int]


class ObservationRow(Base):
    """Image summary and probabilities of one series. It holds no identity and outlives the study.

    ``number`` counts the read series of a scanner from 1; None for one refused before reading.
    """

    __tablename__ = "observations"
    __table_args__ = (UniqueConstraint("scanner_key", "number"),)

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    analysis_id: Mapped[str] = mapped_column(OpaqueId, unique=True)
    series_id: Mapped[str] = mapped_column(OpaqueId, unique=True)
    scanner_key: Mapped[str] = mapped_column(ForeignKey(WatchedScannerRow.key))
    number: Mapped[int | None]
    site: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    finished_at: Mapped[datetime] = mapped_column(index=True)
    reason_codes: Mapped[tuple[str, ...]]
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    findings: Mapped[list[Any]] = mapped_column(JSON)
    """``[nodule probability, malignancy probability]`` each."""
    finding_count: Mapped[int]
    doubts: Mapped[tuple[str, ...]]
    """Reason codes of each finding without a malignancy probability."""


class DriftCheckRow(Base):
    """Result of comparing one block of a scanner's series with its first ones."""

    __tablename__ = "drift_checks"

    scanner_key: Mapped[str] = mapped_column(ForeignKey(WatchedScannerRow.key), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    checked_at: Mapped[datetime]
    drifted: Mapped[tuple[str, ...]]
    indices: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]]


class WatchReportRow(Base):
    """Latest monitoring report, and the time up to which analyses were collected."""

    __tablename__ = "watch_report"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    collected_to: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any]]
