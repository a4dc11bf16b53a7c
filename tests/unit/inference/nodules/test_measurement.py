"""Nodules drawn with known geometry are measured; what is no nodule is refused."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi

from inference.nodules.measurement import Density, NoduleMeasure, measure_nodule
from inference.types import Abstention, CtVolume

Point = tuple[float, float, float]
Shape = tuple[int, int, int]

SPACING_MM = (1.25, 0.7, 0.7)
SHAPE = (48, 86, 86)
MIDDLE_MM = np.array([29.0, 30.0, 30.0])


def grid_mm(spacing: Point = SPACING_MM, shape: Shape = SHAPE) -> tuple[NDArray[np.float64], ...]:
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij", sparse=True)


def ellipsoid(half_axes: Point, spacing: Point = SPACING_MM, shape: Shape = SHAPE) -> NDArray[np.bool_]:
    grid = grid_mm(spacing, shape)
    return np.asarray(sum(((g - c) / a) ** 2 for g, c, a in zip(grid, MIDDLE_MM, half_axes, strict=True)) <= 1.0)


def ball(diameter: float) -> NDArray[np.bool_]:
    return ellipsoid((diameter / 2, diameter / 2, diameter / 2))


def volume_of(hu: NDArray[np.float64], spacing: Point = SPACING_MM) -> CtVolume:
    blurred = ndi.gaussian_filter(hu, [0.6 / s for s in spacing])
    blurred += np.random.default_rng(9).normal(0.0, 20.0, hu.shape)
    return CtVolume(np.clip(blurred, -1024, 3071).astype(np.int16), spacing, np.eye(4))


def lung(shape: Shape = SHAPE) -> NDArray[np.float64]:
    return np.full(shape, -860.0)


@cache
def with_ball(diameter: float, hu: float = 40.0, *, wall: bool = False, vessel: bool = False) -> CtVolume:
    values = lung()
    z, y, x = grid_mm()
    if wall:
        values[np.broadcast_to(x > MIDDLE_MM[2] + 0.35 * diameter, SHAPE)] = 40.0
    if vessel:
        values[np.broadcast_to((z - MIDDLE_MM[0]) ** 2 + (y - MIDDLE_MM[1]) ** 2 <= 1.5**2, SHAPE)] = 40.0
    values[ball(diameter)] = hu
    return volume_of(values)


def answer_at(volume: CtVolume, offset_mm: ArrayLike = (0.0, 0.0, 0.0)) -> NoduleMeasure | Abstention:
    index = (MIDDLE_MM + offset_mm) / np.array(volume.spacing_mm)
    return measure_nodule(volume, (index[0], index[1], index[2]))


def measured_at(volume: CtVolume, offset_mm: ArrayLike = (0.0, 0.0, 0.0)) -> NoduleMeasure:
    answer = answer_at(volume, offset_mm)
    assert isinstance(answer, NoduleMeasure), answer
    return answer


def off_center_mm(measure: NoduleMeasure) -> float:
    return float(np.linalg.norm(np.array(measure.center_index) * SPACING_MM - MIDDLE_MM))


@pytest.mark.parametrize("diameter", [5.0, 8.0, 12.0, 20.0, 30.0])
def test_a_ball_is_measured(diameter: float) -> None:
    measure = measured_at(with_ball(diameter))
    assert measure.equivalent_diameter_mm == pytest.approx(diameter, abs=0.9)
    assert measure.longest_mm == pytest.approx(diameter, abs=1.2)
    assert measure.perpendicular_mm == pytest.approx(diameter, abs=1.2)
    assert measure.volume_mm3 == pytest.approx(np.pi / 6 * measure.equivalent_diameter_mm**3, rel=1e-6)
    assert off_center_mm(measure) < 0.6


def test_an_ellipsoid_has_a_long_and_a_short_axis() -> None:
    hu = lung()
    hu[ellipsoid((6.0, 10.0, 5.0))] = 40.0
    measure = measured_at(volume_of(hu))
    assert measure.longest_mm == pytest.approx(20.0, abs=2.0)
    assert measure.perpendicular_mm == pytest.approx(10.0, abs=1.5)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.0, 6.0), st.floats(0.0, 2 * np.pi), st.floats(-1.0, 1.0))
def test_a_click_beside_a_nodule_lands_on_it(distance: float, azimuth: float, height: float) -> None:
    across = np.sqrt(1.0 - height**2)
    offset = distance * np.array([height, across * np.sin(azimuth), across * np.cos(azimuth)])
    measure = measured_at(with_ball(8.0), offset)
    assert off_center_mm(measure) < 0.6
    assert measure.equivalent_diameter_mm == pytest.approx(8.0, abs=0.9)


def test_a_nodule_on_the_pleura_does_not_run_into_the_wall() -> None:
    measure = measured_at(with_ball(10.0, wall=True), (0.0, 0.0, -1.0))
    assert 7.0 < measure.equivalent_diameter_mm < 10.5
    assert off_center_mm(measure) < 2.0


def test_a_vessel_is_cut() -> None:
    measure = measured_at(with_ball(10.0, vessel=True))
    assert measure.equivalent_diameter_mm == pytest.approx(10.0, abs=1.0)
    assert measure.longest_mm < 12.5


def test_density_follows_the_solid_share() -> None:
    part_solid = lung()
    part_solid[ball(16.0)] = -600.0
    part_solid[ball(8.0)] = 20.0
    assert measured_at(with_ball(12.0)).density is Density.SOLID
    assert measured_at(with_ball(12.0, hu=-620.0)).density is Density.GROUND_GLASS
    assert measured_at(volume_of(part_solid)).density is Density.PART_SOLID


def test_the_mask_is_the_surface_in_voxels() -> None:
    measure = measured_at(with_ball(12.0))
    truth = ball(12.0)
    mask = np.zeros(SHAPE, bool)
    mask[measure.mask_box] = measure.mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.88
    assert mask.sum() * np.prod(SPACING_MM) == pytest.approx(measure.volume_mm3, rel=0.08)


def test_a_volume_that_ends_at_the_nodule_does_not_tell_its_size() -> None:
    volume = with_ball(10.0)
    low, high = (round((MIDDLE_MM[0] + side * 5.0) / SPACING_MM[0]) for side in (-1, 1))
    cut = CtVolume(volume.volume_hu[low : high + 1], SPACING_MM, volume.affine)
    index = MIDDLE_MM / SPACING_MM
    measure = measure_nodule(cut, (index[0] - low, index[1], index[2]))
    assert isinstance(measure, NoduleMeasure)
    assert measure.equivalent_diameter_mm == pytest.approx(measured_at(volume).equivalent_diameter_mm, abs=1.0)


def test_thick_slices_are_measured() -> None:
    spacing, shape = (2.5, 0.7, 0.7), (24, 86, 86)
    hu = lung(shape=shape)
    hu[ellipsoid((5.0, 5.0, 5.0), spacing=spacing, shape=shape)] = 40.0
    measure = measured_at(volume_of(hu, spacing))
    assert measure.equivalent_diameter_mm == pytest.approx(10.0, abs=1.2)


def test_features_are_finite_ordered_numbers_without_position() -> None:
    first, second = measured_at(with_ball(8.0)).features(), measured_at(with_ball(20.0, hu=-620.0)).features()
    assert list(first) == list(second)
    assert all(isinstance(v, float) and np.isfinite(v) for v in (*first.values(), *second.values()))
    assert not any("index" in name for name in first)
    assert first["sphericity"] > 0.9


def test_measuring_is_repeatable() -> None:
    assert measured_at(with_ball(8.0)).features() == measured_at(with_ball(8.0)).features()


@pytest.mark.parametrize("index", [(-3.0, 10.0, 10.0), (10.0, 10.0, 400.0), (float("nan"), 1.0, 1.0)])
def test_a_place_outside_is_refused(index: Point) -> None:
    answer = measure_nodule(with_ball(8.0), index)
    assert isinstance(answer, Abstention)
    assert answer.code == "outside_volume"


def test_empty_lung_is_no_nodule() -> None:
    answer = answer_at(volume_of(lung()))
    assert isinstance(answer, Abstention)
    assert answer.code == "no_nodule_here"


def test_an_impossible_spacing_is_refused() -> None:
    volume = CtVolume(np.zeros((4, 8, 8), np.int16), (0.0, 0.7, 0.7), np.eye(4))
    answer = measure_nodule(volume, (1.0, 2.0, 2.0))
    assert isinstance(answer, Abstention)
    assert answer.code == "implausible_spacing"


@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 20, 20), (3, 1, 1)])
def test_tiny_volumes_are_answered(shape: Shape) -> None:
    hu = np.random.default_rng(1).normal(-500.0, 300.0, shape)
    slices, rows, columns = shape
    answer = measure_nodule(volume_of(hu), ((slices - 1) / 2, (rows - 1) / 2, (columns - 1) / 2))
    assert isinstance(answer, NoduleMeasure | Abstention)
