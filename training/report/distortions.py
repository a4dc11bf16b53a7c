"""Distortions of a nodule's surroundings by scanner, protocol or reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.types import CtVolume

Index = tuple[float, float, float]
LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True, slots=True)
class NodulePoint:
    """A volume and the marked point of its nodule, ``(slice, row, column)``."""

    volume: CtVolume
    index: Index


Distort = Callable[[NodulePoint, np.random.Generator], NodulePoint]


def _with_hu(point: NodulePoint, hu: NDArray[np.floating]) -> NodulePoint:
    stored = np.clip(np.rint(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16)
    return replace(point, volume=replace(point.volume, volume_hu=stored))


def unchanged(point: NodulePoint, _: np.random.Generator) -> NodulePoint:
    """Return the input unchanged."""
    return point


def off_centre(point: NodulePoint, rng: np.random.Generator, *, distance_mm: float) -> NodulePoint:
    """Move the marked point within its slice, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    _, row_mm, column_mm = point.volume.spacing_mm
    row = point.index[1] + distance_mm * np.sin(angle) / row_mm
    column = point.index[2] + distance_mm * np.cos(angle) / column_mm
    _, rows, columns = point.volume.volume_hu.shape
    index = (point.index[0], float(np.clip(row, 0, rows - 1)), float(np.clip(column, 0, columns - 1)))
    return replace(point, index=index)


def wrong_pixels(point: NodulePoint, _: np.random.Generator, *, factor: float) -> NodulePoint:
    """State another pixel size than the true one."""
    slice_mm, row_mm, column_mm = point.volume.spacing_mm
    affine = point.volume.affine.copy()
    affine[:, 1:3] *= factor
    volume = replace(point.volume, spacing_mm=(slice_mm, row_mm * factor, column_mm * factor), affine=affine)
    return replace(point, volume=volume)


def offset(point: NodulePoint, _: np.random.Generator, *, hu: float) -> NodulePoint:
    """Shift all Hounsfield units, as a wrong rescale intercept does."""
    return _with_hu(point, point.volume.volume_hu + hu)


def noisier(point: NodulePoint, rng: np.random.Generator, *, sd_hu: float) -> NodulePoint:
    """Add white noise."""
    return _with_hu(point, point.volume.volume_hu + rng.normal(0, sd_hu, point.volume.volume_hu.shape))


def smoother(point: NodulePoint, _: np.random.Generator, *, sigma_mm: float) -> NodulePoint:
    """Blur within the slices, as a softer kernel does."""
    row_mm, column_mm = point.volume.spacing_mm[1:]
    hu = point.volume.volume_hu.astype(np.float64)
    return _with_hu(point, ndi.gaussian_filter(hu, (0, sigma_mm / row_mm, sigma_mm / column_mm), mode="nearest"))


def thicker(point: NodulePoint, _: np.random.Generator, *, slices: int) -> NodulePoint:
    """Average neighbouring slices into one, the nodule's slice amid its group; fewer are averaged at either end."""
    hu = point.volume.volume_hu.astype(np.float64)
    first = (round(point.index[0]) - slices // 2) % slices
    starts = [0, *range(first or slices, len(hu), slices)]
    averaged = np.stack([hu[a:b].mean(axis=0) for a, b in zip(starts, [*starts[1:], len(hu)], strict=True)])
    group = int(np.searchsorted(starts, round(point.index[0]), side="right")) - 1
    slice_mm, row_mm, column_mm = point.volume.spacing_mm
    affine = point.volume.affine.copy()
    affine[:, 0] *= slices
    volume = CtVolume(point.volume.volume_hu, (slice_mm * slices, row_mm, column_mm), affine)
    return _with_hu(NodulePoint(volume, (float(group), *point.index[1:])), averaged)


def upside_down(point: NodulePoint, _: np.random.Generator) -> NodulePoint:
    """Stack the slices the other way round."""
    flipped = np.ascontiguousarray(point.volume.volume_hu[::-1])
    index = (len(flipped) - 1 - point.index[0], *point.index[1:])
    return NodulePoint(replace(point.volume, volume_hu=flipped), index)


DISTORTIONS: dict[str, Distort] = {
    "as it is": unchanged,
    **{f"click {mm} mm off": partial(off_centre, distance_mm=mm) for mm in (2, 4, 6)},
    **{f"pixel size stated x{factor}": partial(wrong_pixels, factor=factor) for factor in (0.7, 1.4)},
    **{f"all HU {hu:+d}": partial(offset, hu=hu) for hu in (-300, -100, -50, 50, 100, 300)},
    **{f"noise of {sd} HU": partial(noisier, sd_hu=sd) for sd in (25, 50, 100)},
    **{f"smoothed, sigma {mm} mm": partial(smoother, sigma_mm=mm) for mm in (0.5, 1.0, 2.0)},
    **{f"{n} slices averaged": partial(thicker, slices=n) for n in (2, 4)},
    "slices in reverse": upside_down,
}
"""Distortions by their name in the report, in its order."""
