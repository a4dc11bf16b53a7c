"""Nodule candidates: bright blobs of 3 to 40 mm in the lungs, by a multi-scale Hessian.

The region is resampled to 1 mm and what lies outside the closed lungs is replaced by lung, so that a nodule on
the pleura stands free. Blobs are local maxima of the scale-normalised negative Laplacian (Lindeberg 1998); at
each, the eigenvalues of the Hessian tell a sphere from a vessel or a sheet (Li, Sone and Doi 2003). Coarse scales
are computed on coarse grids. A second pass on the grey-opened volume finds ground glass. Two threads share the slices.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs.search_region import LungSegmentation
from inference.types import Candidate, CtVolume
from inference.volumes.axis_maps import AxisMap, AxisMaps, gaussian_map, linear_map, mapped_slices
from inference.volumes.blas import one_blas_thread
from inference.volumes.blobs import Blobs, SmoothedVolume, find_blobs, strongest_apart

FINE_MM = 1.0
LUNG_HU = np.float32(-850.0)
LOWEST_HU, HIGHEST_HU = np.int16(-1000), np.int16(150)
GLASS_BELOW_HU = -450.0
"""Upper clipping limit, HU, for ground glass."""
MARGIN_MM = 12.0
MIN_INSIDE = 0.3
"""Share of a voxel that lies in the region, for a blob's centre."""
SLICES_AT_ONCE = 32
"""Of a grid, by one thread: few enough to stay in cache, many enough for large products."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Level:
    """One grid: spacing, scales, and minimum response in HU."""

    spacing_mm: float
    sigmas_mm: tuple[float, ...]
    min_hu: float


_SOLID = (_Level(1.0, (1.0, 1.4), 60.0), _Level(2.0, (2.0, 2.8, 4.0), 60.0), _Level(4.0, (5.6, 8.0, 11.0), 60.0))
_MASSES = (_Level(4.0, (5.6, 8.0, 11.0), 60.0),)
_GROUND_GLASS = (_Level(2.0, (2.8, 4.0), 25.0), _Level(4.0, (5.6, 8.0), 25.0))


@dataclass(frozen=True, slots=True)
class _Grid:
    """A cubic grid: HU above plain lung, which is also what all outside the region counts as, and the region."""

    above_lung_hu: Floats
    is_inside: Mask
    spacing_mm: float

    def thinned(self) -> _Grid:
        """Every second voxel of each axis."""
        every = np.s_[::2, ::2, ::2]
        return _Grid(np.ascontiguousarray(self.above_lung_hu[every]), self.is_inside[every], 2.0 * self.spacing_mm)


@one_blas_thread()
def find_candidates(volume: CtVolume, lungs: LungSegmentation, *, limit: int = 400) -> tuple[Candidate, ...]:
    """Return nodule candidates inside or at the border of the lungs, strongest first.

    Parameters
    ----------
    volume
        The volume that ``lungs`` was made from.
    lungs
        Its lung segmentation.
    limit
        At most so many candidates.
    """
    box = lungs.bounding_box(margin_mm=MARGIN_MM)
    with ThreadPoolExecutor(2) as threads:
        fine = _on_grid(threads, volume, lungs, box, lungs.mask, FINE_MM)
        wide = _on_grid(threads, volume, lungs, box, lungs.mass_mask, 4.0)
        blobs = [
            *_blobs(threads, fine, _SOLID),
            *_blobs(threads, _opened(threads, fine), _GROUND_GLASS),
            *_blobs(threads, wide, _MASSES),
        ]
    candidates = strongest_apart(blobs, limit)
    start = np.array([s.start for s in box])
    index = candidates.position_mm / np.array(volume.spacing_mm) + start
    index = np.clip(index, 0, np.array(volume.volume_hu.shape) - 1)
    return tuple(
        Candidate((float(i[0]), float(i[1]), float(i[2])), scale_mm=float(d), strength=float(s))
        for i, d, s in zip(index, candidates.diameter_mm, candidates.strength, strict=True)
    )


def _by_slices(threads: ThreadPoolExecutor, work: Callable[[slice], T], count: int) -> list[T]:
    """Run ``work`` on all of ``count`` slices in threads."""
    parts = [slice(at, min(at + SLICES_AT_ONCE, count)) for at in range(0, count, SLICES_AT_ONCE)]
    return list(threads.map(work, parts))


def _on_grid(
    threads: ThreadPoolExecutor, volume: CtVolume, lungs: LungSegmentation, box: Box, region: Mask, grid_mm: float
) -> _Grid:
    native = volume.volume_hu[box]
    hu_maps, region_maps = [], []
    for axis, spacing in enumerate(volume.spacing_mm):
        count = max(1, round(native.shape[axis] * spacing / grid_mm))
        at = np.arange(count) * grid_mm / spacing
        hu_maps.append(AxisMap(linear_map(at, native.shape[axis], grid_mm / spacing)))
        working = (at + box[axis].start + 0.5) / lungs.block[axis] - 0.5
        region_maps.append(AxisMap(linear_map(working, region.shape[axis], grid_mm / lungs.spacing_mm[axis])))
    shape = tuple(map(len, hu_maps))
    above, is_inside = np.empty(shape, np.float32), np.empty(shape, bool)

    def fill(part: slice) -> None:
        clipped = np.clip(native[hu_maps[0].reach(part)], LOWEST_HU, HIGHEST_HU).astype(np.float32)
        clipped -= LUNG_HU
        near = region[region_maps[0].reach(part)].astype(np.float32)
        inside = mapped_slices(near, (region_maps[0], region_maps[1], region_maps[2]), part)
        hu = mapped_slices(clipped, (hu_maps[0], hu_maps[1], hu_maps[2]), part)
        np.multiply(hu, inside, out=above[part])
        np.greater(inside, MIN_INSIDE, out=is_inside[part])

    _by_slices(threads, fill, shape[0])
    return _Grid(above, is_inside, grid_mm)


def _blobs(threads: ThreadPoolExecutor, grid: _Grid, levels: tuple[_Level, ...]) -> list[Blobs]:
    """Go through the levels from fine to coarse, each on the smoothed and thinned grid of the one before."""
    blobs: list[Blobs] = []
    sigma_mm = 0.0
    for level in levels:
        while grid.spacing_mm < level.spacing_mm:
            grid = grid.thinned()
        for target_mm in level.sigmas_mm:
            added = float(np.sqrt(target_mm**2 - sigma_mm**2)) / grid.spacing_mm
            maps = [AxisMap(gaussian_map(n, added, 3.0)) for n in grid.above_lung_hu.shape]
            values, sigma_mm = _mapped(threads, grid.above_lung_hu, (maps[0], maps[1], maps[2])), target_mm
            grid = _Grid(values, grid.is_inside, grid.spacing_mm)
            smoothed = SmoothedVolume(values, grid.is_inside, grid.spacing_mm, sigma_mm, level.min_hu)
            blobs += _by_slices(threads, partial(find_blobs, smoothed), len(values))
    return blobs


def _mapped(threads: ThreadPoolExecutor, values: Floats, maps: AxisMaps) -> Floats:
    result = np.empty(tuple(map(len, maps)), np.float32)

    def fill(part: slice) -> None:
        result[part] = mapped_slices(values[maps[0].reach(part)], maps, part)

    _by_slices(threads, fill, len(result))
    return result


def _opened(threads: ThreadPoolExecutor, fine: _Grid) -> _Grid:
    """Remove vessels and small solid nodules by opening, and clip what is denser than ground glass."""
    maps = [AxisMap(gaussian_map(n, 0.8, 2.5)[::2]) for n in fine.above_lung_hu.shape]
    half = _mapped(threads, fine.above_lung_hu, (maps[0], maps[1], maps[2]))
    np.minimum(half, GLASS_BELOW_HU - LUNG_HU, out=half)
    return _Grid(ndi.grey_opening(half, size=3), fine.is_inside[::2, ::2, ::2], 2.0 * fine.spacing_mm)
