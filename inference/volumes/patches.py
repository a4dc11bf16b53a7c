"""Nodule patches for training and serving, with borders that do not reveal the nodule's size.

A patch is a volume resampled once around a centre, with the box (in mm from the centre) in which real voxels were
seen. Everything outside that box repeats its edge, so that a research crop, which ends near the nodule, and a whole
series are cut and padded the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.types import CtVolume

PATCH_SHAPE = (41, 81, 81)
"""Voxels (z, y, x) of a patch: odd, so that the centre is a voxel."""
PATCH_SPACING_MM = (1.0, 0.5, 0.5)
"""Millimetres between them: 40 mm each way."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A resampled patch.

    Parameters
    ----------
    hu
        ``PATCH_SHAPE`` float16, Hounsfield units.
    low_mm, high_mm
        The box of real voxels, (z, y, x) millimetres from the centre; ``low_mm <= 0 <= high_mm``.
    """

    hu: NDArray[np.float16]
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PatchCentre:
    """Centre and visible z extent of a patch.

    Parameters
    ----------
    index
        Fractional centre (slice, row, column); the slice coordinate is rounded so that the central plane is a true
        slice.
    z_extent_mm
        Lowest and highest offset along z that may be seen (the nodule's own extent); the volume's own by default.
    """

    index: tuple[float, float, float]
    z_extent_mm: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Sampling of a patch along one axis: voxels, weights, and real extent in mm."""

    voxels: slice
    weights: NDArray[np.float32]  # (patch, voxels)
    low_mm: float
    high_mm: float


def cut_patch(
    volume: CtVolume,
    index: tuple[float, float, float],
    *,
    z_extent_mm: tuple[float, float] | None = None,
) -> Patch:
    """Return the patch around a point in a series or research crop."""
    readings = _readings(volume, PatchCentre(index, z_extent_mm))
    z, y, x = readings
    hu = _resampled(_read(volume, readings), [reading.weights for reading in readings])  # (41, 81, 81)
    return Patch(hu.astype(np.float16), (z.low_mm, y.low_mm, x.low_mm), (z.high_mm, y.high_mm, x.high_mm))


def sample_patch(
    volume: CtVolume, centre: PatchCentre, *, shape: tuple[int, int, int], field_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Sample the patch around a point on a grid of ``shape`` over ``field_mm``, read directly from the volume: HU.

    As ``sample_view`` of the patch, without its rounding to float16, and faster: only visible voxels are read.

    Parameters
    ----------
    shape, field_mm
        Grid points and extent (pixel edge to pixel edge), (z, y, x); a plane has ``shape[0] == 1``.
    """
    readings = _readings(volume, centre)
    views = _view_weights(shape, field_mm, [(reading.low_mm, reading.high_mm) for reading in readings])
    weights = [view @ reading.weights for view, reading in zip(views, readings, strict=True)]
    return _sampled(_read(volume, readings), weights)


def sample_view(
    patch: Patch, *, shape: tuple[int, int, int], field_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Sample a patch on a grid of ``shape`` over ``field_mm``; see ``sample_patch``."""
    return _sampled(patch.hu, _view_weights(shape, field_mm, list(zip(patch.low_mm, patch.high_mm, strict=True))))


def _view_weights(
    shape: tuple[int, int, int], field_mm: tuple[float, float, float], box_mm: Sequence[tuple[float, float]]
) -> list[NDArray[np.float32]]:
    """Return one matrix ``(shape[axis], PATCH_SHAPE[axis])`` for each axis; points outside the box get its edge."""
    weights = []
    for axis, (low_mm, high_mm) in enumerate(box_mm):
        offsets_mm = (np.arange(shape[axis]) - (shape[axis] - 1) / 2) * (field_mm[axis] / shape[axis])
        visible_mm, size = np.clip(offsets_mm, low_mm, high_mm), PATCH_SHAPE[axis]
        weights.append(_linear_weights(visible_mm / PATCH_SPACING_MM[axis] + size // 2, size))
    return weights


def _readings(volume: CtVolume, centre: PatchCentre) -> list[_Reading]:
    """Return the sampling of a patch along each axis."""
    shape, index = volume.volume_hu.shape, centre.index
    centre_voxel = (min(max(round(index[0]), 0), shape[0] - 1), index[1], index[2])
    readings = []
    for axis, (n, mm) in enumerate(zip(PATCH_SHAPE, PATCH_SPACING_MM, strict=True)):
        spacing, half_mm = volume.spacing_mm[axis], (n // 2) * mm
        low_mm, high_mm = (
            min(-centre_voxel[axis] * spacing, 0.0),
            max((shape[axis] - 1 - centre_voxel[axis]) * spacing, 0.0),
        )
        if axis == 0 and centre.z_extent_mm is not None:
            low_mm, high_mm = (
                max(low_mm, min(centre.z_extent_mm[0], 0.0)),
                min(high_mm, max(centre.z_extent_mm[1], 0.0)),
            )
        at = np.clip((np.arange(n) - n // 2) * mm / spacing + centre_voxel[axis], 0, shape[axis] - 1)
        start, stop = int(at[0]), min(int(at[-1]) + 2, shape[axis])
        weights = _linear_weights(at - start, stop - start)
        readings.append(_Reading(slice(start, stop), weights, max(low_mm, -half_mm), min(high_mm, half_mm)))
    return readings


def _read(volume: CtVolume, readings: list[_Reading]) -> NDArray[np.int16]:
    z, y, x = readings
    return volume.volume_hu[z.voxels, y.voxels, x.voxels]


def _sampled(hu: NDArray[Any], weights: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Apply one matrix to each axis, reading only what has a weight."""
    box, used_weights = [], []
    for matrix in weights:
        used = np.flatnonzero(matrix.any(axis=0))
        part = slice(int(used[0]), int(used[-1]) + 1)
        box.append(part)
        used_weights.append(matrix[:, part])
    return _resampled(hu[box[0], box[1], box[2]], used_weights)


def _resampled(hu: NDArray[Any], weights: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.tensordot(weights[0], weights[1] @ (hu.astype(np.float32) @ weights[2].T), axes=1)


def _linear_weights(at: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Return the matrix ``(len(at), size)`` for linear interpolation of ``size`` samples at fractional positions."""
    distance = np.abs(at[:, None] - np.arange(size)[None, :])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def z_extent_of(diameter_mm: float) -> tuple[float, float]:
    """Return the visible z extent for a nodule of this size, about that of readers' outlines.

    Research crops end there; what is cut from a whole series is cut the same way.
    """
    half = max(1.25, 0.45 * diameter_mm)
    return -half, half
