"""Exclusion of measured candidates by anatomy: vessels that continue beyond them, and tissue outside the lungs.

Vessels attached to a nodule are thinner than the nodule. A hilar vessel continues at its own thickness, which the
filter, with its field of 28 mm, cannot see.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs.search_region import LungSegmentation
from inference.nodules.measurement import NoduleMeasure
from inference.types import CtVolume
from inference.volumes.axis_maps import apply_maps, linear_map

GRID_MM = 1.0
SOFT_HU = -350.0
"""Lower bound of soft tissue, which leaves out ground glass."""
BEYOND_MM = 8.0
"""A structure continues if it reaches this far beyond a ball of the finding's volume."""
WIDTH_SHARE = 0.6
"""Share of the finding's half thickness that a continuing structure has along its length; a nodule's own vessels have
less."""
MIN_HALF_THICKNESS_MM = 2.5
"""Minimum half thickness of a structure that is followed; the slice distance is another, as less is not resolved."""
MAX_HALF_THICKNESS_MM = 8.0
"""Maximum half thickness of a vessel: the right descending pulmonary artery is at most 16 mm thick (Chang 1962)."""
BORDER_MM = 2
"""Rim of the closed lungs in which nothing is followed: their border is known to a working voxel, and a pleural nodule
must not continue into the chest wall."""
MIN_SHARE_IN_LUNGS = 0.5
"""Minimum share of a finding's volume within the closed lungs (``LungSegmentation.mass_mask``), which hold masses with
a broad base on the pleura too."""

Mask = NDArray[np.bool_]
Doubles = NDArray[np.float64]


class Exclusion(StrEnum):
    """Reason why a finding is no nodule."""

    VESSEL = "vessel"
    OUTSIDE_LUNGS = "outside_lungs"


def exclusion_of(volume: CtVolume, lungs: LungSegmentation, measure: NoduleMeasure) -> Exclusion | None:
    """Return why a measured finding is no nodule, or None.

    Parameters
    ----------
    volume, lungs
        The volume and its lungs.
    measure
        The finding as measured in this volume.
    """
    if share_in_lungs(lungs, measure) < MIN_SHARE_IN_LUNGS:
        return Exclusion.OUTSIDE_LUNGS
    if continues_as_vessel(volume, lungs, measure.center_index, measure.equivalent_diameter_mm / 2):
        return Exclusion.VESSEL
    return None


def share_in_lungs(lungs: LungSegmentation, measure: NoduleMeasure) -> float:
    """Return the share of the measured voxels within the closed lungs, 0..1."""
    voxels = np.argwhere(measure.mask) + [part.start for part in measure.mask_box]
    return float(_within(lungs, [*voxels.T.astype(float)]).mean())


def continues_as_vessel(
    volume: CtVolume, lungs: LungSegmentation, index: tuple[float, float, float], radius_mm: float
) -> bool:
    """Return whether soft tissue in the lungs continues beyond the ball around ``index``, nearly as thick as within."""
    if radius_mm < MIN_HALF_THICKNESS_MM:
        return False
    reach_mm = radius_mm + BEYOND_MM
    count = int(np.ceil(reach_mm / GRID_MM)) + 1
    offsets_mm = (np.arange(-count, count + 1) * GRID_MM).astype(np.float64)
    at = [index[axis] + offsets_mm / spacing for axis, spacing in enumerate(volume.spacing_mm)]
    depth_mm = _depth_mm(volume, lungs, at)
    apart_mm = np.sqrt(offsets_mm[:, None, None] ** 2 + offsets_mm[None, :, None] ** 2 + offsets_mm[None, None, :] ** 2)
    core = apart_mm <= max(2.0, radius_mm / 2)
    half_mm = float(depth_mm[core].max())
    if not max(MIN_HALF_THICKNESS_MM, volume.spacing_mm[0]) <= half_mm <= MAX_HALF_THICKNESS_MM:
        return False
    parts, _ = ndi.label(depth_mm >= WIDTH_SHARE * half_mm)
    inner = np.unique(parts[core & (parts > 0)])
    return bool(np.isin(parts[apart_mm >= reach_mm], inner).any())


def _depth_mm(volume: CtVolume, lungs: LungSegmentation, at: list[Doubles]) -> Doubles:
    """Return the distance to the border of soft tissue in the closed lungs, on a grid; 0 outside."""
    maps, box = [], []
    for axis, positions in enumerate(at):
        size = volume.volume_hu.shape[axis]
        start, stop = min(max(0, int(positions[0]) - 1), size - 1), max(1, min(size, int(positions[-1]) + 3))
        box.append(slice(start, stop))
        maps.append(linear_map(positions - start, stop - start, GRID_MM / volume.spacing_mm[axis]))
    hu = apply_maps(volume.volume_hu[box[0], box[1], box[2]].astype(np.float32), maps)
    grid = list(np.meshgrid(*at, indexing="ij", sparse=True))
    inside = ndi.binary_erosion(_within(lungs, grid), iterations=round(BORDER_MM / GRID_MM), border_value=1)
    soft = (hu > SOFT_HU) & inside
    return np.asarray(ndi.distance_transform_edt(soft)) * GRID_MM


def _within(lungs: LungSegmentation, at: list[Doubles]) -> Mask:
    """Return which full-resolution ``(slice, row, column)`` coordinates lie in the closed lungs."""
    nearest, is_inside = [], np.ones((), dtype=bool)
    for axis, positions in enumerate(at):
        working = np.rint((positions + 0.5) / lungs.block[axis] - 0.5).astype(int)
        size = lungs.mass_mask.shape[axis]
        is_inside = is_inside & (working >= -1) & (working <= size)  # the remainder that fills no block
        nearest.append(np.clip(working, 0, size - 1))
    return np.asarray(is_inside & lungs.mass_mask[nearest[0], nearest[1], nearest[2]])
