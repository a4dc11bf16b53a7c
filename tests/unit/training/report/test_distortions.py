"""Every distortion does what its name says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from inference.types import CtVolume
from training.report.distortions import DISTORTIONS, NodulePoint

SPACING_MM = (1.5, 0.7, 0.7)
INDEX = (4.0, 21.0, 20.0)


def marked_point() -> NodulePoint:
    """Lung with one bright voxel column: what is pointed at is brighter than all else."""
    hu = np.full((9, 44, 40), -850, np.int16)
    hu[3:6, 20:23, 19:22] = 40
    hu[4, 21, 20] = 200
    return NodulePoint(CtVolume(hu, SPACING_MM, np.diag([*SPACING_MM, 1.0])), INDEX)


def distorted(name: str) -> NodulePoint:
    """By name, with a fixed generator."""
    return DISTORTIONS[name](marked_point(), np.random.default_rng(3))


@pytest.mark.parametrize("mm", [2, 4, 6])
def test_a_click_strays_in_its_slice_by_that_far(mm: int) -> None:
    index = distorted(f"click {mm} mm off").index
    away = (np.array(index) - INDEX) * SPACING_MM
    assert away[0] == 0
    assert np.linalg.norm(away) == pytest.approx(mm)


def test_a_click_strays_in_one_direction_whatever_the_distance() -> None:
    near, far = (np.array(distorted(f"click {mm} mm off").index) - INDEX for mm in (2, 6))
    assert far == pytest.approx(3 * near)


def test_a_click_stays_in_the_image() -> None:
    corner = NodulePoint(marked_point().volume, (4.0, 0.0, 39.0))
    for seed in range(8):
        _, row, column = DISTORTIONS["click 6 mm off"](corner, np.random.default_rng(seed)).index
        assert 0 <= row <= 43
        assert 0 <= column <= 39


def test_pixels_are_stated_larger_and_the_image_stays() -> None:
    volume = distorted("pixel size stated x1.4").volume
    assert volume.spacing_mm == pytest.approx((1.5, 0.98, 0.98))
    assert (volume.volume_hu == marked_point().volume.volume_hu).all()
    assert volume.position_mm((1, 1, 1)) == pytest.approx((1.5, 0.98, 0.98))


@pytest.mark.parametrize("hu", [-300, -100, -50, 50, 100, 300])
def test_all_values_move_alike_and_stay_in_range(hu: int) -> None:
    before, after = marked_point().volume.volume_hu, distorted(f"all HU {hu:+d}").volume.volume_hu
    assert (after == np.clip(before.astype(int) + hu, -1024, 3071)).all()


def test_noise_has_its_strength_and_no_bias() -> None:
    added = distorted("noise of 50 HU").volume.volume_hu.astype(float) - marked_point().volume.volume_hu
    assert added.std() == pytest.approx(50, rel=0.05)
    assert abs(added.mean()) < 3


def test_smoothing_stays_within_slices() -> None:
    hu = distorted("smoothed, sigma 1.0 mm").volume.volume_hu
    assert (hu[:3] == -850).all()
    assert -850 < hu[4, 21, 20] < 200
    assert hu.sum() == pytest.approx(marked_point().volume.volume_hu.sum(), rel=1e-3)


@pytest.mark.parametrize("slices", [2, 4])
def test_thicker_slices_keep_the_nodule_where_it_is_pointed_at(slices: int) -> None:
    point = distorted(f"{slices} slices averaged")
    assert point.volume.spacing_mm[0] == 1.5 * slices
    assert len(point.volume.volume_hu) < 9
    at = np.unravel_index(point.volume.volume_hu.argmax(), point.volume.volume_hu.shape)
    assert at == tuple(round(v) for v in point.index)
    own = marked_point().volume.volume_hu[4 - slices // 2 : 4 - slices // 2 + slices, 21, 20]
    assert point.volume.volume_hu[at] == round(own.mean())


def test_reversed_slices_take_the_index_along() -> None:
    start = NodulePoint(marked_point().volume, (3.0, 21.0, 20.0))
    point = DISTORTIONS["slices in reverse"](start, np.random.default_rng(0))
    assert point.index == (5.0, 21.0, 20.0)
    assert (point.volume.volume_hu[5] == start.volume.volume_hu[3]).all()
