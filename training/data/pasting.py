"""Pasting of nodules into the lungs of a series: into a patch, or into the volume.

Research crops end at the nodule, above and below; a filter that learned from them alone never sees where a vessel
goes on. A pasted nodule has the vessels, the pleura and the noise of the series around it on all sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs.search_region import LungSegmentation, block_mean
from inference.types import CtVolume
from inference.volumes.patches import PATCH_SHAPE, PATCH_SPACING_MM, Patch, cut_patch
from training.data.nodules import NoduleCrop

FEATHER_MM = 2.0
"""Width of the fading rim beyond the readers' outline."""
DENSE_HU = -300.0
LUNG_BELOW_HU = -500.0
"""Readers' outlines hold lung of at most this density; on the pleura it must not cut a hole into the wall."""
GRAIN_MM = 0.8
"""Finer structure of the background counts as noise, and is added to the nodule too."""

Floats = NDArray[np.float32]
Index = tuple[float, float, float]


def nodule_weight(crop: NoduleCrop) -> NDArray[np.float32]:
    """Return the share of each voxel of the crop's patch that belongs to the nodule, 0..1.

    Beyond the crop's outermost voxels a patch repeats its edge, the mask with it: there the nodule ends.
    """
    mask = CtVolume(crop.mask.astype(np.int16) * 1000, crop.volume.spacing_mm, crop.volume.affine)
    patch = cut_patch(mask, crop.centre)
    inside = patch.hu > 500
    for axis, (spacing, voxel_mm) in enumerate(zip(crop.volume.spacing_mm, PATCH_SPACING_MM, strict=True)):
        offset_mm = (np.arange(inside.shape[axis]) - inside.shape[axis] // 2) * voxel_mm
        is_real = (offset_mm >= patch.low_mm[axis] - spacing / 2) & (offset_mm <= patch.high_mm[axis] + spacing / 2)
        inside &= np.expand_dims(is_real, [other for other in range(3) if other != axis])
    outside_mm = ndi.distance_transform_edt(~inside, sampling=PATCH_SPACING_MM)
    return np.clip(1.0 - outside_mm / FEATHER_MM, 0.0, 1.0).astype(np.float32)


def paste(background: Patch, nodule: Patch, weight: NDArray[np.float32]) -> Patch:
    """Paste the nodule into the middle of the background.

    What is denser remains where the nodule's rim fades, and where the outline holds lung.
    """
    mixed = _blended(background.hu.astype(np.float32), nodule.hu.astype(np.float32), weight, PATCH_SPACING_MM)
    return Patch(mixed.astype(np.float16), background.low_mm, background.high_mm)


def _blended(under: Floats, nodule: Floats, weight: Floats, spacing_mm: tuple[float, ...]) -> Floats:
    grain = under - ndi.gaussian_filter(under, [GRAIN_MM / s for s in spacing_mm])
    over = nodule + grain
    over = np.where(((weight < 1.0) | (nodule < LUNG_BELOW_HU)) & (under > over), under, over)
    return np.asarray(under + weight * (over - under), dtype=np.float32)


def at_slice_distance(
    nodule: Patch, weight: NDArray[np.float32], crop_mm: float, series_mm: float
) -> tuple[Patch, NDArray[np.float32]]:
    """Return a nodule and its weight as slices ``series_mm`` thick would show it, if the crop's are thinner.

    A slice averages over its thickness, so the difference of two boxes' variances, thickness squared over 12, is
    made up by a Gaussian.
    """
    sigma_mm = float(np.sqrt(max(series_mm**2 - crop_mm**2, 0.0) / 12.0))
    if sigma_mm < 0.1:
        return nodule, weight
    hu, share = (
        ndi.gaussian_filter1d(values.astype(np.float32), sigma_mm / PATCH_SPACING_MM[0], axis=0)
        for values in (nodule.hu, weight)
    )
    return Patch(hu.astype(np.float16), nodule.low_mm, nodule.high_mm), share


def insert_nodule(volume: CtVolume, nodule: Patch, weight: NDArray[np.float32], index: Index) -> None:
    """Blend a nodule into the volume around ``index``, in place; the slice is rounded, as for patches."""
    centre = (float(round(index[0])), index[1], index[2])
    half_mm = [(n // 2) * mm for n, mm in zip(PATCH_SHAPE, PATCH_SPACING_MM, strict=True)]
    box, at = [], []
    for axis, spacing in enumerate(volume.spacing_mm):
        reach = half_mm[axis] / spacing
        start = max(0, int(np.ceil(centre[axis] - reach)))
        stop = min(volume.volume_hu.shape[axis], int(np.floor(centre[axis] + reach)) + 1)
        box.append(slice(start, stop))
        offset_mm = (np.arange(start, stop) - centre[axis]) * spacing
        at.append(offset_mm / PATCH_SPACING_MM[axis] + PATCH_SHAPE[axis] // 2)
    where = (box[0], box[1], box[2])
    grid = np.meshgrid(*at, indexing="ij")
    hu, share = (
        ndi.map_coordinates(values.astype(np.float32), grid, order=1, mode="nearest") for values in (nodule.hu, weight)
    )
    mixed = _blended(volume.volume_hu[where].astype(np.float32), hu, share, volume.spacing_mm)
    volume.volume_hu[where] = np.clip(np.rint(mixed), -1024, 3071).astype(np.int16)


VESSEL_HU = -500.0
"""A working voxel of the lungs denser than this, away from the wall, holds a vessel."""
CLEARANCE_MM = 2.0


class Attachment(StrEnum):
    """Surroundings of a pasted nodule."""

    FREE = "free"
    VESSEL = "vessel"
    PLEURA = "pleura"


@dataclass(frozen=True, slots=True)
class LungPlaces:
    """Distances of the lungs' working voxels from wall and vessels, to choose where a nodule is pasted."""

    inside: NDArray[np.intp]
    """Working voxels ``(n, 3)`` in the closed lungs."""
    wall_mm: NDArray[np.float32]
    vessel_mm: NDArray[np.float32]
    block: tuple[int, int, int]
    last: tuple[int, int, int]
    """Highest index of the full grid."""

    @classmethod
    def of(cls, volume: CtVolume, lungs: LungSegmentation) -> LungPlaces:
        """Measure the lungs of a volume."""
        wall = ndi.distance_transform_edt(lungs.mask, sampling=lungs.spacing_mm)
        hu = block_mean(volume.volume_hu, lungs.block)
        is_vessel = lungs.mask & (hu > VESSEL_HU) & (wall > CLEARANCE_MM + lungs.spacing_mm[1])
        vessel = ndi.distance_transform_edt(~is_vessel, sampling=lungs.spacing_mm)
        inside = np.argwhere(lungs.mask)
        at = tuple(inside.T)
        depth, height, width = volume.volume_hu.shape
        return cls(
            inside,
            wall[at].astype(np.float32),
            vessel[at].astype(np.float32),
            lungs.block,
            (depth - 1, height - 1, width - 1),
        )

    def fits(self, attachment: Attachment, radius_mm: float) -> NDArray[np.bool_]:
        """Return which working voxels may be the centre of a nodule of this radius.

        Free: lung all around. Vessel: the border reaches a vessel, which does not pass the middle of a large nodule.
        Pleura: the border reaches the wall, or the nodule is up to half sunk into it.
        """
        clear = radius_mm + CLEARANCE_MM
        if attachment is Attachment.PLEURA:
            fits = (self.wall_mm >= 0.5 * radius_mm) & (self.wall_mm <= radius_mm + 1.0)
            return fits & (self.vessel_mm > clear)
        if attachment is Attachment.VESSEL:
            return (self.wall_mm > clear) & (self.vessel_mm >= 0.5 * radius_mm) & (self.vessel_mm <= radius_mm + 1.0)
        return (self.wall_mm > clear) & (self.vessel_mm > clear)

    def draws(self, attachment: Attachment, radius_mm: float, rng: np.random.Generator) -> Iterator[Index]:
        """Generate random centres (slice, row, column) of the full grid, without end; none where no voxel fits."""
        fitting = np.flatnonzero(self.fits(attachment, radius_mm))
        while len(fitting):
            at = (self.inside[fitting[rng.integers(len(fitting))]] + rng.random(3)) * self.block - 0.5
            z, y, x = (float(v) for v in np.clip(at, 0, self.last))
            yield z, y, x


SOFT_HU = (-200.0, 20.0)
"""Between these a voxel is partly soft tissue; below it is lung."""
BONE_HU = (200.0, 300.0)


def with_contrast(volume: CtVolume, lungs: LungSegmentation, added_hu: float) -> CtVolume:
    """Return the volume as if blood within the widely closed lungs were ``added_hu`` brighter: vessels and hila.

    Series with contrast medium that four readers have read are rare; a native one shows the same vessels darker.
    """
    hu = volume.volume_hu.astype(np.float32)
    soft = np.clip((hu - SOFT_HU[0]) / (SOFT_HU[1] - SOFT_HU[0]), 0.0, 1.0)
    soft *= np.clip((BONE_HU[1] - hu) / (BONE_HU[1] - BONE_HU[0]), 0.0, 1.0)
    region = lungs.mass_mask
    for axis, block in enumerate(lungs.block):
        region = region.repeat(block, axis)
    missing = [(0, n - m) for n, m in zip(hu.shape, region.shape, strict=True)]
    soft *= np.pad(region, missing)
    return CtVolume(np.rint(hu + added_hu * soft).astype(np.int16), volume.spacing_mm, volume.affine)


def dense_points(volume: CtVolume, lungs: LungSegmentation, count: int, rng: np.random.Generator) -> list[Index]:
    """Return random dense points (slice, row, column) in the closed lungs: vessels, hila, walls."""
    inside = np.argwhere(lungs.mask)
    last = np.array(volume.volume_hu.shape) - 1
    points: list[Index] = []
    while len(points) < count:
        at = (inside[rng.integers(len(inside))] + rng.random(3)) * lungs.block - 0.5
        z, y, x = (float(v) for v in np.clip(at, 0, last))
        rows, columns = (slice(max(round(v) - 2, 0), round(v) + 3) for v in (y, x))
        if float(volume.volume_hu[round(z), rows, columns].mean()) > DENSE_HU:
            points.append((z, y, x))
    return points
