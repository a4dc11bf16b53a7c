"""Nodule patches for training and serving, with borders that do not reveal the nodule's size.

A patch is a volume resampled once around a centre, with the box (in mm from the centre) in which real voxels were
seen. Everything outside that box repeats its edge, so that a research crop, which ends near the nodule, and a whole
series are cut and padded the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inference.types import CtVolume

PATCH_SHAPE = (41, 81, 81)
"""Voxels (z, y, x) of a patch: odd, so that the centre is a voxel."""
PATCH_SPACING_MM = (1.0, 0.5, 0.5)
"""Millimetres between them: 40 mm each way."""
AIR_HU = -1000.0


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
    z, y, x = _readings(volume, PatchCentre(index, z_extent_mm))
    hu = _resampled(volume, (z.voxels, y.voxels, x.voxels), (z.weights, y.weights, x.weights))  # (41, 81, 81)
    return Patch(hu.astype(np.float16), (z.low_mm, y.low_mm, x.low_mm), (z.high_mm, y.high_mm, x.high_mm))


def sample_patch(
    volume: CtVolume, centre: PatchCentre, *, shape: tuple[int, int, int], field_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return what ``sample`` returns for an unrotated patch, read directly from the volume: ``shape``, HU.

    Equal up to the patch's rounding to float16, and faster: only visible voxels are read.
    """
    box, weights = [], []
    for axis, reading in enumerate(_readings(volume, centre)):
        offsets_mm = (np.arange(shape[axis]) - (shape[axis] - 1) / 2) * (field_mm[axis] / shape[axis])
        seen_mm = np.clip(offsets_mm, reading.low_mm, reading.high_mm)
        size = PATCH_SHAPE[axis]
        through = _linear_weights(seen_mm / PATCH_SPACING_MM[axis] + size // 2, size) @ reading.weights
        used = np.flatnonzero(through.any(axis=0))
        first, stop = int(used[0]), int(used[-1]) + 1
        box.append(slice(reading.voxels.start + first, reading.voxels.start + stop))
        weights.append(through[:, first:stop])
    return _resampled(volume, (box[0], box[1], box[2]), (weights[0], weights[1], weights[2]))


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


def _resampled(
    volume: CtVolume, box: tuple[slice, slice, slice], weights: tuple[NDArray[np.float32], ...]
) -> NDArray[np.float32]:
    values = volume.volume_hu[box].astype(np.float32)
    return np.tensordot(weights[0], weights[1] @ (values @ weights[2].T), axes=1)


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


@dataclass(slots=True)
class PatchBatch:
    """Patches as tensors on one device: ``hu (n, z, y, x)``, ``low (n, 3)`` and ``high (n, 3)`` in mm."""

    hu: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, patches: list[Patch], device: torch.device | str = "cpu") -> PatchBatch:
        """Stack patches on ``device``."""
        return cls(
            torch.from_numpy(np.stack([p.hu for p in patches])).to(device),
            torch.tensor([p.low_mm for p in patches], dtype=torch.float32, device=device),
            torch.tensor([p.high_mm for p in patches], dtype=torch.float32, device=device),
        )

    def __len__(self) -> int:
        return len(self.hu)

    def __getitem__(self, index: Tensor | slice) -> PatchBatch:
        return PatchBatch(self.hu[index], self.low[index], self.high[index])


def sample(
    batch: PatchBatch,
    *,
    shape: tuple[int, int, int],
    field_mm: tuple[float, float, float],
    matrix: Tensor | None = None,
    shift_mm: Tensor | None = None,
) -> Tensor:
    """Sample each patch on a grid of ``shape`` spanning ``field_mm``, rotated and shifted.

    Coordinates that leave the box of real voxels are clamped to it (its edge repeats).

    Parameters
    ----------
    batch
        ``n`` patches.
    shape, field_mm
        Grid points and extent (pixel edge to pixel edge), (z, y, x); a plane has ``shape[0] == 1``.
    matrix
        ``(n, 3, 3)`` or ``(1, 3, 3)`` applied to (z, y, x) offsets in mm; identity by default.
    shift_mm
        ``(n, 3)`` added to the offsets; zero by default.

    Returns
    -------
    Tensor
        ``(n, *shape)`` float32, HU.
    """
    device, n = batch.hu.device, len(batch)
    axes = [
        (torch.arange(k, device=device, dtype=torch.float32) - (k - 1) / 2) * (mm / k)
        for k, mm in zip(shape, field_mm, strict=True)
    ]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 3)  # (1, points, 3)
    if matrix is not None:
        offsets = offsets @ matrix.transpose(1, 2)
    if shift_mm is not None:
        offsets = offsets + shift_mm[:, None, :]
    offsets = torch.maximum(torch.minimum(offsets, batch.high[:, None, :]), batch.low[:, None, :])
    half = torch.tensor([(k // 2) * mm for k, mm in zip(PATCH_SHAPE, PATCH_SPACING_MM, strict=True)], device=device)
    grid = (offsets / half).flip(-1).reshape(n, *shape, 3)  # grid_sample wants (x, y, z) in -1..1
    sampled = functional.grid_sample(
        batch.hu[:, None].float(), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[:, 0]
