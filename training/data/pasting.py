"""Pasting of nodules into lungs of a nodule-free series, in patch space.

Research crops end at the nodule, above and below; a filter that learned from them alone never sees where a vessel
goes on. A pasted nodule has the vessels, the pleura and the noise of the series around it on all sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs.search_region import LungSegmentation
from inference.types import CtVolume
from inference.volumes.patches import PATCH_SPACING_MM, Patch, cut_patch
from training.data.nodules import NoduleCrop

FEATHER_MM = 2.0
"""Width of the fading rim beyond the readers' outline."""
DENSE_HU = -300.0
GRAIN_MM = 0.8
"""Finer structure of the background counts as noise, and is added to the nodule too."""


def nodule_weight(crop: NoduleCrop) -> NDArray[np.float32]:
    """Return the share of each voxel of the crop's patch that belongs to the nodule, 0..1."""
    mask = CtVolume(crop.mask.astype(np.int16) * 1000, crop.volume.spacing_mm, crop.volume.affine)
    inside = cut_patch(mask, crop.centre).hu > 500
    outside_mm = ndi.distance_transform_edt(~inside, sampling=PATCH_SPACING_MM)
    return np.clip(1.0 - outside_mm / FEATHER_MM, 0.0, 1.0).astype(np.float32)


def paste(background: Patch, nodule: Patch, weight: NDArray[np.float32]) -> Patch:
    """Paste the nodule into the middle of the background; structures denser than its fading rim remain."""
    under = background.hu.astype(np.float32)
    grain = under - ndi.gaussian_filter(under, [GRAIN_MM / s for s in PATCH_SPACING_MM])
    over = nodule.hu.astype(np.float32) + grain
    over = np.where((weight < 1.0) & (under > over), under, over)
    mixed = under + weight * (over - under)
    return Patch(mixed.astype(np.float16), background.low_mm, background.high_mm)


Index = tuple[float, float, float]


def points_in_lung(volume: CtVolume, lungs: LungSegmentation, count: int, rng: np.random.Generator) -> list[Index]:
    """Return random points (slice, row, column) in the closed lungs outside dense tissue."""
    return _random_points(volume, lungs, count, rng, dense=False)


def dense_points(volume: CtVolume, lungs: LungSegmentation, count: int, rng: np.random.Generator) -> list[Index]:
    """Return random dense points (slice, row, column) in the closed lungs: vessels, hila, walls."""
    return _random_points(volume, lungs, count, rng, dense=True)


def _random_points(
    volume: CtVolume, lungs: LungSegmentation, count: int, rng: np.random.Generator, *, dense: bool
) -> list[Index]:
    inside = np.argwhere(lungs.mask)
    last = np.array(volume.volume_hu.shape) - 1
    points: list[Index] = []
    while len(points) < count:
        at = (inside[rng.integers(len(inside))] + rng.random(3)) * lungs.block - 0.5
        z, y, x = (float(v) for v in np.clip(at, 0, last))
        rows, columns = (slice(max(round(v) - 2, 0), round(v) + 3) for v in (y, x))
        if (float(volume.volume_hu[round(z), rows, columns].mean()) > DENSE_HU) == dense:
            points.append((z, y, x))
    return points
