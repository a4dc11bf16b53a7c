"""Voxel grid of a phantom, and tubes drawn into it with partial-volume edges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FULL = 200
"""Value of a wholly covered voxel in a ``uint8`` cover; leaves room for nothing else on purpose."""


@lru_cache(maxsize=64)
def _axis(start_mm: float, size: int, step_mm: float) -> Array:
    return (start_mm + np.arange(size) * step_mm).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Grid:
    """Axial voxel grid in the patient's frame (LPS, mm): x to the patient's left, y to the back, z to the head."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    """Centre of voxel (0, 0, 0) as (x, y, z)."""

    def axis(self, number: int) -> Array:
        """Return the coordinates along axis 0 (z), 1 (y) or 2 (x), in mm."""
        return _axis(self.origin_mm[2 - number], self.shape[number], self.spacing_mm[number])

    def index(self, position_mm: Iterable[float]) -> tuple[float, float, float]:
        """Return the fractional (slice, row, column) of an (x, y, z) position."""
        x, y, z = position_mm
        slice_, row, column = (
            (value - start) / step
            for value, start, step in zip((z, y, x), self.origin_mm[::-1], self.spacing_mm, strict=True)
        )
        return slice_, row, column

    def box(self, low_mm: Iterable[float], high_mm: Iterable[float]) -> tuple[slice, slice, slice] | None:
        """Return index ranges that hold an axis-aligned (x, y, z) box, or None where it misses the grid."""
        ranges = []
        for low, high, size in zip(self.index(low_mm), self.index(high_mm), self.shape, strict=True):
            start, stop = max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, size)
            if start >= stop:
                return None
            ranges.append(slice(start, stop))
        return ranges[0], ranges[1], ranges[2]

    def coordinates(self, box: tuple[slice, slice, slice], parts: int) -> tuple[Array, Array, Array]:
        """Return open (z, y, x) coordinates of a box, each slice cut into ``parts`` thinner ones."""
        offsets = (np.arange(parts) + 0.5) / parts - 0.5
        z = (self.axis(0)[box[0]][:, None] + offsets * self.spacing_mm[0]).astype(np.float32).ravel()
        return z[:, None, None], self.axis(1)[box[1]][None, :, None], self.axis(2)[box[2]][None, None, :]

    @property
    def parts(self) -> int:
        """Number of sub-slices per slice with which small objects keep their size in thick slices."""
        return max(1, min(5, round(self.spacing_mm[0] / 0.9)))


@dataclass(frozen=True, slots=True)
class Tube:
    """A straight round segment, tapering from ``start_radius_mm`` to ``end_radius_mm``."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_radius_mm: float
    end_radius_mm: float

    def scaled(self, factor: float, plus_mm: float = 0.0) -> Tube:
        """Return the same segment with other radii."""
        return Tube(
            self.start, self.end, self.start_radius_mm * factor + plus_mm, self.end_radius_mm * factor + plus_mm
        )


def tubes_along(points: Iterable[Iterable[float]], radii: Iterable[float]) -> list[Tube]:
    """Return tubes through points with a radius at each."""
    points = [tuple(float(part) for part in point) for point in points]
    sizes = list(radii)
    return [
        Tube(a, b, ra, rb)  # type: ignore[arg-type]  # three floats each by construction
        for a, b, ra, rb in zip(points, points[1:], sizes, sizes[1:], strict=False)
    ]


def average_parts(values: Array, parts: int) -> Array:
    """Average thin sub-slices back into slices."""
    if parts == 1:
        return values
    return values.reshape(-1, parts, *values.shape[1:]).mean(axis=1, dtype=np.float32)


def raise_cover(cover: NDArray[np.uint8], box: tuple[slice, slice, slice], values: Array) -> None:
    """Raise a cover to ``values`` (0..1) where they are higher."""
    part = cover[box]
    np.maximum(part, (values * FULL).astype(np.uint8), out=part)


def cover_tubes(grid: Grid, cover: NDArray[np.uint8], tubes: Iterable[Tube]) -> None:
    """Draw tubes into a ``uint8`` cover of the grid's shape (``FULL`` is inside)."""
    for tube in tubes:
        _cover_tube(grid, cover, tube)


def _cover_tube(grid: Grid, cover: NDArray[np.uint8], tube: Tube) -> None:
    pixel = grid.spacing_mm[2]
    reach = max(tube.start_radius_mm, tube.end_radius_mm) + pixel
    start, end = np.array(tube.start), np.array(tube.end)
    margin = np.array([reach, reach, reach + grid.spacing_mm[0] / 2])
    box = grid.box(np.minimum(start, end) - margin, np.maximum(start, end) + margin)
    if box is None:
        return
    z, y, x = grid.coordinates(box, grid.parts)
    dx, dy, dz = (float(part) for part in end - start)
    x, y, z = x - np.float32(start[0]), y - np.float32(start[1]), z - np.float32(start[2])
    length2 = max(dx * dx + dy * dy + dz * dz, 1e-6)
    along = np.clip((x * dx + y * dy + z * dz) / length2, 0, 1)
    distance = np.sqrt(np.square(x - along * dx) + np.square(y - along * dy) + np.square(z - along * dz))
    radius = tube.start_radius_mm + along * (tube.end_radius_mm - tube.start_radius_mm)
    values = np.clip(0.5 + (radius - distance) / pixel, 0, 1)
    thin = 2 * min(tube.start_radius_mm, tube.end_radius_mm) / pixel
    if thin < 1:
        values *= thin
    raise_cover(cover, box, average_parts(values.astype(np.float32), grid.parts))


def blend(volume: Array, cover: NDArray[np.uint8], hu: float, *, spare_hu: float | None = None) -> None:
    """Mix ``hu`` into a volume by a cover, slice by slice; voxels above ``spare_hu`` stay unchanged."""
    for plane, part in zip(volume, cover, strict=True):
        rows = np.flatnonzero(part.any(axis=1))
        if rows.size:
            where = slice(rows[0], rows[-1] + 1)
            share = part[where] * np.float32(1 / FULL)
            if spare_hu is not None:
                share[plane[where] > spare_hu] = 0
            plane[where] += share * (np.float32(hu) - plane[where])
