"""Maps along axes, applied in blocks, say what whole matrices and SciPy's filters say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.volumes.axis_maps import AxisMap, apply_maps, gaussian_map, linear_map, mapped_slices

Volume = NDArray[np.float32]
SHAPE = (41, 70, 75)


def mapped(values: Volume, matrices: Sequence[NDArray[np.float32]], *, at_once: int) -> Volume:
    slices, rows, columns = (AxisMap(matrix) for matrix in matrices)
    maps = slices, rows, columns
    parts = [slice(at, min(at + at_once, len(maps[0]))) for at in range(0, len(maps[0]), at_once)]
    return np.concatenate([mapped_slices(values[maps[0].reach(part)], maps, part) for part in parts])


@pytest.fixture(scope="module")
def values() -> Volume:
    return np.random.default_rng(0).normal(0.0, 300.0, SHAPE).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.9])
def test_smoothing_is_that_of_a_gaussian_filter_at_the_ends_too(values: Volume, sigma: float) -> None:
    smoothed = mapped(values, [gaussian_map(n, sigma, 3.0) for n in SHAPE], at_once=16)
    filtered = ndi.gaussian_filter(values, sigma, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(smoothed, filtered, rtol=0, atol=1e-3)


@pytest.mark.parametrize("step", [0.4, 1.0, 5.7], ids=["finer", "as it was", "coarser"])
def test_blocks_of_a_resampling_make_up_the_whole_one(values: Volume, step: float) -> None:
    matrices = [linear_map(np.arange(round(n / step), dtype=float) * step, n, step) for n in SHAPE]
    np.testing.assert_allclose(mapped(values, matrices, at_once=10), apply_maps(values, matrices), rtol=0, atol=1e-3)


def test_a_map_states_the_range_it_reads() -> None:
    halved = AxisMap(gaussian_map(20, 0.8, 2.5)[::2])
    assert halved.reach(slice(0, 1)) == slice(0, 3)
    assert halved.reach(slice(3, 5)) == slice(4, 11)
    assert halved.reach(slice(9, 10)) == slice(16, 20)
