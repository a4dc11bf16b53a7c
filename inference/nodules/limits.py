"""Limits of what a measurement says: repeatability of volumes, and inputs that bear a density class."""

from __future__ import annotations

from enum import StrEnum

VOLUME_REPEATABILITY = 0.25
"""Share of a volume below which a change between two scans is no growth (BTS guideline: Callister et al. 2015, Thorax
70 suppl 2; NELSON: van Klaveren et al. 2009, N Engl J Med 361)."""
DENSITY_MAX_SLICE_MM = 1.5
"""Thickest slices that nodules are characterised on (Fleischner Society: MacMahon et al. 2017, Radiology 284)."""
DENSITY_MIN_DIAMETER_MM = 6.0
"""Smallest mean diameter of nodules that can be called part-solid (MacMahon et al. 2017); of balls of 5 mm, half get
their own class (docs/model/nodule.md)."""
_ROUNDING_MM = 0.01


class DensityLimit(StrEnum):
    """Reason for giving no density class."""

    SLICE_THICKNESS = "slice_thickness"
    SIZE = "size"


def density_limit(
    slice_spacing_mm: float, slice_thickness_mm: float | None, mean_diameter_mm: float
) -> DensityLimit | None:
    """Return why a nodule gets no density class; None if it gets one.

    Parameters
    ----------
    slice_spacing_mm, slice_thickness_mm
        The greater one counts; a thickness of None is unknown.
    mean_diameter_mm
        Mean of long and short axis.
    """
    if max(slice_spacing_mm, slice_thickness_mm or 0.0) > DENSITY_MAX_SLICE_MM + _ROUNDING_MM:
        return DensityLimit.SLICE_THICKNESS
    return DensityLimit.SIZE if mean_diameter_mm < DENSITY_MIN_DIAMETER_MM else None
