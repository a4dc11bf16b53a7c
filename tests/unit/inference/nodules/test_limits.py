"""A density class is given only where slices and size bear one."""

from __future__ import annotations

import pytest

from inference.nodules.limits import DensityLimit, density_limit

THICK, SMALL = DensityLimit.SLICE_THICKNESS, DensityLimit.SIZE


@pytest.mark.parametrize(
    ("spacing_mm", "thickness_mm", "mean_mm", "limit"),
    [
        (1.0, 1.0, 8.0, None),
        (1.5, 1.5, 6.0, None),
        (1.5004, 1.5, 6.0, None),  # positions are rounded
        (1.0, None, 6.0, None),
        (0.5, 0.625, 30.0, None),
        (1.6, 1.0, 8.0, THICK),  # gaps
        (1.0, 2.0, 8.0, THICK),  # overlap
        (2.5, None, 8.0, THICK),
        (5.0, 5.0, 30.0, THICK),
        (2.5, 2.5, 4.0, THICK),
        (1.0, 1.0, 5.99, SMALL),
        (1.25, 1.25, 0.0, SMALL),
    ],
)
def test_thick_slices_and_small_nodules_get_no_density_class(
    spacing_mm: float, thickness_mm: float | None, mean_mm: float, limit: DensityLimit | None
) -> None:
    assert density_limit(spacing_mm, thickness_mm, mean_mm) is limit
