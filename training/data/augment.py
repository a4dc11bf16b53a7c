"""Random augmentation of nodule patches on the device: scanner and click variation, at constant size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import PATCH_SHAPE, PATCH_SPACING_MM, Patch


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


def sample_moved(
    batch: PatchBatch,
    *,
    shape: tuple[int, int, int],
    field_mm: tuple[float, float, float],
    matrix: Tensor | None = None,
    shift_mm: Tensor | None = None,
) -> Tensor:
    """Sample each patch on a rotated and shifted grid of ``shape`` spanning ``field_mm``.

    Unmoved, it is ``inference.volumes.patches.sample_view`` up to rounding. Coordinates that leave the box of real
    voxels are clamped to it (its edge repeats).

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


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """Ranges of the augmentation in mm, radians and HU, as standard deviations or limits."""

    shift_mm: float = 1.0
    max_scale: float = 0.05
    max_tilt: float = 0.25
    min_box: float = 0.8
    slice_jitter: float = 0.3
    offset_hu: float = 8.0
    noise_hu: float = 15.0
    blur_probability: float = 0.15


def _uniform(
    generator: torch.Generator, shape: tuple[int, ...], low: float, high: float, device: torch.device
) -> Tensor:
    return (torch.rand(shape, generator=generator) * (high - low) + low).to(device)


def _normal(generator: torch.Generator, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator).to(device)


def _noise(generator: torch.Generator, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return white noise drawn on the device, seeded by ``generator``."""
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def random_matrices(
    n: int, spec: AugmentSpec, view: ViewSpec, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Random rotations about z, flips, small tilts (3D) and scales, ``(n, 3, 3)`` over (z, y, x)."""
    angle = _uniform(generator, (n,), 0.0, 2 * math.pi, device)
    flip = torch.where(_uniform(generator, (n, 3), 0, 1, device) < 0.5, -1.0, 1.0)
    scale = torch.exp(_uniform(generator, (n,), -spec.max_scale, spec.max_scale, device))
    zeros, ones = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([ones, zeros, zeros, zeros, cos, -sin, zeros, sin, cos], 1).reshape(n, 3, 3)
    matrix = rotation * flip[:, None, :] * scale[:, None, None]
    if view.volumetric and spec.max_tilt:
        tilt = _uniform(generator, (n,), -spec.max_tilt, spec.max_tilt, device)
        c, s = tilt.cos(), tilt.sin()
        tip = torch.stack([c, -s, zeros, s, c, zeros, zeros, zeros, ones], 1).reshape(n, 3, 3)
        matrix = matrix @ tip
    return matrix


def _random_shift(batch: PatchBatch, spec: AugmentSpec, view: ViewSpec, generator: torch.Generator) -> Tensor:
    device, n = batch.hu.device, len(batch)
    shift = _normal(generator, (n, 3), device).clamp(-2.5, 2.5) * spec.shift_mm
    if not view.volumetric:
        jitter = _uniform(generator, (n,), -spec.slice_jitter, spec.slice_jitter, device)
        shift[:, 0] = torch.where(jitter < 0, -jitter * batch.low[:, 0], jitter * batch.high[:, 0])
    return shift


def random_view(batch: PatchBatch, view: ViewSpec, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Return one random network input per patch; the generator is on the CPU, so that seeds are portable."""
    device, n = batch.hu.device, len(batch)
    trim_low = _uniform(generator, (n, 3), spec.min_box, 1.0, device)
    trim_high = _uniform(generator, (n, 3), spec.min_box, 1.0, device)
    trimmed = PatchBatch(batch.hu, batch.low * trim_low, batch.high * trim_high)
    hu = sample_moved(
        trimmed,
        shape=view.shape,
        field_mm=view.field_mm,
        matrix=random_matrices(n, spec, view, generator, device),
        shift_mm=_random_shift(batch, spec, view, generator),
    )
    return view.network_input(_random_scanner(hu, view, spec, generator))


def _random_scanner(hu: Tensor, view: ViewSpec, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Vary kernel, dose and HU calibration."""
    device, n = hu.device, len(hu)
    offset = _normal(generator, (n, 1, 1, 1), device) * spec.offset_hu
    noise_size = view.shape if view.volumetric else (1, 56, 56)
    noise = _noise(generator, (n, *noise_size), device)
    if not view.volumetric:
        noise = functional.interpolate(noise, size=view.shape[1:], mode="bilinear", align_corners=False)
    noise = noise * _uniform(generator, (n, 1, 1, 1), 0.0, spec.noise_hu, device)
    kernel = 3 if view.volumetric else 9
    pool = functional.avg_pool3d if view.volumetric else functional.avg_pool2d
    blurred = pool(
        hu[:, None] if view.volumetric else hu, kernel, stride=1, padding=kernel // 2, count_include_pad=False
    )
    blurred = blurred[:, 0] if view.volumetric else blurred
    chosen = _uniform(generator, (n, 1, 1, 1), 0, 1, device) < spec.blur_probability
    return torch.where(chosen, blurred, hu) + offset + noise
