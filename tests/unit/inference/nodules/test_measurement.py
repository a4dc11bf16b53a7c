"""Nodules drawn with known geometry are measured; what is no nodule is refused."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from inference.nodules.measurement import Density, NoduleMeasure, measure_nodule
from inference.types import Abstention, CtVolume

SPACING_MM = (1.25, 0.7, 0.7)
SHAPE = (48, 86, 86)
MIDDLE_MM = np.array([29.0, 30.0, 30.0])


def grid_mm(spacing=SPACING_MM, shape=SHAPE):
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij", sparse=True)


def ellipsoid(half_axes, center=MIDDLE_MM, **grid):
    return sum(((g - c) / a) ** 2 for g, c, a in zip(grid_mm(**grid), center, half_axes, strict=True)) <= 1.0


def volume_of(hu, spacing=SPACING_MM, noise=20.0, blur_mm=0.6):
    blurred = ndi.gaussian_filter(hu, [blur_mm / s for s in spacing])
    blurred += np.random.default_rng(9).normal(0.0, noise, hu.shape)
    return CtVolume(np.clip(blurred, -1024, 3071).astype(np.int16), spacing, np.eye(4))


def lung(**grid):
    return np.full(grid.get("shape", SHAPE), -860.0)


@cache
def with_ball(diameter, hu=40.0, wall=False, vessel=False):
    values = lung()
    z, y, x = grid_mm()
    if wall:
        values[np.broadcast_to(x > MIDDLE_MM[2] + 0.35 * diameter, SHAPE)] = 40.0
    if vessel:
        values[np.broadcast_to((z - MIDDLE_MM[0]) ** 2 + (y - MIDDLE_MM[1]) ** 2 <= 1.5**2, SHAPE)] = 40.0
    values[ellipsoid((diameter / 2,) * 3)] = hu
    return volume_of(values)


def measured_at(volume, offset_mm=(0.0, 0.0, 0.0)):
    index = (MIDDLE_MM + offset_mm) / np.array(volume.spacing_mm)
    return measure_nodule(volume, (index[0], index[1], index[2]))


def off_center_mm(measure, spacing=SPACING_MM):
    return float(np.linalg.norm(np.array(measure.center_index) * spacing - MIDDLE_MM))


@pytest.mark.parametrize("diameter", [5.0, 8.0, 12.0, 20.0, 30.0])
def test_a_ball_is_measured(diameter):
    measure = measured_at(with_ball(diameter))
    assert isinstance(measure, NoduleMeasure)
    assert measure.equivalent_diameter_mm == pytest.approx(diameter, abs=0.9)
    assert measure.longest_mm == pytest.approx(diameter, abs=1.2)
    assert measure.perpendicular_mm == pytest.approx(diameter, abs=1.2)
    assert measure.volume_mm3 == pytest.approx(np.pi / 6 * measure.equivalent_diameter_mm**3, rel=1e-6)
    assert off_center_mm(measure) < 0.6


def test_an_ellipsoid_has_a_long_and_a_short_axis():
    hu = lung()
    hu[ellipsoid((6.0, 10.0, 5.0))] = 40.0
    measure = measured_at(volume_of(hu))
    assert measure.longest_mm == pytest.approx(20.0, abs=2.0)
    assert measure.perpendicular_mm == pytest.approx(10.0, abs=1.5)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.0, 6.0), st.floats(0.0, 2 * np.pi), st.floats(-1.0, 1.0))
def test_a_click_beside_a_nodule_lands_on_it(distance, azimuth, height):
    across = np.sqrt(1.0 - height**2)
    offset = distance * np.array([height, across * np.sin(azimuth), across * np.cos(azimuth)])
    measure = measured_at(with_ball(8.0), offset)
    assert off_center_mm(measure) < 0.6
    assert measure.equivalent_diameter_mm == pytest.approx(8.0, abs=0.9)


def test_a_nodule_on_the_pleura_does_not_run_into_the_wall():
    measure = measured_at(with_ball(10.0, wall=True), (0.0, 0.0, -1.0))
    assert 7.0 < measure.equivalent_diameter_mm < 10.5
    assert off_center_mm(measure) < 2.0


def test_a_vessel_is_cut():
    measure = measured_at(with_ball(10.0, vessel=True))
    assert measure.equivalent_diameter_mm == pytest.approx(10.0, abs=1.0)
    assert measure.longest_mm < 12.5


def test_density_follows_the_solid_share():
    part_solid = lung()
    part_solid[ellipsoid((8.0,) * 3)] = -600.0
    part_solid[ellipsoid((4.0,) * 3)] = 20.0
    assert measured_at(with_ball(12.0)).density is Density.SOLID
    assert measured_at(with_ball(12.0, hu=-620.0)).density is Density.GROUND_GLASS
    assert measured_at(volume_of(part_solid)).density is Density.PART_SOLID


def test_the_mask_is_the_surface_in_voxels():
    measure = measured_at(with_ball(12.0))
    truth = ellipsoid((6.0,) * 3)
    mask = np.zeros(SHAPE, bool)
    mask[measure.mask_box] = measure.mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.88
    assert mask.sum() * np.prod(SPACING_MM) == pytest.approx(measure.volume_mm3, rel=0.08)


def test_a_volume_that_ends_at_the_nodule_does_not_tell_its_size():
    volume = with_ball(10.0)
    low, high = (round((MIDDLE_MM[0] + side * 5.0) / SPACING_MM[0]) for side in (-1, 1))
    cut = CtVolume(volume.volume_hu[low : high + 1], SPACING_MM, volume.affine)
    index = MIDDLE_MM / SPACING_MM
    measure = measure_nodule(cut, (index[0] - low, index[1], index[2]))
    assert measure.equivalent_diameter_mm == pytest.approx(measured_at(volume).equivalent_diameter_mm, abs=1.0)


def test_thick_slices_are_measured():
    spacing, shape = (2.5, 0.7, 0.7), (24, 86, 86)
    hu = lung(shape=shape)
    hu[ellipsoid((5.0,) * 3, spacing=spacing, shape=shape)] = 40.0
    measure = measured_at(volume_of(hu, spacing))
    assert measure.equivalent_diameter_mm == pytest.approx(10.0, abs=1.2)


def test_features_are_finite_ordered_numbers_without_position():
    first, second = measured_at(with_ball(8.0)).features(), measured_at(with_ball(20.0, hu=-620.0)).features()
    assert list(first) == list(second)
    assert all(isinstance(v, float) and np.isfinite(v) for v in (*first.values(), *second.values()))
    assert not any("index" in name for name in first)
    assert first["sphericity"] > 0.9


def test_measuring_is_repeatable():
    assert measured_at(with_ball(8.0)).features() == measured_at(with_ball(8.0)).features()


@pytest.mark.parametrize("index", [(-3.0, 10.0, 10.0), (10.0, 10.0, 400.0), (float("nan"), 1.0, 1.0)])
def test_a_place_outside_is_refused(index):
    answer = measure_nodule(with_ball(8.0), index)
    assert isinstance(answer, Abstention)
    assert answer.code == "outside_volume"


def test_empty_lung_is_no_nodule():
    assert measured_at(volume_of(lung())).code == "no_nodule_here"


def test_an_impossible_spacing_is_refused():
    volume = CtVolume(np.zeros((4, 8, 8), np.int16), (0.0, 0.7, 0.7), np.eye(4))
    assert measure_nodule(volume, (1.0, 2.0, 2.0)).code == "implausible_spacing"


@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 20, 20), (3, 1, 1)])
def test_tiny_volumes_are_answered(shape):
    hu = np.random.default_rng(1).normal(-500.0, 300.0, shape)
    answer = measure_nodule(volume_of(hu), tuple((n - 1) / 2 for n in shape))
    assert isinstance(answer, NoduleMeasure | Abstention)
