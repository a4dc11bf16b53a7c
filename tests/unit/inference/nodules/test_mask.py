"""Masks are encoded in runs and decoded to the same voxels; the axes agree with the diameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inference.nodules.mask import decode_runs, encode_mask, encode_runs
from inference.nodules.measurement import NoduleMeasure, measure_nodule
from inference.types import NoduleAxes
from tests.unit.inference.nodules.test_measurement import MIDDLE_MM, SPACING_MM, ellipsoid, lung, volume_of, with_ball

SHAPES = st.tuples(*[st.integers(1, 5)] * 3)


@given(SHAPES.flatmap(lambda shape: arrays(bool, shape)))
def test_runs_hold_every_voxel(mask: np.ndarray) -> None:
    runs = encode_runs(mask)
    assert all(length > 0 for length in runs[1:])
    assert np.array_equal(decode_runs(runs, mask.shape), mask)


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        ([[[True]]], (0, 1)),
        ([[[False]]], (1,)),
        ([[[False, True], [True, False]]], (1, 2, 1)),
        ([[[True, True]], [[False, True]]], (0, 2, 1, 1)),
    ],
)
def test_runs_begin_outside(mask: list[object], runs: tuple[int, ...]) -> None:
    assert encode_runs(np.array(mask)) == runs


@pytest.mark.parametrize("runs", [(), (3,), (4, 5), (0, -1, 9), (2, 2, 2, 3)])
def test_runs_that_do_not_fill_the_box_are_refused(runs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fill"):
        decode_runs(runs, (2, 2, 2))


def test_a_box_is_cropped_to_its_voxels_and_the_slice_of_the_axes() -> None:
    mask = np.zeros((6, 5, 5), bool)
    mask[2:4, 1:3, 2] = True
    box = (slice(10, 16), slice(20, 25), slice(30, 35))
    encoded = encode_mask(mask, box)
    assert (encoded.first_index, encoded.shape, encoded.runs) == ((12, 21, 32), (2, 2, 1), (0, 4))
    line = ((21.0, 32.0), (22.0, 32.0))
    assert encode_mask(mask, box, NoduleAxes(15, line, line)).shape == (4, 2, 1)


@pytest.mark.parametrize(("filled", "axes"), [(False, None), (True, NoduleAxes(9, ((0, 0), (1, 1)), ((0, 0), (1, 1))))])
def test_an_empty_mask_and_axes_elsewhere_are_refused(filled: bool, axes: NoduleAxes | None) -> None:
    with pytest.raises(ValueError, match=r"empty|outside"):
        encode_mask(np.full((2, 2, 2), filled), (slice(10, 12), slice(0, 2), slice(0, 2)), axes)


@pytest.mark.parametrize(
    ("half_axes_mm", "angle"),
    [((5.0, 5.0, 9.0), 0.0), ((5.0, 9.0, 5.0), 90.0), ((6.0, 6.0, 6.0), None), ((3.0, 3.0, 5.0), 0.0)],
)
def test_the_axes_are_the_diameters_at_right_angles(
    half_axes_mm: tuple[float, float, float], angle: float | None
) -> None:
    hu = lung()
    hu[ellipsoid(half_axes_mm)] = 40.0
    centre = tuple(MIDDLE_MM / SPACING_MM)
    measure = measure_nodule(volume_of(hu), centre)
    assert isinstance(measure, NoduleMeasure)
    assert measure.axes is not None
    pixel_mm = np.array(SPACING_MM[1:])
    long, short = (np.diff(np.array(line), axis=0)[0] * pixel_mm for line in (measure.axes.long, measure.axes.short))
    assert np.linalg.norm(long) == pytest.approx(measure.longest_mm)
    assert np.linalg.norm(short) == pytest.approx(measure.perpendicular_mm)
    assert long @ short == pytest.approx(0.0, abs=1e-6)
    assert measure.longest_mm == pytest.approx(2 * max(half_axes_mm[1:]), rel=0.15)
    if angle is not None:
        between = np.degrees(np.arctan2(abs(long[0]), abs(long[1])))
        assert between == pytest.approx(angle, abs=12.0)
    for line in (measure.axes.long, measure.axes.short):
        middle = np.mean(np.array(line), axis=0) * pixel_mm
        assert np.abs(middle - MIDDLE_MM[1:]).max() < 1.5
    assert abs(measure.axes.slice_index * SPACING_MM[0] - MIDDLE_MM[0]) < 3.0
    encoded = encode_mask(measure.mask, measure.mask_box, measure.axes)
    restored = np.zeros(hu.shape, bool)
    box = tuple(slice(a, a + n) for a, n in zip(encoded.first_index, encoded.shape, strict=True))
    restored[box] = decode_runs(encoded.runs, encoded.shape)
    expected = np.zeros(hu.shape, bool)
    expected[measure.mask_box] = measure.mask
    assert np.array_equal(restored, expected)


def test_indices_are_plain_integers() -> None:
    measure = measure_nodule(with_ball(8.0), tuple(MIDDLE_MM / SPACING_MM))
    assert isinstance(measure, NoduleMeasure)
    assert measure.axes is not None
    encoded = encode_mask(measure.mask, measure.mask_box, measure.axes)
    assert encoded.axes is not None
    numbers = [*encoded.first_index, *encoded.shape, *encoded.runs, encoded.axes.slice_index]
    assert {type(number) for number in numbers} == {int}
