"""Lungs of drawn chests: found whole, cut, padded, prone or one-sided, and refused where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.lungs.search_region import LungExtent, LungSegmentation, block_mean, segment_lungs
from inference.types import Abstention, CtVolume, Remark

Point = tuple[float, float, float]
Shape = tuple[int, int, int]

SPACING_MM = (3.0, 1.6, 1.6)
SHAPE = (70, 200, 240)
RIGHT, LEFT = (105.0, 160.0, 120.0), (105.0, 160.0, 264.0)
"""Centres of the lungs in mm; the right lung has the lower column."""
HALF_AXES = (85.0, 85.0, 58.0)


def grid_mm(shape: Shape = SHAPE, spacing: Point = SPACING_MM) -> tuple[NDArray[np.float64], ...]:
    return np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij", sparse=True)


def ellipsoid(center: Point, half_axes: Point, shape: Shape = SHAPE, spacing: Point = SPACING_MM) -> NDArray[np.bool_]:
    z, y, x = grid_mm(shape, spacing)
    return np.asarray(sum(((g - c) / a) ** 2 for g, c, a in zip((z, y, x), center, half_axes, strict=True)) <= 1.0)


def ball(center: Point, diameter: float) -> NDArray[np.bool_]:
    return ellipsoid(center, (diameter / 2, diameter / 2, diameter / 2))


def chest(
    *, lungs: tuple[Point, ...] = (RIGHT, LEFT), lung_hu: float = -850, table: bool = True
) -> NDArray[np.float64]:
    """A trunk of soft tissue with lungs, a trachea, noise and a table shell, in room air."""
    hu = np.full(SHAPE, -1000.0)
    _, y, x = grid_mm()
    trunk = ((y - 160.0) / 125.0) ** 2 + ((x - 192.0) / 165.0) ** 2 <= 1.0
    hu[np.broadcast_to(trunk, SHAPE)] = 40.0
    for center in lungs:
        hu[ellipsoid(center, HALF_AXES)] = lung_hu
    z, y, x = grid_mm()
    hu[((y - 160.0) ** 2 + (x - 192.0) ** 2 <= 8.0**2) & (z > 110.0)] = -1000.0
    if table:
        hu[:, 188:190, 20:220] = -150.0
    return hu


def volume_of(hu: NDArray[np.float64], *, z_up: bool = True, spacing: Point = SPACING_MM) -> CtVolume:
    noisy = hu + np.random.default_rng(5).normal(0.0, 20.0, hu.shape)
    affine = np.zeros((4, 4))
    affine[2, 0] = spacing[0] if z_up else -spacing[0]
    affine[1, 1], affine[0, 2], affine[3, 3] = spacing[1], spacing[2], 1.0
    return CtVolume(np.clip(noisy, -1024, 3071).astype(np.int16), spacing, affine)


def lungs_of(volume: CtVolume) -> LungSegmentation:
    """Segment the lungs of a volume that has some."""
    answer = segment_lungs(volume)
    assert isinstance(answer, LungSegmentation), answer
    return answer


def ellipsoid_ml() -> float:
    return 4.0 / 3.0 * np.pi * float(np.prod(HALF_AXES)) / 1000.0


def index_of(position_mm: Point) -> NDArray[np.float64]:
    return np.array([position_mm]) / SPACING_MM


def test_both_lungs_have_their_true_volume() -> None:
    lungs = lungs_of(volume_of(chest()))
    assert lungs.extent is LungExtent.COMPLETE
    assert lungs.right_ml == pytest.approx(ellipsoid_ml(), rel=0.08)
    assert lungs.left_ml == pytest.approx(ellipsoid_ml(), rel=0.08)
    assert lungs.total_ml == pytest.approx(lungs.right_ml + lungs.left_ml)


def test_outside_air_table_and_trachea_are_not_lung() -> None:
    lungs = lungs_of(volume_of(chest()))
    for position in ((105.0, 5.0, 192.0), (105.0, 298.0, 192.0), (180.0, 160.0, 192.0), (105.0, 160.0, 192.0)):
        assert not lungs.contains(index_of(position)).any()
    assert lungs.contains(index_of(RIGHT)).all()


def test_sides_follow_the_patient_and_not_the_array() -> None:
    hu = chest(lungs=(RIGHT,))
    lungs = lungs_of(volume_of(hu))
    assert lungs.right_ml > 1000.0
    assert lungs.left_ml == 0.0
    assert Remark("ONE_LUNG") in lungs.remarks


@pytest.mark.parametrize("turned", [np.s_[:, ::-1, ::-1], np.s_[::-1]], ids=["prone", "feet to head"])
def test_turned_patients_are_found(turned: Any) -> None:
    lungs = lungs_of(volume_of(chest()[turned], z_up=turned != np.s_[::-1]))
    assert lungs.total_ml == pytest.approx(2 * ellipsoid_ml(), rel=0.08)


def test_a_nodule_on_the_pleura_lies_in_the_search_region() -> None:
    hu = chest()
    position = (105.0, 160.0, RIGHT[2] - HALF_AXES[2] + 5.0)
    hu[ball(position, 16.0) & ellipsoid(RIGHT, HALF_AXES)] = 40.0
    lungs = lungs_of(volume_of(hu))
    assert lungs.contains(index_of(position)).all()


def test_padding_around_a_round_field_of_view_is_outside() -> None:
    hu = chest()
    _, y, x = grid_mm()
    outside = np.broadcast_to((y - 160.0) ** 2 + (x - 192.0) ** 2 > 158.0**2, SHAPE)
    hu[outside] = -5000.0
    lungs = lungs_of(volume_of(hu))
    assert lungs.total_ml == pytest.approx(2 * ellipsoid_ml(), rel=0.08)


def test_a_field_of_view_that_cuts_the_lungs_still_shows_them() -> None:
    cut = chest(table=False)[:, 30:170, 60:180]
    lungs = lungs_of(volume_of(cut))
    assert lungs.extent is LungExtent.PARTIAL
    assert Remark("LUNGS_CUT_BY_FIELD_OF_VIEW") in lungs.remarks
    assert lungs.total_ml > 0.5 * ellipsoid_ml()


def test_lungs_that_run_out_of_the_volume_are_partial() -> None:
    lungs = lungs_of(volume_of(chest()[25:50]))
    assert lungs.extent is LungExtent.PARTIAL
    assert Remark("LUNGS_BEYOND_SLICES") in lungs.remarks


def test_emphysema_is_lung() -> None:
    lungs = lungs_of(volume_of(chest(lung_hu=-935)))
    assert lungs.total_ml == pytest.approx(2 * ellipsoid_ml(), rel=0.1)


@pytest.mark.parametrize(
    ("what", "hu"),
    [
        ("solid trunk", chest(lungs=())),
        ("bowel gas", np.where(ball((105.0, 160.0, 192.0), 90.0), -1000.0, chest(lungs=()))),
        ("room air", np.full(SHAPE, -1000.0)),
        ("water phantom", np.where(ball((105.0, 160.0, 192.0), 180.0), 0.0, -1000.0)),
        ("one slice of nothing", np.full((1, 64, 64), 30.0)),
    ],
)
def test_a_series_without_lung_is_refused_in_words(what: str, hu: NDArray[np.float64]) -> None:
    answer = segment_lungs(volume_of(hu))
    assert isinstance(answer, Abstention), what
    assert answer.code == "no_lung_in_view"
    assert answer.text.endswith(".")


@pytest.mark.parametrize("spacing", [(0.0, 0.7, 0.7), (2.5, 40.0, 0.7), (float("nan"), 0.7, 0.7), (2.5, -0.7, 0.7)])
def test_an_impossible_spacing_is_refused(spacing: Point) -> None:
    volume = CtVolume(np.zeros((4, 8, 8), np.int16), spacing, np.eye(4))
    assert segment_lungs(volume) == Abstention(
        "implausible_spacing", "The voxel spacing is missing or not that of a CT of a person."
    )


def test_lungs_larger_than_a_persons_are_refused() -> None:
    volume = volume_of(chest(), spacing=(8.0, 2.9, 2.9))
    answer = segment_lungs(volume)
    assert isinstance(answer, Abstention)
    assert answer.code == "implausible_lung_volume"


def test_the_bounding_box_holds_the_region_and_its_remainder() -> None:
    lungs = lungs_of(volume_of(chest()))
    box = lungs.bounding_box()
    inside = np.argwhere(ellipsoid(RIGHT, HALF_AXES) | ellipsoid(LEFT, HALF_AXES))
    for axis in range(3):
        assert box[axis].start <= inside[:, axis].min() + 2
        assert box[axis].stop >= inside[:, axis].max() - 1
    assert lungs.bounding_box(margin_mm=1e4) == tuple(slice(0, n) for n in SHAPE)


def test_block_mean_averages_whole_blocks() -> None:
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    means = block_mean(values, (2, 2, 3))
    assert means.shape == (2, 2, 2)
    assert means[0, 0, 0] == pytest.approx(values[:2, :2, :3].mean())
    assert means[1, 1, 1] == pytest.approx(values[2:4, 2:4, 3:6].mean())


def test_margin_widens_the_region() -> None:
    lungs = lungs_of(volume_of(chest()))
    just_outside = index_of((105.0, 160.0, RIGHT[2] - HALF_AXES[2] - 5.0))
    assert not lungs.contains(just_outside).any()
    assert lungs.contains(just_outside, margin_mm=10.0).all()
