"""Linear maps along the axes of a volume: resampling and smoothing.

Each value that such a map gives comes from a few neighbours, so a map is applied in blocks of ``BLOCK`` values, each
one small product of matrices: faster than filtering value by value, and far faster than one product of whole matrices.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BLOCK = 32


def linear_map(at: Doubles, size: int, step: float) -> Floats:
    """Matrix that reads ``size`` samples at fractional positions by a triangle as wide as the coarser of both grids."""
    width = max(1.0, step)
    distance = np.abs(np.clip(at, 0, size - 1)[:, None] - np.arange(size)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / width)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def gaussian_map(size: int, sigma: float, truncate: float) -> Floats:
    """Matrix that smooths ``size`` samples; beyond the ends it sees the last one again, beyond ``truncate`` nothing."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    rows = np.arange(size)[:, None]
    matrix = np.zeros((size, size))
    np.add.at(matrix, (rows, np.clip(rows + offsets, 0, size - 1)), weights / weights.sum())
    return matrix.astype(np.float32)


def apply_maps(values: Floats, maps: list[Floats]) -> Floats:
    """Apply one matrix per axis to small ``(s, r, c)`` values."""
    depth, height, width = (len(weights) for weights in maps)
    in_plane = maps[1] @ (values @ maps[2].T)
    return (maps[0] @ in_plane.reshape(len(values), -1)).reshape(depth, height, width)


class AxisMap:
    """A linear map along one axis; ``weights`` is its matrix, ``(values given, values read)``."""

    def __init__(self, weights: Floats) -> None:
        used = weights != 0.0
        self.weights = weights
        self._first = used.argmax(axis=1)
        self._stop = weights.shape[1] - used[:, ::-1].argmax(axis=1)

    def __len__(self) -> int:
        return len(self.weights)

    def reach(self, given: slice) -> slice:
        """Return the input range for the output range ``given``."""
        return slice(int(self._first[given].min()), int(self._stop[given].max()))

    def blocks(self) -> Iterator[tuple[slice, slice, Floats]]:
        """Values given, values read for them, and the weights between."""
        for start in range(0, len(self), BLOCK):
            given = slice(start, min(start + BLOCK, len(self)))
            read = self.reach(given)
            yield given, read, self.weights[given, read]


AxisMaps = tuple[AxisMap, AxisMap, AxisMap]
"""For slices, rows and columns."""


def mapped_slices(read: Floats, maps: AxisMaps, given: slice) -> Floats:
    """Slices ``given`` of a mapped volume, from ``read``: the slices of ``maps[0].reach(given)``."""
    weights = maps[0].weights[given, maps[0].reach(given)]
    if len(weights) > len(read):  # the cheaper order of the two
        return _along_slices(_in_plane(read, maps), weights)
    return _in_plane(_along_slices(read, weights), maps)


def _along_slices(values: Floats, weights: Floats) -> Floats:
    return (weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])


def _in_plane(values: Floats, maps: AxisMaps) -> Floats:
    depth, _, width = values.shape
    by_row = np.empty((depth, len(maps[1]), width), np.float32)
    for given, read, weights in maps[1].blocks():
        np.matmul(weights, values[:, read], out=by_row[:, given])
    by_column = np.empty((depth, len(maps[1]), len(maps[2])), np.float32)
    for given, read, weights in maps[2].blocks():
        np.matmul(by_row[:, :, read], weights.T, out=by_column[:, :, given])
    return by_column
