"""Scanner of a series, the unit of drift monitoring and quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

UNKNOWN = "unknown"


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
