"""Augmentation starts from the view that serving has."""

from __future__ import annotations

import numpy as np
import pytest

from inference.types import CtVolume
from inference.volumes.patches import cut_patch, sample_view
from training.data.augment import PatchBatch, sample_moved


@pytest.mark.parametrize(
    ("shape", "field_mm"), [((24, 24, 24), (28.0, 28.0, 28.0)), ((1, 224, 224), (1.0, 32.0, 32.0))]
)
def test_a_patch_that_is_not_moved_is_sampled_as_in_serving(
    shape: tuple[int, int, int], field_mm: tuple[float, float, float]
) -> None:
    hu = np.random.default_rng(2).integers(-1000, 400, (20, 60, 70)).astype(np.int16)
    volume = CtVolume(hu, (2.5, 0.7, 0.7), np.eye(4))
    patches = [cut_patch(volume, (0.2, 2.3, 68.9)), cut_patch(volume, (12.0, 31.0, 30.0), z_extent_mm=(-3.1, 4.2))]
    moved = sample_moved(PatchBatch.of(patches), shape=shape, field_mm=field_mm).numpy()
    views = np.stack([sample_view(patch, shape=shape, field_mm=field_mm) for patch in patches])
    assert np.abs(moved - views).max() < 0.05  # of 1400 HU: float32 coordinates
