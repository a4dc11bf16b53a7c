"""Balls of known density are blended in as said, and measurement distinguishes their classes."""

from __future__ import annotations

import numpy as np
import pytest

from inference.nodules.measurement import Density
from inference.types import CtVolume
from training.report.density import DIAMETERS_MM, Ball, blend, density_figures


def lung() -> CtVolume:
    """Plain lung with mild noise and a vessel."""
    hu = np.random.default_rng(0).normal(-850, 15, (40, 80, 80))
    hu[:, 58:61, 40:43] = 20
    return CtVolume(hu.astype(np.int16), (1.25, 0.7, 0.7), np.diag([1.25, 0.7, 0.7, 1.0]))


def test_a_ball_has_its_density_and_leaves_the_rest() -> None:
    part, centre = blend(lung(), Ball((20.0, 40.0, 40.0), 10.0, -600.0, 5.0, 30.0))
    z, y, x = (round(c) for c in centre)
    assert part.volume_hu[z, y, x] == pytest.approx(30, abs=60)
    assert part.volume_hu[z, y, x + 6].mean() == pytest.approx(-600, abs=70)
    assert part.volume_hu[z, y, x - 14 : x - 10].mean() == pytest.approx(-850, abs=25)


def test_a_vessel_shows_through_ground_glass() -> None:
    part, centre = blend(lung(), Ball((20.0, 59.0, 41.0), 12.0, -600.0, 0.0, -600.0))
    assert part.volume_hu[tuple(round(c) for c in centre)] > -100


def test_a_ball_at_the_border_of_the_volume_is_cut_off_there() -> None:
    part, centre = blend(lung(), Ball((0.0, 2.0, 79.0), 8.0, 40.0, 0.0, 40.0))
    assert all(0 <= c < n for c, n in zip(centre, part.volume_hu.shape, strict=True))


def test_classes_are_distinguished_and_counted() -> None:
    figures = density_figures(lung(), [(20.0, 38.0, 36.0)])
    assert figures["n"] == len(DIAMETERS_MM) * len(Density)
    large = figures["by_diameter"]["12 mm"]
    assert large["counts"] == {name: {name: 1} for name in ("solid", "part-solid", "ground-glass")}
    assert large["accuracy"] == 1.0
    assert all(abs(error) < 1.5 for error in large["median_diameter_error_mm"].values())
