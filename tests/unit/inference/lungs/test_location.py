"""Side and third of positions in drawn chests, and none where they are not clear."""

from __future__ import annotations

import numpy as np
import pytest

from inference.lungs.location import LungLocation, Side, Third, lung_location
from inference.lungs.search_region import LungSegmentation
from tests.unit.inference.lungs.test_search_region import RIGHT, SPACING_MM, chest, lungs_of, volume_of

CASES = {
    "right, upper": ((175.0, 160.0, 120.0), LungLocation(Side.RIGHT, Third.UPPER)),
    "right, middle": ((105.0, 160.0, 120.0), LungLocation(Side.RIGHT, Third.MIDDLE)),
    "right, lower": ((40.0, 160.0, 120.0), LungLocation(Side.RIGHT, Third.LOWER)),
    "left, upper": ((150.0, 160.0, 264.0), LungLocation(Side.LEFT, Third.UPPER)),
    "left, lower": ((60.0, 120.0, 264.0), LungLocation(Side.LEFT, Third.LOWER)),
    "above the apex": ((196.0, 160.0, 264.0), LungLocation(Side.LEFT, Third.UPPER)),
    "on the pleura": ((105.0, 160.0, 56.0), LungLocation(Side.RIGHT, Third.MIDDLE)),
    "between the lungs": ((105.0, 160.0, 192.0), None),
    "in the shoulder": ((105.0, 40.0, 192.0), None),
}


@pytest.fixture(scope="module")
def lungs() -> LungSegmentation:
    return lungs_of(volume_of(chest()))


def index_of(position_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = np.array(position_mm) / SPACING_MM
    return float(z), float(y), float(x)


@pytest.mark.parametrize("case", CASES)
def test_location(lungs: LungSegmentation, case: str) -> None:
    position_mm, expected = CASES[case]
    assert lung_location(lungs, index_of(position_mm)) == expected


def test_feet_first_and_mirrored_arrays_follow_the_patient() -> None:
    feet_last = lungs_of(volume_of(chest()[::-1], z_up=False))
    z, y, x = index_of((175.0, 160.0, 120.0))
    assert lung_location(feet_last, (69 - z, y, x)) == LungLocation(Side.RIGHT, Third.UPPER)


def test_no_third_where_the_lungs_are_cut() -> None:
    hu = chest()
    cut = lungs_of(volume_of(hu[20:]))
    z, y, x = index_of(RIGHT)
    assert lung_location(cut, (z - 20, y, x)) == LungLocation(Side.RIGHT, None)


def test_an_index_outside_the_volume_has_no_location(lungs: LungSegmentation) -> None:
    assert lung_location(lungs, (-500.0, 9000.0, 9000.0)) is None


def test_record() -> None:
    assert LungLocation(Side.LEFT, None).to_json() == {"side": "left", "third": None}
    assert LungLocation(Side.RIGHT, Third.UPPER).to_json() == {"side": "right", "third": "upper"}
