"""Blur and noise of a reconstructed slice: modulation transfer function and noise texture of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from dicom_node.phantom.geometry import Array, Grid


@dataclass(frozen=True, slots=True)
class Kernel:
    """A reconstruction kernel: width of its blur (mm), edge enhancement, and peak of its noise power (1/mm)."""

    blur_mm: float
    enhancement: float
    noise_peak_per_mm: float
    noise_factor: float


KERNELS = {"standard": Kernel(0.52, 0.0, 0.24, 1.0), "lung": Kernel(0.34, 0.5, 0.48, 1.9)}


@dataclass(frozen=True, slots=True)
class SliceFilter:
    """Frequency responses of a kernel on a grid's slices, ready to multiply with a real FFT."""

    transfer: Array
    grain: Array

    @classmethod
    def of(cls, grid: Grid, kernel: Kernel) -> SliceFilter:
        """Return the responses; the texture has unit variance for white noise of unit variance."""
        fy = scipy.fft.fftfreq(grid.shape[1], grid.spacing_mm[1])[:, None]
        fx = scipy.fft.rfftfreq(grid.shape[2], grid.spacing_mm[2])[None, :]
        f = np.hypot(fy, fx)
        transfer = np.exp(-2 * (np.pi * kernel.blur_mm * f) ** 2)
        transfer *= 1 + kernel.enhancement * np.exp(-(((f - 0.35) / 0.2) ** 2)) * (1 - np.exp(-((f / 0.15) ** 2)))
        # ramp times a smooth cut-off: the noise power of filtered back-projection
        grain = np.sqrt(f * np.exp(-((f / kernel.noise_peak_per_mm) ** 2)))
        grain /= np.sqrt(np.mean(np.square(_full_spectrum(grain, grid.shape[2]))))
        return cls(transfer.astype(np.float32), grain.astype(np.float32))

    def apply(self, plane: Array, noise: Array | None) -> Array:
        """Blur a slice and add textured noise (from white noise scaled to its local standard deviation)."""
        spectrum = scipy.fft.rfft2(plane) * self.transfer
        if noise is not None:
            spectrum += scipy.fft.rfft2(noise) * self.grain
        return np.asarray(scipy.fft.irfft2(spectrum, s=plane.shape), dtype=np.float32)


def _full_spectrum(half: Array, columns: int) -> Array:
    """Expand the half spectrum of a real FFT to the full one (for its mean)."""
    mirrored = half[:, 1 : (columns + 1) // 2]
    return np.concatenate([half, mirrored], axis=1)


def noise_profile(grid: Grid, z: float) -> Array:
    """Return relative noise over a slice: highest inside the body, more where the shoulders stand in the beam."""
    y, x = grid.axis(1)[:, None], grid.axis(2)[None, :]
    inside = np.exp(-(np.square(x / 190) + np.square(y / 140)))
    shoulder = 1 + 0.9 * float(np.clip((z - 85) / 45, 0, 1))
    abdomen = 1 + 0.25 * float(np.clip((-70 - z) / 40, 0, 1))
    return ((0.35 + 0.65 * inside) * shoulder * abdomen).astype(np.float32)


def smooth_field(rng: np.random.Generator, grid: Grid, scale_mm: float, across: int = 96) -> Array:
    """Return a coarse random field of unit variance: (slices, across, across), correlated over ``scale_mm``."""
    white = rng.standard_normal((grid.shape[0], across, across), dtype=np.float32)
    extent = (grid.shape[1] * grid.spacing_mm[1] / across, grid.shape[2] * grid.spacing_mm[2] / across)
    field = gaussian_filter(white, [scale_mm / grid.spacing_mm[0], scale_mm / extent[0], scale_mm / extent[1]])
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Enlarger:
    """Linear interpolation of coarse planes to a slice's size, as two matrix products."""

    rows: Array
    columns: Array

    @classmethod
    def of(cls, across: int, shape: tuple[int, ...]) -> Enlarger:
        """Return the products for square planes of ``across`` pixels."""
        return cls(_weights(across, shape[-2]), _weights(across, shape[-1]))

    def __call__(self, coarse: Array) -> Array:
        """Enlarge one plane."""
        return np.asarray(self.rows @ coarse @ self.columns.T, dtype=np.float32)


def _weights(size: int, target: int) -> Array:
    source = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
    low = np.minimum(source.astype(int), max(size - 2, 0))
    weights = np.zeros((target, size), np.float32)
    weights[np.arange(target), low] = 1 - (source - low)
    weights[np.arange(target), np.minimum(low + 1, size - 1)] += source - low
    return weights
