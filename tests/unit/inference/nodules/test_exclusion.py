"""Findings that are no nodule: vessels that go on, and what lies outside the lungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.lungs.search_region import LungExtent, LungSegmentation
from inference.nodules.exclusion import Exclusion, continues_as_vessel, exclusion_of, share_in_lungs
from inference.nodules.measurement import NoduleMeasure, measure_nodule
from inference.types import Abstention, CtVolume

SIZE_MM = 90.0
MIDDLE_MM = 45.0
SPACING_MM = (1.5, 0.75, 0.75)


def grid_mm(spacing_mm: tuple[float, float, float] = SPACING_MM) -> list[NDArray[np.float64]]:
    return [np.arange(round(SIZE_MM / s), dtype=np.float64) * s - MIDDLE_MM for s in spacing_mm]


def chest(
    *,
    ball_mm: float = 0.0,
    tube_mm: float = 0.0,
    tube_from_mm: float = -60.0,
    hu: float = 40.0,
    wall_from_mm: float = 60.0,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> tuple[CtVolume, LungSegmentation]:
    """Lung with a ball in its middle, a vessel along the columns through it, and a wall at the last columns."""
    z, y, x = np.meshgrid(*grid_mm(spacing_mm), indexing="ij", sparse=True)
    values = np.full([len(axis) for axis in grid_mm(spacing_mm)], -860.0)
    values[(y**2 + z**2 <= (tube_mm / 2) ** 2) & (x >= tube_from_mm)] = 45.0
    values[x**2 + y**2 + z**2 <= (ball_mm / 2) ** 2] = hu
    values[np.broadcast_to(x >= wall_from_mm, values.shape)] = 50.0
    values += np.random.default_rng(0).normal(0, 12, values.shape)
    volume = CtVolume(values.astype(np.int16), spacing_mm, np.eye(4))
    block = (1, 3, 3)
    mask = np.zeros([n // b for n, b in zip(values.shape, block, strict=True)], dtype=bool)
    mask[:, :, : int((min(wall_from_mm, 60.0) + MIDDLE_MM) / (3 * spacing_mm[2]))] = True
    lungs = LungSegmentation(
        mask, mask, mask, block, volume.volume_hu.shape, (spacing_mm[0], 3 * spacing_mm[1], 3 * spacing_mm[2]),
        1500.0, 1500.0, 3000.0, LungExtent.COMPLETE,
    )  # fmt: skip
    return volume, lungs


def middle(spacing_mm: tuple[float, float, float] = SPACING_MM) -> tuple[float, float, float]:
    z, y, x = (MIDDLE_MM / s for s in spacing_mm)
    return z, y, x


@pytest.mark.parametrize("spacing_mm", [(1.5, 0.75, 0.75), (2.5, 0.75, 0.75), (0.75, 0.6, 0.6)])
@pytest.mark.parametrize(
    ("drawn", "radius_mm", "expected"),
    [
        ({"ball_mm": 12.0}, 6.0, False),
        ({"ball_mm": 24.0}, 12.0, False),
        ({"ball_mm": 12.0, "tube_mm": 3.0}, 6.0, False),  # a vessel passes a nodule
        ({"ball_mm": 20.0, "tube_mm": 6.0}, 10.0, False),
        ({"tube_mm": 10.0}, 6.0, True),  # a hilar vessel
        ({"tube_mm": 14.0}, 8.0, True),
        ({"tube_mm": 10.0, "tube_from_mm": -5.0}, 6.0, True),  # which begins here and goes on to one side
        ({"tube_mm": 3.0}, 3.0, False),  # too thin to be followed
        ({"tube_mm": 30.0}, 15.0, False),  # thicker than any vessel of a lung
        ({"ball_mm": 12.0, "hu": -600.0}, 6.0, False),  # ground glass
        ({"tube_mm": 10.0}, 2.0, False),  # a finding smaller than what is resolved
    ],
)
def test_a_vessel_goes_on_where_a_nodule_ends(
    drawn: dict[str, float], radius_mm: float, expected: bool, spacing_mm: tuple[float, float, float]
) -> None:
    volume, lungs = chest(**drawn, spacing_mm=spacing_mm)
    assert continues_as_vessel(volume, lungs, middle(spacing_mm), radius_mm) == expected


@pytest.mark.parametrize("wall_from_mm", [0.0, 4.0, 8.0])
def test_the_wall_beside_a_pleural_nodule_is_no_way_out(wall_from_mm: float) -> None:
    volume, lungs = chest(ball_mm=14.0, wall_from_mm=wall_from_mm)
    assert not continues_as_vessel(volume, lungs, middle(), 7.0)


@pytest.mark.parametrize("offset_mm", [-44.0, 44.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_end_of_the_volume_is_no_error(axis: int, offset_mm: float) -> None:
    volume, lungs = chest(ball_mm=12.0)
    index = list(middle())
    index[axis] += offset_mm / SPACING_MM[axis]
    assert not continues_as_vessel(volume, lungs, (index[0], index[1], index[2]), 6.0)


def measured(volume: CtVolume) -> NoduleMeasure:
    measure = measure_nodule(volume, middle())
    assert not isinstance(measure, Abstention)
    return measure


@pytest.mark.parametrize(
    ("lungs_to_mm", "share", "expected"),
    [
        (60.0, 1.0, None),
        (2.0, 0.65, None),
        (-2.0, 0.3, Exclusion.OUTSIDE_LUNGS),
        (-20.0, 0.0, Exclusion.OUTSIDE_LUNGS),
    ],
)
def test_most_of_a_nodule_lies_in_the_lungs(lungs_to_mm: float, share: float, expected: Exclusion | None) -> None:
    volume, lungs = chest(ball_mm=14.0)
    mask = np.zeros_like(lungs.mass_mask)
    mask[:, :, : round((lungs_to_mm + MIDDLE_MM) / (3 * SPACING_MM[2]))] = True
    lungs = replace(lungs, mass_mask=mask)
    assert share_in_lungs(lungs, measured(volume)) == pytest.approx(share, abs=0.12)
    assert exclusion_of(volume, lungs, measured(volume)) == expected


def test_a_nodule_is_not_excluded_and_a_vessel_is() -> None:
    nodule, vessel = chest(ball_mm=12.0, tube_mm=3.0), chest(tube_mm=10.0)
    assert exclusion_of(*nodule, measured(nodule[0])) is None
    assert exclusion_of(*vessel, measured(vessel[0])) is Exclusion.VESSEL
