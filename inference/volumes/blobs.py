"""Bright blobs of a smoothed volume: local maxima of the negative Laplacian, measured by the Hessian there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

DIAMETER_PER_SIGMA = 2.0 * np.sqrt(3.0)
"""A uniform ball answers strongest at sigma = radius / sqrt(3)."""
FAINT_SHARE = 0.25
"""Texture inside a mass answers this much weaker than the mass."""
SHARPNESS = 1.0
"""Exponent of sphericity in the strength."""
_NEIGHBOURS = sorted((o for o in product((-1, 0, 1), repeat=3) if any(o)), key=lambda o: sum(map(abs, o)))


@dataclass(frozen=True, slots=True)
class Blobs:
    """Blobs by position (mm from the first voxel), diameter and strength."""

    position_mm: Doubles  # (n, 3)
    diameter_mm: Doubles  # (n,)
    strength: Doubles  # (n,)


@dataclass(frozen=True, slots=True)
class SmoothedVolume:
    """A volume smoothed for blobs of one size, with their region and the minimum response."""

    values: Floats
    is_inside: Mask
    spacing_mm: float
    sigma_mm: float
    min_hu: float


def find_blobs(volume: SmoothedVolume, slices: slice) -> Blobs:
    """Find the round maxima of the scale-normalised negative Laplacian whose centres lie in ``slices``."""
    scale = (volume.sigma_mm / volume.spacing_mm) ** 2
    voxels = _maxima(volume, slices, volume.min_hu / scale)
    gradient, hessian = derivatives(volume.values, voxels)
    eigenvalues = -np.linalg.eigvalsh(hessian)  # descending size first after the sign change: l0 >= l1 >= l2
    flattest, steepest = eigenvalues[:, 2], eigenvalues[:, 0]
    is_round = flattest > 0.0
    voxels, gradient, hessian = voxels[is_round], gradient[is_round], hessian[is_round]
    flattest, steepest = flattest[is_round], steepest[is_round]
    shift = np.clip(-np.linalg.solve(hessian, gradient[..., None])[..., 0], -1.0, 1.0)
    return Blobs(
        (voxels + shift) * volume.spacing_mm,
        np.full(len(voxels), volume.sigma_mm * DIAMETER_PER_SIGMA),
        scale * flattest * (flattest / steepest) ** SHARPNESS,
    )


def _maxima(volume: SmoothedVolume, slices: slice, least: float) -> Indices:
    """Places ``(n, 3)`` within ``slices`` where no neighbour's response is above theirs, nor theirs below ``least``.

    The outermost voxels have no response.
    """
    values, (_, height, width) = volume.values, volume.values.shape
    response = np.full((slices.stop - slices.start + 2, height, width), -np.inf, np.float32)
    first, stop = max(slices.start - 2, 0), min(slices.stop + 2, len(values))
    if min(stop - first, height, width) >= 3:
        start = first + 2 - slices.start
        negative_laplacian(values[first:stop], out=response[start : start + stop - first - 2, 1:-1, 1:-1])
    at = np.flatnonzero(response[1:-1] > least)
    at = at[volume.is_inside[slices].ravel()[at]] + height * width
    flat = response.ravel()
    for of_slice, of_row, of_column in _NEIGHBOURS:
        at = at[flat[at] >= flat[at + (of_slice * height + of_row) * width + of_column]]
    voxels = np.stack(np.unravel_index(at, response.shape), axis=1)
    voxels[:, 0] += slices.start - 1
    return voxels


def negative_laplacian(values: Floats, out: Floats | None = None) -> Floats:
    """Of the interior: shape less 2 per axis, per squared voxel."""
    total = np.empty(tuple(n - 2 for n in values.shape), np.float32) if out is None else out
    inner = (slice(1, -1), slice(1, -1))
    for number, of_slice in enumerate(total):  # slice by slice in cache
        before, here, after = values[number : number + 3]
        np.multiply(here[inner], np.float32(6.0), out=of_slice)
        for near in (before[inner], after[inner], here[:-2, 1:-1], here[2:, 1:-1], here[1:-1, :-2], here[1:-1, 2:]):
            np.subtract(of_slice, near, out=of_slice)
    return total


def derivatives(values: Floats, voxels: Indices) -> tuple[Doubles, Doubles]:
    """Gradient ``(n, 3)`` and Hessian ``(n, 3, 3)`` by central differences, per voxel."""

    def at(*offset: int) -> Doubles:
        return values[tuple((voxels + np.array(offset)).T)].astype(float)

    unit = np.eye(3, dtype=int)
    centre = at(0, 0, 0)
    gradient = np.empty((len(voxels), 3))
    hessian = np.empty((len(voxels), 3, 3))
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


def strongest_apart(blobs: list[Blobs], limit: int) -> Blobs:
    """Return the strongest blobs, each outside the radius of stronger ones (small ones if near or faint)."""
    position_mm = np.concatenate([b.position_mm for b in blobs])
    diameter_mm = np.concatenate([b.diameter_mm for b in blobs])
    strength = np.concatenate([b.strength for b in blobs])
    chosen: list[int] = []
    chosen_mm, chosen_radius_mm, chosen_strength = np.empty((limit, 3)), np.empty(limit), np.empty(limit)
    for i in np.lexsort((*position_mm.T, -strength)):
        count = len(chosen)
        if count == limit:
            break
        radius_mm = chosen_radius_mm[:count]
        distance_mm = np.sqrt(((chosen_mm[:count] - position_mm[i]) ** 2).sum(axis=1))
        is_close = distance_mm <= np.maximum(2.5, np.minimum(radius_mm, diameter_mm[i]))
        is_faint_within = (distance_mm <= radius_mm) & (strength[i] < FAINT_SHARE * chosen_strength[:count])
        if not (is_close | is_faint_within).any():
            chosen_mm[count], chosen_strength[count] = position_mm[i], strength[i]
            chosen_radius_mm[count] = 0.5 * diameter_mm[i]
            chosen.append(i)
    return Blobs(position_mm[chosen], diameter_mm[chosen], strength[chosen])
