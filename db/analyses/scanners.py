"""Which scanner a series is from: what is watched for drift, and what can be held back from readers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.records import AnalysisStatus
from db.tables.analyses import AnalysisRow

UNKNOWN = "unknown"
LOOKED_AT = 2000
"""Scanners of so many of the latest series are offered to be held."""


class Scanner(NamedTuple):
    """A scanner as far as images of it are alike: maker and model, kernel, slice spacing."""

    model: str
    kernel: str
    slice_spacing: str

    @property
    def key(self) -> str:
        """A name for addresses and commands, the same on every node."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:32]


def scanner_of(measures: Mapping[str, object]) -> Scanner:
    """Read it off what an analysis keeps of its series (``acquisition``, ``spacing_mm``)."""
    acquisition, spacing = measures.get("acquisition"), measures.get("spacing_mm")
    told = acquisition if isinstance(acquisition, Mapping) else {}
    maker, model = str(told.get("Manufacturer", "")), str(told.get("ManufacturerModelName", ""))
    slice_spacing = f"{spacing[0]:.1f} mm" if isinstance(spacing, list) and spacing else ""
    return Scanner(
        f"{maker} {model}".strip() or UNKNOWN, str(told.get("ConvolutionKernel", "")) or UNKNOWN, slice_spacing
    )


def recent_scanners(session: Session) -> dict[Scanner, int]:
    """Count the latest answered series by scanner."""
    answered = AnalysisRow.status.in_((AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED))
    latest = select(AnalysisRow.measures).where(answered).order_by(AnalysisRow.requested_at.desc()).limit(LOOKED_AT)
    counts: dict[Scanner, int] = {}
    for measures in session.scalars(latest):
        if "spacing_mm" in measures:  # one that was refused unread says nothing of it
            scanner = scanner_of(measures)
            counts[scanner] = counts.get(scanner, 0) + 1
    return dict(sorted(counts.items()))
