"""Scanner of a series, the unit of drift monitoring and quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.analyses import AnalysisStatus
from db.tables.analyses import AnalysisRow

UNKNOWN = "unknown"
RECENT_SERIES = 2000
"""Number of latest series whose scanners are listed for quarantine."""


class Scanner(NamedTuple):
    """A scanner configuration: manufacturer and model, kernel, slice spacing."""

    model: str
    kernel: str
    slice_spacing: str

    @property
    def key(self) -> str:
        """Key for URLs and commands, the same on every node."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:32]


def scanner_of(measures: Mapping[str, object]) -> Scanner:
    """Return the scanner named by the measures of an analysis (``acquisition``, ``spacing_mm``)."""
    acquisition, spacing = measures.get("acquisition"), measures.get("spacing_mm")
    tags = acquisition if isinstance(acquisition, Mapping) else {}
    manufacturer, model = str(tags.get("Manufacturer", "")), str(tags.get("ManufacturerModelName", ""))
    slice_spacing = f"{spacing[0]:.1f} mm" if isinstance(spacing, list) and spacing else ""
    return Scanner(
        f"{manufacturer} {model}".strip() or UNKNOWN, str(tags.get("ConvolutionKernel", "")) or UNKNOWN, slice_spacing
    )


def recent_scanners(session: Session) -> dict[Scanner, int]:
    """Count the latest answered series by scanner."""
    answered = AnalysisRow.status.in_((AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED))
    latest = select(AnalysisRow.measures).where(answered).order_by(AnalysisRow.requested_at.desc()).limit(RECENT_SERIES)
    counts: dict[Scanner, int] = {}
    for measures in session.scalars(latest):
        if "spacing_mm" in measures:  # absent if the series was refused before reading
            scanner = scanner_of(measures)
            counts[scanner] = counts.get(scanner, 0) + 1
    return dict(sorted(counts.items()))
