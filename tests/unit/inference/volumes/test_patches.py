"""Patches show true places at true scale, and their borders repeat instead of telling where the data ended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from inference.types import CtVolume
from inference.volumes.patch_views import ViewSpec, rotate
from inference.volumes.patches import (
    PATCH_SHAPE,
    PATCH_SPACING_MM,
    Patch,
    PatchCentre,
    cut_patch,
    sample_patch,
    sample_view,
)
from inference.volumes.preprocessing import PreprocessingSpec, apply_window, normalise

CUBE, FIELD_MM = (32, 32, 32), (32.0, 32.0, 32.0)


def ball(spacing: tuple[float, float, float], centre: tuple[float, float, float], radius_mm: float) -> CtVolume:
    """A ball of 100 HU in lung of -850 HU."""
    shape = tuple(round(60 / s) for s in spacing)
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    r = np.sqrt(sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)))
    return CtVolume(np.where(r <= radius_mm, 100, -850).astype(np.int16), spacing, np.eye(4))


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (1.0, 0.5, 0.5), (0.6, 0.9, 0.9)])
def test_a_ball_has_the_same_size_in_pixels_whatever_the_spacing(spacing: tuple[float, float, float]) -> None:
    slice_mm, row_mm, column_mm = spacing
    centre = (round(30 / slice_mm), round(30 / row_mm), round(30 / column_mm))
    volume = ball(spacing, centre, 6.0)
    plane = sample_view(cut_patch(volume, centre), shape=(1, 224, 224), field_mm=(1.0, 32.0, 32.0))[0]
    area_mm2 = float((plane > -400).sum()) * (32 / 224) ** 2
    assert area_mm2 == pytest.approx(np.pi * 36, rel=0.08)


def test_cutting_equals_linear_interpolation_with_repeated_edges() -> None:
    rng = np.random.default_rng(0)
    volume = CtVolume(rng.integers(-1000, 400, (20, 60, 70)).astype(np.int16), (2.5, 0.7, 0.7), np.eye(4))
    index = (3.2, 10.3, 60.9)
    patch = cut_patch(volume, index)
    centre = (round(index[0]), index[1], index[2])
    axes = [
        (np.arange(n) - n // 2) * mm / s + c
        for n, mm, s, c in zip(PATCH_SHAPE, PATCH_SPACING_MM, volume.spacing_mm, centre, strict=True)
    ]
    expected = map_coordinates(
        volume.volume_hu.astype(np.float32), np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest"
    )
    assert np.abs(expected - patch.hu.astype(np.float32)).max() <= 0.5  # float16 keeps 11 bits


def test_what_lies_outside_the_box_never_reaches_the_view() -> None:
    rng = np.random.default_rng(1)
    volume = CtVolume(rng.integers(-1000, 400, (40, 80, 80)).astype(np.int16), (1.0, 0.5, 0.5), np.eye(4))
    changed = volume.volume_hu.copy()
    changed[:15] = 3000
    changed[26:] = 3000
    other = CtVolume(changed, volume.spacing_mm, volume.affine)
    views = [
        view
        for v in (volume, other)
        for view in (
            sample_patch(v, PatchCentre((20.0, 40.0, 40.0), (-4.0, 4.0)), shape=CUBE, field_mm=FIELD_MM),
            sample_view(cut_patch(v, (20.0, 40.0, 40.0), z_extent_mm=(-4.0, 4.0)), shape=CUBE, field_mm=FIELD_MM),
        )
    ]
    np.testing.assert_array_equal(views[0], views[2])
    np.testing.assert_array_equal(views[1], views[3])


@settings(max_examples=30, deadline=None)
@given(
    hu=st.lists(st.floats(-2000, 4000), min_size=2, max_size=20),
    center=st.floats(-1000, 1000),
    width=st.floats(1, 4000),
)
def test_windowing_is_monotone_and_bounded(hu: list[float], center: float, width: float) -> None:
    windowed = apply_window(torch.tensor(sorted(hu)), center, width)
    assert bool((windowed.diff() >= 0).all())
    assert float(windowed.min()) >= 0.0
    assert float(windowed.max()) <= 1.0


def test_normalisation_maps_the_window_to_minus_one_to_one() -> None:
    spec = PreprocessingSpec(window_center=-400.0, window_width=1400.0)
    ends = normalise(torch.tensor([-1100.0, -400.0, 300.0]), spec)
    assert torch.allclose(ends, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6)


@pytest.mark.parametrize("volumetric", [False, True])
def test_a_rotated_input_is_that_of_the_rotated_patch(volumetric: bool) -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 100, PATCH_SHAPE).astype(np.float16)
    view = ViewSpec(
        (PreprocessingSpec(size=24), PreprocessingSpec(size=24, window_center=300.0)), volumetric=volumetric
    )
    box = (-9.0, -15.0, -15.0), (9.0, 15.0, 15.0)
    plain, rotated = view.inputs([Patch(hu, *box)]), []
    for number in range(8):
        turned = np.rot90(hu, -(number % 4), axes=(1, 2))
        turned = turned[..., ::-1] if number >= 4 else turned
        rotated.append(view.inputs([Patch(np.ascontiguousarray(turned), *box)]))
        torch.testing.assert_close(rotate(plain, number), rotated[-1], atol=1e-5, rtol=0)
    assert len({tuple(each.flatten().tolist()) for each in rotated}) == 8


def test_a_view_survives_the_way_through_json() -> None:
    view = ViewSpec((PreprocessingSpec(size=32), PreprocessingSpec(size=32, window_center=300.0)), volumetric=True)
    assert ViewSpec.from_json(view.to_json()) == view
