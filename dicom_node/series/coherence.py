"""Detection of mixed volumes by pixels alone: differences between neighbouring slices.

Along one body the difference of two slices grows with their distance, and ever more slowly: the curve of the mean
difference over the lag is concave, with and without noise. Where two stacks alternate (two breaths, two patients, two
contrast phases), odd lags compare across them and even lags within one, and the curve zigzags. Stacks that differ in
kernel or dose alone alternate in their texture instead. ``benchmarks.mixed_stacks`` measures how often mixes of
several kinds are detected, and how far real series stay from the limits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.gate import GateThresholds

BLOCKS = 64
"""Blocks of pixels on a side, at least, whose means are compared: anatomy stays, noise does not."""
WINDOW = 10
"""Groups of slices whose median counts, so that one odd slice does not."""
WEIGHTS = {2: 1.0, 3: 0.25}
"""Of departures by lag. Ribs come back after some 22 mm, three thick slices, so that lag needs four times as much."""
LAGS = 4
"""Largest distance in slices that is compared."""
FLOOR_HU = 0.5
SOFT_HU = (-200, 300)
"""Tissue in which texture is measured."""

Array = NDArray[np.float64]


def is_mixed(volume_hu: NDArray[np.int16], thresholds: GateThresholds) -> bool:
    """Return True if the slices alternate between several stacks.

    Parameters
    ----------
    volume_hu
        ``(slices, rows, columns)`` HU in anatomical order.
    thresholds
        ``max_alternation`` and ``max_texture_alternation`` apply.
    """
    return (
        anatomy_alternation(volume_hu) > thresholds.max_alternation
        or texture_alternation(volume_hu) > thresholds.max_texture_alternation
    )


def anatomy_alternation(volume_hu: NDArray[np.int16]) -> float:
    """Return how far the difference of slices over their lag departs upwards from a concave curve.

    The logarithm of the mean of the differences at lags k - 1 and k + 1 over that at lag k, for k of 2 and 3, in the
    window of slices where it is largest. At most about 0.03 in coherent series, 0.1 and more where stacks alternate.
    """
    coarse = _block_means(volume_hu)
    lags = [np.abs(coarse[lag:] - coarse[:-lag]).mean(axis=(1, 2)) for lag in range(1, min(LAGS, len(coarse) - 1) + 1)]
    departures = []
    for lag in range(2, len(lags)):
        count = len(coarse) - lag - 1
        before, at, after = (_running(lags[k - 1], lag + 2 - k)[:count] for k in (lag - 1, lag, lag + 1))
        departures.append(_largest(np.log(((before + after) / 2 + FLOOR_HU) / (at + FLOOR_HU))) * WEIGHTS[lag])
    return max(departures, default=0.0)


def texture_alternation(volume_hu: NDArray[np.int16]) -> float:
    """Return the alternation of the log noise of slices: 0.05 and less in one series, 0.7 for two kernels."""
    texture = np.array([_texture(slice_hu) for slice_hu in volume_hu])
    if len(texture) < LAGS:
        return 0.0
    jumps = texture[1:-1] - (texture[2:] + texture[:-2]) / 2
    signs = np.where(np.arange(len(jumps)) % 2, -1.0, 1.0)
    return float(np.max(np.abs(_medians(signs * jumps))))


def _block_means(volume_hu: NDArray[np.int16]) -> Array:
    slices, rows, columns = volume_hu.shape
    block = max(min(rows, columns) // BLOCKS, 1)
    rows, columns = rows // block * block, columns // block * block
    means = np.empty((slices, rows // block, columns // block))
    for mean, slice_hu in zip(means, volume_hu, strict=True):
        clipped = np.clip(slice_hu[:rows, :columns], -1000, 300)
        mean[:] = clipped.reshape(rows // block, block, columns // block, block).mean(axis=(1, 3))
    return means


def _texture(slice_hu: NDArray[np.int16]) -> float:
    """Return the log median difference, HU, of a soft-tissue pixel from the mean of its four neighbours."""
    hu = slice_hu.astype(np.float32)
    middle = hu[1:-1, 1:-1]
    around = (hu[:-2, 1:-1] + hu[2:, 1:-1] + hu[1:-1, :-2] + hu[1:-1, 2:]) / 4
    soft = (middle > SOFT_HU[0]) & (middle < SOFT_HU[1])
    if np.count_nonzero(soft) < 100:
        return 0.0
    return float(np.log(np.median(np.abs(middle - around)[soft]) + FLOOR_HU))


def _running(values: Array, count: int) -> Array:
    return np.convolve(values, np.full(count, 1 / count), "valid")


def _medians(values: Array) -> Array:
    """Return the medians of windows that slide along the slices."""
    return np.asarray(
        np.median(np.lib.stride_tricks.sliding_window_view(values, min(WINDOW, len(values))), axis=1), np.float64
    )


def _largest(values: Array) -> float:
    return float(np.max(_medians(values)))
