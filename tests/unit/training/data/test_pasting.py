"""A pasted nodule is itself in the middle, and the background everywhere else."""

from __future__ import annotations

import numpy as np

from inference.types import CtVolume
from inference.volumes.patches import PATCH_SHAPE, PATCH_SPACING_MM, Patch
from training.data.nodules import NoduleCrop, NoduleRow, crop_patch
from training.data.pasting import FEATHER_MM, nodule_weight, paste

RADIUS_MM = 5.0


def crop() -> NoduleCrop:
    """A ball of 100 HU in lung of -850 HU, outlined."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (16, 44, 44)), indexing="ij")
    mask = (1.0 * z) ** 2 + (0.7 * y) ** 2 + (0.7 * x) ** 2 < RADIUS_MM**2
    hu = np.where(mask, 100, -850).astype(np.int16)
    row = NoduleRow("n", "p", 10.0, 4.0, 4, True, 1.0, 0.7, "train")
    return NoduleCrop(row, CtVolume(hu, (1.0, 0.7, 0.7), np.eye(4)), mask, (8.0, 22.0, 22.0))


def background(*, vessel_mm: float) -> Patch:
    """Lung of -900 HU with a bar of 50 HU that begins ``vessel_mm`` from the middle."""
    x = (np.arange(PATCH_SHAPE[2]) - PATCH_SHAPE[2] // 2) * PATCH_SPACING_MM[2]
    hu = np.broadcast_to(np.where(x > vessel_mm, 50.0, -900.0), PATCH_SHAPE)
    return Patch(hu.astype(np.float16), (-20.0, -20.0, -20.0), (20.0, 20.0, 20.0))


def distance_mm() -> np.ndarray:
    axes = [(np.arange(n) - n // 2) * mm for n, mm in zip(PATCH_SHAPE, PATCH_SPACING_MM, strict=True)]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))


def test_the_nodule_lies_in_the_middle_and_the_background_stays() -> None:
    under = background(vessel_mm=50.0)
    pasted = paste(under, crop_patch(crop()), nodule_weight(crop()))
    apart = distance_mm()
    assert np.abs(pasted.hu[apart < RADIUS_MM - 1.5].astype(float) - 100).max() < 15
    far = apart > RADIUS_MM + FEATHER_MM + 1.0
    assert (pasted.hu[far] == under.hu[far]).all()
    assert pasted.low_mm == under.low_mm


def test_a_vessel_that_touches_the_nodule_is_not_cut_off() -> None:
    under = background(vessel_mm=RADIUS_MM + 0.5)
    pasted = paste(under, crop_patch(crop()), nodule_weight(crop()))
    dense = under.hu > 0
    assert (pasted.hu[dense] > -100).all()
