"""A pasted nodule is itself in the middle, and the background everywhere else."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from inference.lungs.search_region import LungExtent, LungSegmentation
from inference.types import CtVolume
from inference.volumes.patches import PATCH_SHAPE, PATCH_SPACING_MM, Patch, cut_patch
from training.data.nodules import NoduleCrop, NoduleRow, crop_patch
from training.data.pasting import (
    FEATHER_MM,
    Attachment,
    LungPlaces,
    at_slice_distance,
    insert_nodule,
    nodule_weight,
    paste,
    with_contrast,
)

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


def column(*, slices: int, slice_mm: float) -> NoduleCrop:
    """A crop whose outline reaches its first and last slice, as those of the research data do."""
    hu = np.full((slices, 44, 44), 60, np.int16)
    y, x = np.meshgrid(*(np.arange(44) - 22,) * 2, indexing="ij")
    mask = np.broadcast_to((0.7 * y) ** 2 + (0.7 * x) ** 2 < RADIUS_MM**2, hu.shape).copy()
    row = NoduleRow("n", "p", 10.0, 4.0, 4, True, slice_mm, 0.7, "train")
    volume = CtVolume(hu, (slice_mm, 0.7, 0.7), np.eye(4))
    return NoduleCrop(row, volume, mask, ((slices - 1) / 2, 22.0, 22.0))


@pytest.mark.parametrize(("slices", "slice_mm"), [(1, 2.5), (3, 2.5), (5, 1.25), (9, 0.6)])
def test_a_nodule_ends_above_and_below_where_its_crop_ends(slices: int, slice_mm: float) -> None:
    weight = nodule_weight(column(slices=slices, slice_mm=slice_mm))
    middle = weight[:, PATCH_SHAPE[1] // 2, PATCH_SHAPE[2] // 2]
    offset_mm = np.abs((np.arange(PATCH_SHAPE[0]) - PATCH_SHAPE[0] // 2) * PATCH_SPACING_MM[0])
    end_mm = slices * slice_mm / 2
    assert (middle[offset_mm <= end_mm - slice_mm / 2 - 0.5] == 1.0).all()
    assert (middle[offset_mm > end_mm + slice_mm / 2 + FEATHER_MM + 0.5] == 0.0).all()


@pytest.mark.parametrize(
    ("nodule_hu", "wall_remains"), [(-850.0, True), (-600.0, True), (-300.0, False), (40.0, False)]
)
def test_lung_within_an_outline_cuts_no_hole_into_a_wall(nodule_hu: float, wall_remains: bool) -> None:
    wall = Patch(np.full(PATCH_SHAPE, 50.0, np.float16), (-20.0,) * 3, (20.0,) * 3)
    nodule = Patch(np.full(PATCH_SHAPE, nodule_hu, np.float16), (-20.0,) * 3, (20.0,) * 3)
    pasted = paste(wall, nodule, nodule_weight(crop()))
    middle = float(pasted.hu[tuple(n // 2 for n in PATCH_SHAPE)])
    assert middle == pytest.approx(50.0 if wall_remains else nodule_hu, abs=1.0)


@pytest.mark.parametrize(("crop_mm", "series_mm", "is_wider"), [(2.5, 2.5, False), (3.0, 2.5, False), (0.6, 2.5, True)])
def test_thin_slices_are_averaged_to_those_of_the_series(crop_mm: float, series_mm: float, is_wider: bool) -> None:
    weight = nodule_weight(crop())
    _, share = at_slice_distance(crop_patch(crop()), weight, crop_mm, series_mm)
    assert float(share.sum()) == pytest.approx(float(weight.sum()), rel=0.01)
    spread = (share.max(axis=(1, 2)) > 0.01).sum() - (weight.max(axis=(1, 2)) > 0.01).sum()
    assert (spread > 0) == is_wider


def lungs_of(mask: np.ndarray, volume: CtVolume) -> LungSegmentation:
    return LungSegmentation(
        mask, mask, mask, (1, 1, 1), volume.volume_hu.shape, volume.spacing_mm, 1000.0, 1000.0, 2000.0,
        LungExtent.COMPLETE,
    )  # fmt: skip


def chest() -> tuple[CtVolume, LungSegmentation]:
    """A cube of lung of 60 mm in soft tissue, with a vessel along the slices through its middle."""
    hu = np.full((40, 40, 40), 40, np.int16)
    hu[5:35, 5:35, 5:35] = -870
    mask = hu < 0  # closed: a vessel lies within
    hu[5:35, 19:21, 19:21] = 45
    return (volume := CtVolume(hu, (2.0, 2.0, 2.0), np.eye(4))), lungs_of(mask, volume)


@pytest.mark.parametrize("radius_mm", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("attachment", list(Attachment))
def test_places_touch_what_they_are_named_after(attachment: Attachment, radius_mm: float) -> None:
    volume, lungs = chest()
    places, rng = LungPlaces.of(volume, lungs), np.random.default_rng(0)
    indices = list(islice(places.draws(attachment, radius_mm, rng), 20))
    assert len(indices) == 20
    for index in indices:
        z, y, x = (2.0 * v for v in index)
        to_wall = min(min(v - 9.0, 69.0 - v) for v in (z, y, x))
        to_vessel = float(np.hypot(max(abs(y - 39.0) - 2.0, 0), max(abs(x - 39.0) - 2.0, 0)))
        slack = 4.0  # a working voxel is 2 mm wide and the point lies anywhere in it
        assert (to_wall <= radius_mm + slack) == (attachment is Attachment.PLEURA) or to_wall <= radius_mm + 2 * slack
        if attachment is Attachment.VESSEL:
            assert to_vessel <= radius_mm + slack
        if attachment is Attachment.FREE:
            assert to_wall >= radius_mm
            assert to_vessel >= radius_mm


def test_a_nodule_too_large_for_the_lungs_has_no_place() -> None:
    volume, lungs = chest()
    assert not list(LungPlaces.of(volume, lungs).draws(Attachment.FREE, 40.0, np.random.default_rng(0)))


@pytest.mark.parametrize("index", [(20.0, 25.3, 27.1), (2.0, 25.0, 25.0), (37.0, 38.0, 1.0)])
def test_inserting_into_a_volume_agrees_with_pasting_into_its_patch(index: tuple[float, float, float]) -> None:
    hu = np.random.default_rng(0).normal(-870, 20, (40, 60, 60)).astype(np.int16)
    volume = CtVolume(hu.copy(), (1.0, 0.7, 0.7), np.eye(4))
    nodule, weight = crop_patch(crop()), nodule_weight(crop())
    expected = paste(cut_patch(volume, index), nodule, weight)
    insert_nodule(volume, nodule, weight, index)
    inserted = cut_patch(volume, index)
    core = np.array(PATCH_SHAPE) // 2
    box = tuple(slice(c - 2, c + 3) for c in core)
    assert np.abs(inserted.hu[box].astype(float) - expected.hu[box].astype(float)).mean() < 25
    far = np.abs(np.arange(40) - index[0]) > RADIUS_MM + FEATHER_MM + 2
    assert (volume.volume_hu[far] == hu[far]).all()


def test_synthetic_contrast_brightens_vessels_and_hila_alone() -> None:
    volume, lungs = chest()
    brighter = with_contrast(volume, lungs, 150.0).volume_hu.astype(int) - volume.volume_hu
    assert (brighter[10:30, 19:21, 19:21] == 150).all()
    assert (brighter[volume.volume_hu < -200] == 0).all()
    assert (brighter[:5] == 0).all()  # the chest wall
