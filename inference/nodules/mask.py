"""Run-length encoding of nodule masks within their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.types import NoduleAxes, NoduleMask

Mask = NDArray[np.bool_]


def encode_mask(mask: Mask, box: tuple[slice, slice, slice], axes: NoduleAxes | None = None) -> NoduleMask:
    """Encode a mask that fills a box of the volume; the box is cropped to the mask and to the slice of ``axes``.

    Raises
    ------
    ValueError
        The mask is empty, or ``axes`` lie outside the box.
    """
    inside = np.argwhere(mask)
    if not len(inside):
        raise ValueError("the mask is empty")
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    if axes is not None:
        number = axes.slice_index - box[0].start
        if not 0 <= number < mask.shape[0]:
            raise ValueError("the axes lie outside the box")
        low[0], high[0] = min(low[0], number), max(high[0], number + 1)
    cropped = mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    first = [int(box[axis].start) + int(low[axis]) for axis in range(3)]
    shape = (int(cropped.shape[0]), int(cropped.shape[1]), int(cropped.shape[2]))
    return NoduleMask((first[0], first[1], first[2]), shape, encode_runs(cropped), axes)


def encode_runs(mask: Mask) -> tuple[int, ...]:
    """Return the lengths of runs in C order, alternately False and True; the first may be 0."""
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], ends, [flat.size]]))
    runs = [int(length) for length in lengths]
    return tuple([0, *runs] if flat[0] else runs)


def decode_runs(runs: Sequence[int], shape: tuple[int, int, int]) -> Mask:
    """Return the mask of ``shape`` that ``encode_runs`` encoded.

    Raises
    ------
    ValueError
        The runs are negative, or do not fill the shape.
    """
    lengths = np.asarray(runs, dtype=np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != int(np.prod(shape)):
        raise ValueError("the runs do not fill the box")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape)
