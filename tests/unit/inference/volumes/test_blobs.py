"""Blobs: found once each wherever the slices are parted, and only the strongest of those that lie together."""

from __future__ import annotations

import numpy as np
import pytest

from inference.volumes.blobs import Blobs, SmoothedVolume, find_blobs, strongest_apart

VOXELS = [(6, 8, 9), (15, 20, 22), (16, 6, 30), (24, 30, 12)]
SIGMA = 2.0


@pytest.fixture(scope="module")
def smoothed() -> SmoothedVolume:
    """Four Gaussian blobs, two of them where slices are parted below, on a volume of 32 slices."""
    grid = np.meshgrid(*(np.arange(n) for n in (32, 40, 44)), indexing="ij", sparse=True)
    values = np.zeros((32, 40, 44))
    for index in VOXELS:
        squares = np.asarray(sum((g - p) ** 2 for g, p in zip(grid, index, strict=True)))
        values += 400.0 * np.exp(-squares / (2 * SIGMA**2))
    return SmoothedVolume(values.astype(np.float32), np.ones(values.shape, bool), 1.0, SIGMA, 60.0)


@pytest.mark.parametrize("at_once", [1, 8, 16, 32])
def test_each_blob_is_found_once_however_the_slices_are_parted(smoothed: SmoothedVolume, at_once: int) -> None:
    parts = [find_blobs(smoothed, slice(at, at + at_once)) for at in range(0, 32, at_once)]
    positions = np.concatenate([part.position_mm for part in parts])
    assert positions == pytest.approx(np.array(VOXELS, float), abs=0.05)


def test_what_lies_outside_the_region_is_no_blob(smoothed: SmoothedVolume) -> None:
    smoothed.is_inside[:, :10] = False
    blobs = find_blobs(smoothed, slice(0, 32))
    smoothed.is_inside[:] = True
    assert blobs.position_mm == pytest.approx(np.array([VOXELS[1], VOXELS[3]], float), abs=0.05)


def test_a_volume_too_thin_for_a_laplacian_has_no_blobs() -> None:
    thin = SmoothedVolume(np.ones((2, 9, 9), np.float32), np.ones((2, 9, 9), bool), 1.0, 1.0, 60.0)
    assert len(find_blobs(thin, slice(0, 2)).strength) == 0


@pytest.mark.parametrize(
    ("second_mm", "second_diameter_mm", "second_strength", "is_kept"),
    [
        (2.4, 4.0, 99.0, False),  # within 2.5 mm, the least reach
        (4.1, 4.0, 99.0, True),  # beyond its own diameter
        (4.0, 20.0, 99.0, False),  # within the radius of the stronger one
        (6.0, 20.0, 99.0, True),
        (4.9, 3.0, 26.0, True),
        (4.9, 3.0, 24.0, False),  # faint texture inside the stronger one
    ],
)
def test_a_blob_is_hidden_close_to_a_stronger_one_or_when_faint_inside_it(
    second_mm: float, second_diameter_mm: float, second_strength: float, *, is_kept: bool
) -> None:
    pair = Blobs(
        np.array([[0.0, 0.0, second_mm], [0.0, 0.0, 0.0]]),
        np.array([second_diameter_mm, 10.0]),
        np.array([second_strength, 100.0]),
    )
    strongest = strongest_apart([pair], 10)
    assert strongest.strength.tolist() == ([100.0, second_strength] if is_kept else [100.0])
    assert strongest_apart([pair], 1).strength.tolist() == [100.0]
