"""Candidates in drawn lungs: nodules of every size come first, vessels and the chest wall do not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.lungs.search_region import LungSegmentation, segment_lungs
from inference.nodules.candidates import find_candidates
from inference.types import Candidate, CtVolume

Point = tuple[float, float, float]
Nodule = tuple[Point, float, float]
"""Position in mm, diameter in mm and HU."""

SPACING_MM = (2.5, 0.9, 0.9)
SHAPE = (56, 190, 250)
LUNGS = ((70.0, 86.0, 60.0), (70.0, 86.0, 165.0))
HALF_AXES = (58.0, 62.0, 42.0)
NODULES = (
    ((60.0, 80.0, 50.0), 5.0, 0.0),
    ((85.0, 100.0, 70.0), 8.0, 30.0),
    ((45.0, 70.0, 160.0), 14.0, 40.0),
    ((95.0, 90.0, 175.0), 28.0, 40.0),
    ((70.0, 110.0, 170.0), 12.0, -620.0),
)
PLEURAL = ((70.0, 86.0, 165.0 + 42.0 - 3.5), 9.0, 40.0)
VESSEL = ((70.0, 50.0), 5.0)
"""Position (slice, row) and width in mm of a vessel that runs along the columns."""


def grid_mm() -> tuple[NDArray[np.float64], ...]:
    axes = [np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)]
    return np.meshgrid(*axes, indexing="ij", sparse=True)


def ball(center: Point, diameter: float) -> NDArray[np.bool_]:
    squares = sum((g - c) ** 2 for g, c in zip(grid_mm(), center, strict=True))
    return np.asarray(squares <= (diameter / 2) ** 2)


def drawn(nodules: Sequence[Nodule]) -> CtVolume:
    z, y, x = grid_mm()
    hu = np.full(SHAPE, -1000.0)
    hu[np.broadcast_to(((y - 86.0) / 80.0) ** 2 + ((x - 112.0) / 108.0) ** 2 <= 1.0, SHAPE)] = 40.0
    lungs = np.zeros(SHAPE, bool)
    for center in LUNGS:
        lungs |= (
            np.asarray(sum(((g - c) / a) ** 2 for g, c, a in zip((z, y, x), center, HALF_AXES, strict=True))) <= 1.0
        )
    hu[lungs] = -860.0
    (at_z, at_y), width = VESSEL
    vessel = np.broadcast_to((z - at_z) ** 2 + (y - at_y) ** 2 <= (width / 2) ** 2, SHAPE)
    hu[lungs & vessel] = 40.0
    for center, diameter, value in nodules:
        hu[lungs & ball(center, diameter)] = value
    hu += np.random.default_rng(3).normal(0.0, 25.0, SHAPE)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0], affine[1, 1], affine[0, 2] = SPACING_MM
    return CtVolume(np.clip(hu, -1024, 3071).astype(np.int16), SPACING_MM, affine)


def lungs_of(volume: CtVolume) -> LungSegmentation:
    answer = segment_lungs(volume)
    assert isinstance(answer, LungSegmentation), answer
    return answer


@cache
def candidates_of_chest() -> tuple[Candidate, ...]:
    volume = drawn((*NODULES, PLEURAL))
    return find_candidates(volume, lungs_of(volume))


def distances_mm(candidates: Sequence[Candidate], position_mm: Point) -> NDArray[np.float64]:
    return np.linalg.norm(np.array([c.index for c in candidates]) * SPACING_MM - position_mm, axis=1)


@pytest.mark.parametrize("nodule", [*NODULES, PLEURAL], ids=lambda n: f"{n[1]:.0f} mm {n[2]:.0f} HU")
def test_every_nodule_is_among_the_strongest(nodule: Nodule) -> None:
    position_mm, diameter, _ = nodule
    nearest = distances_mm(candidates_of_chest()[:12], position_mm)
    assert nearest.min() < max(2.0, 0.15 * diameter)


def test_the_scale_follows_the_diameter() -> None:
    scales = [
        candidates_of_chest()[int(np.argmin(distances_mm(candidates_of_chest(), position_mm)))].scale_mm
        for position_mm, _, _ in NODULES[:4]
    ]
    assert scales == sorted(scales)
    for scale, (_, diameter, _) in zip(scales, NODULES[:4], strict=True):
        assert 0.5 * diameter < scale < 1.7 * diameter


def test_candidates_are_sorted_apart_and_inside_the_volume() -> None:
    strengths = [c.strength for c in candidates_of_chest()]
    assert strengths == sorted(strengths, reverse=True)
    index = np.array([c.index for c in candidates_of_chest()])
    assert (index >= 0).all()
    assert (index <= np.array(SHAPE) - 1).all()
    position = index * SPACING_MM
    gaps = np.linalg.norm(position[:, None] - position[None], axis=2) + 1e3 * np.eye(len(position))
    assert gaps.min() >= 2.4


def test_a_vessel_ranks_below_every_nodule() -> None:
    position = np.array([c.index for c in candidates_of_chest()]) * SPACING_MM
    on_vessel = np.hypot(position[:, 0] - VESSEL[0][0], position[:, 1] - VESSEL[0][1]) < 4.0
    weakest_nodule = max(
        int(np.argmin(distances_mm(candidates_of_chest(), position_mm))) for position_mm, _, _ in (*NODULES, PLEURAL)
    )
    middle = on_vessel & (np.abs(position[:, 2] - LUNGS[0][2]) < 20.0)
    assert not middle[: weakest_nodule + 1].any()


def test_the_limit_keeps_the_strongest() -> None:
    volume = drawn(NODULES)
    lungs = lungs_of(volume)
    few, many = find_candidates(volume, lungs, limit=3), find_candidates(volume, lungs, limit=50)
    assert len(few) == 3
    assert few == many[:3]


def test_candidates_are_repeatable() -> None:
    volume = drawn(NODULES[:2])
    lungs = lungs_of(volume)
    assert find_candidates(volume, lungs) == find_candidates(volume, lungs)


def test_a_mass_with_a_broad_base_on_the_pleura_is_found() -> None:
    position_mm = (70.0, 86.0 + 62.0 - 8.0, 165.0)
    volume = drawn(((position_mm, 40.0, 40.0),))
    candidates = find_candidates(volume, lungs_of(volume))
    assert distances_mm(candidates[:5], position_mm).min() < 12.0


def test_a_small_nodule_beside_a_mass_is_not_hidden() -> None:
    small = (70.0, 60.0, 60.0)
    volume = drawn((((70.0, 86.0, 60.0), 30.0, 40.0), (small, 6.0, 40.0)))
    candidates = find_candidates(volume, lungs_of(volume))
    assert distances_mm(candidates[:20], small).min() < 2.0
