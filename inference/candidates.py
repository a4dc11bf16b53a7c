"""Places in the lungs that may be nodules: bright blobs of 3 to 40 mm, by a multi-scale Hessian.

The region is resampled to 1 mm and what lies outside the closed lungs is replaced by lung, so that a nodule on
the pleura stands free. Blobs are local maxima of the scale-normalised negative Laplacian (Lindeberg 1998); at
each, the eigenvalues of the Hessian tell a sphere from a vessel or a sheet (Li, Sone and Doi 2003). Coarse scales
are computed on coarse grids. A second pass on the grey-opened volume finds ground glass.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs import LungSegmentation
from inference.types import Candidate, CtVolume

FINE_MM = 1.0
LUNG_HU = -850.0
LOWEST_HU, HIGHEST_HU = np.int16(-1000), np.int16(150)
MARGIN_MM = 12.0
DIAMETER_PER_SIGMA = 2.0 * np.sqrt(3.0)
"""A uniform ball answers strongest at sigma = radius / sqrt(3)."""
FAINT_SHARE = 0.25
"""Texture inside a mass answers this much weaker than the mass."""
SHARPNESS = 1.0
"""Exponent of sphericity in the strength."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Level:
    """One grid: its spacing, the scales searched on it and the weakest response worth a look, in HU."""

    spacing_mm: float
    sigmas_mm: tuple[float, ...]
    least_hu: float


_SOLID = (_Level(1.0, (1.0, 1.4), 60.0), _Level(2.0, (2.0, 2.8, 4.0), 60.0), _Level(4.0, (5.6, 8.0, 11.0), 60.0))
_MASSES = (_Level(4.0, (5.6, 8.0, 11.0), 60.0),)
_GROUND_GLASS = (_Level(2.0, (2.8, 4.0), 25.0), _Level(4.0, (5.6, 8.0), 25.0))


@dataclass(frozen=True, slots=True)
class _Scale:
    """A volume smoothed for blobs of one size, the soft region on its grid and the weakest response worth a look."""

    values: Floats
    inside: Floats
    spacing_mm: float
    sigma_mm: float
    least_hu: float


@dataclass(frozen=True, slots=True)
class _Blobs:
    """Maxima of one pass: position (mm in the fine grid's box), diameter and strength."""

    position_mm: Doubles  # (n, 3)
    diameter_mm: Doubles  # (n,)
    strength: Doubles  # (n,)


def find_candidates(volume: CtVolume, lungs: LungSegmentation, *, limit: int = 400) -> tuple[Candidate, ...]:
    """List nodule candidates inside or at the border of the lungs, strongest first.

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
    fine_hu, inside = _on_grid(volume, lungs, box, lungs.mask, FINE_MM)
    with ThreadPoolExecutor(2) as threads:
        opened = threads.submit(_ground_glass_blobs, fine_hu, inside)
        masses = threads.submit(_mass_blobs, volume, lungs, box)
        solid = [threads.submit(_maxima, scale) for scale in _scales(fine_hu, inside, _SOLID, FINE_MM)]
        blobs = [found.result() for found in solid] + opened.result() + masses.result()
    kept = _strongest_apart(blobs, limit)
    start = np.array([s.start for s in box])
    index = kept.position_mm / np.array(volume.spacing_mm) + start
    index = np.clip(index, 0, np.array(volume.volume_hu.shape) - 1)
    return tuple(
        Candidate((float(i[0]), float(i[1]), float(i[2])), scale_mm=float(d), strength=float(s))
        for i, d, s in zip(index, kept.diameter_mm, kept.strength, strict=True)
    )


def _on_grid(
    volume: CtVolume, lungs: LungSegmentation, box: tuple[slice, ...], region: NDArray[np.bool_], grid_mm: float
) -> tuple[Floats, Floats]:
    """HU on a cubic grid with lung in place of all outside ``region``, and the soft region (0..1)."""
    native = volume.volume_hu[box]
    hu_maps, region_maps = [], []
    for axis, spacing in enumerate(volume.spacing_mm):
        count = max(1, round(native.shape[axis] * spacing / grid_mm))
        at = np.arange(count) * grid_mm / spacing
        hu_maps.append(linear_map(at, native.shape[axis], grid_mm / spacing))
        working = (at + box[axis].start + 0.5) / lungs.block[axis] - 0.5
        region_maps.append(linear_map(working, region.shape[axis], grid_mm / lungs.spacing_mm[axis]))
    inside = apply_maps(region.astype(np.float32), region_maps)
    in_plane = np.empty((len(native), len(hu_maps[1]), len(hu_maps[2])), np.float32)
    for slice_hu, mapped in zip(native, in_plane, strict=True):  # slice by slice in cache, never a volume of floats
        clipped = np.clip(slice_hu, LOWEST_HU, HIGHEST_HU).astype(np.float32)
        np.matmul(hu_maps[1], clipped @ hu_maps[2].T, out=mapped)
    hu = _along_slices(hu_maps[0], in_plane)
    hu -= LUNG_HU
    hu *= inside
    hu += LUNG_HU
    return hu, inside


def linear_map(at: Doubles, size: int, step: float) -> Floats:
    """Matrix that reads ``size`` samples at fractional places by a triangle as wide as the coarser of both grids."""
    width = max(1.0, step)
    distance = np.abs(np.clip(at, 0, size - 1)[:, None] - np.arange(size)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / width)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def apply_maps(values: Floats, maps: list[Floats]) -> Floats:
    """Apply one matrix per axis to ``(s, r, c)`` values."""
    return _along_slices(maps[0], maps[1] @ (values @ maps[2].T))


def _along_slices(weights: Floats, values: Floats) -> Floats:
    depth, height, width = values.shape
    return (weights @ values.reshape(depth, -1)).reshape(-1, height, width)


def _ground_glass_blobs(fine_hu: Floats, inside: Floats) -> list[_Blobs]:
    """Blobs left when vessels and small solid nodules are opened away and what is denser than glass is clipped."""
    half = ndi.gaussian_filter(fine_hu, 0.8, truncate=2.5)[::2, ::2, ::2]
    opened = ndi.grey_opening(np.minimum(half, -450.0), size=3)
    return [_maxima(scale) for scale in _scales(opened, inside[::2, ::2, ::2], _GROUND_GLASS, 2.0)]


def _mass_blobs(volume: CtVolume, lungs: LungSegmentation, box: tuple[slice, slice, slice]) -> list[_Blobs]:
    """Large blobs of the widely closed lungs: masses with a broad base on the pleura."""
    hu, inside = _on_grid(volume, lungs, box, lungs.mass_mask, 4.0)
    return [_maxima(scale) for scale in _scales(hu, inside, _MASSES, 4.0)]


def _scales(values: Floats, inside: Floats, levels: tuple[_Level, ...], spacing_mm: float) -> Iterator[_Scale]:
    """Go through the levels from fine to coarse, each on the smoothed and thinned grid of the one before."""
    sigma_mm = 0.0
    for level in levels:
        while spacing_mm < level.spacing_mm:
            values, inside = values[::2, ::2, ::2], inside[::2, ::2, ::2]
            spacing_mm *= 2.0
        for target_mm in level.sigmas_mm:
            added = np.sqrt(target_mm**2 - sigma_mm**2) / spacing_mm
            values = ndi.gaussian_filter(values, added, mode="nearest", truncate=3.0)
            sigma_mm = target_mm
            yield _Scale(values, inside, spacing_mm, sigma_mm, level.least_hu)


def _maxima(at_scale: _Scale) -> _Blobs:
    """Local maxima of the negative Laplacian within the region, measured by the Hessian there."""
    values, inside, spacing_mm, sigma_mm = at_scale.values, at_scale.inside, at_scale.spacing_mm, at_scale.sigma_mm
    if min(values.shape) < 3:
        return _Blobs(np.empty((0, 3)), np.empty(0), np.empty(0))
    response = negative_laplacian(values)
    response *= np.float32((sigma_mm / spacing_mm) ** 2)
    places = np.argwhere(response > at_scale.least_hu)
    places = places[inside[1:-1, 1:-1, 1:-1][tuple(places.T)] > 0.3]
    at = response[tuple(places.T)]
    is_maximum = np.ones(len(places), bool)
    bounds = np.array(response.shape) - 1
    for offset in np.ndindex(3, 3, 3):
        if offset != (1, 1, 1):
            near = np.clip(places[is_maximum] + np.array(offset) - 1, 0, bounds)
            is_maximum[is_maximum] = at[is_maximum] >= response[tuple(near.T)]
    places = places[is_maximum] + 1
    gradient, hessian = derivatives(values, places)
    eigenvalues = -np.linalg.eigvalsh(hessian)  # descending size first after the sign change: l0 >= l1 >= l2
    flattest, steepest = eigenvalues[:, 2], eigenvalues[:, 0]
    scale = (sigma_mm / spacing_mm) ** 2
    round_ = flattest > 0.0
    strength = np.zeros(len(places))
    strength[round_] = scale * flattest[round_] * (flattest[round_] / steepest[round_]) ** SHARPNESS
    places, gradient, hessian, strength = places[round_], gradient[round_], hessian[round_], strength[round_]
    shift = np.clip(-np.linalg.solve(hessian, gradient[..., None])[..., 0], -1.0, 1.0) if len(places) else 0.0
    return _Blobs((places + shift) * spacing_mm, np.full(len(places), sigma_mm * DIAMETER_PER_SIGMA), strength)


def negative_laplacian(values: Floats) -> Floats:
    """Of the interior: shape less 2 per axis, per squared voxel."""
    total = np.empty(tuple(n - 2 for n in values.shape), np.float32)
    inner = (slice(1, -1), slice(1, -1))
    for number, of_slice in enumerate(total):  # slice by slice in cache
        before, here, after = values[number : number + 3]
        np.multiply(here[inner], np.float32(6.0), out=of_slice)
        for near in (before[inner], after[inner], here[:-2, 1:-1], here[2:, 1:-1], here[1:-1, :-2], here[1:-1, 2:]):
            np.subtract(of_slice, near, out=of_slice)
    return total


def derivatives(values: Floats, places: NDArray[np.intp]) -> tuple[Doubles, Doubles]:
    """Gradient ``(n, 3)`` and Hessian ``(n, 3, 3)`` by central differences, per voxel."""

    def at(*offset: int) -> Doubles:
        return values[tuple((places + np.array(offset)).T)].astype(float)

    unit = np.eye(3, dtype=int)
    centre = at(0, 0, 0)
    gradient = np.empty((len(places), 3))
    hessian = np.empty((len(places), 3, 3))
    for i in range(3):
        ahead, behind = at(*unit[i]), at(*-unit[i])
        gradient[:, i] = (ahead - behind) / 2.0
        hessian[:, i, i] = ahead - 2.0 * centre + behind
        for j in range(i):
            mixed = (
                at(*(unit[i] + unit[j]))
                - at(*(unit[i] - unit[j]))
                - at(*(unit[j] - unit[i]))
                + at(*-(unit[i] + unit[j]))
            )
            hessian[:, i, j] = hessian[:, j, i] = mixed / 4.0
    return gradient, hessian


def _strongest_apart(blobs: list[_Blobs], limit: int) -> _Blobs:
    """Keep the strongest, none within the radius of a stronger one; a small one is hidden only close by or if faint."""
    position_mm = np.concatenate([b.position_mm for b in blobs])
    diameter_mm = np.concatenate([b.diameter_mm for b in blobs])
    strength = np.concatenate([b.strength for b in blobs])
    order = np.lexsort((*position_mm.T, -strength))
    position_mm, diameter_mm, strength = position_mm[order], diameter_mm[order], strength[order]
    free = np.ones(len(order), bool)
    kept: list[int] = []
    for i in range(len(order)):
        if len(kept) == limit:
            break
        if free[i]:
            kept.append(i)
            reach_mm = np.maximum(2.5, np.minimum(0.5 * diameter_mm[i], diameter_mm))
            distance_mm = np.sqrt(((position_mm - position_mm[i]) ** 2).sum(axis=1))
            is_faint = strength < FAINT_SHARE * strength[i]
            free &= (distance_mm > reach_mm) & ~(is_faint & (distance_mm <= 0.5 * diameter_mm[i]))
    return _Blobs(position_mm[kept], diameter_mm[kept], strength[kept])
