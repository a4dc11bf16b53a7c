"""Findings in lung unlike the validated one are known by its noise, grain and HU."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from inference.gate import GateThresholds
from inference.ood.surroundings import surroundings_of, why_unlike
from inference.types import CtVolume

GATE = GateThresholds(noise_hu=(5.0, 60.0), grain=(-0.4, 0.4), lung_hu=(-950.0, -740.0))


def lung(*, noise_hu: float = 25.0, offset_hu: float = 0.0, blur: float = 0.0) -> CtVolume:
    """Plain lung with a ball in its middle."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (12, 64, 64)), indexing="ij")
    hu = np.where(z**2 + y**2 + x**2 < 36, 40.0, -860.0) + rng.normal(0, noise_hu, z.shape)
    hu = ndi.gaussian_filter(hu, (0, blur, blur)) if blur else hu
    return CtVolume((hu + offset_hu).astype(np.int16), (1.25, 0.7, 0.7), np.eye(4))


def test_noise_and_lung_are_measured_as_they_are() -> None:
    surroundings = surroundings_of(lung(noise_hu=30.0), (6, 32, 32))
    assert surroundings is not None
    assert surroundings.noise_hu == pytest.approx(30.0 * np.sqrt(1.25), rel=0.1)
    assert surroundings.lung_hu == pytest.approx(-860.0, abs=5.0)
    assert abs(surroundings.grain) < 0.15


@pytest.mark.parametrize(
    ("volume", "codes"),
    [
        (lung(), []),
        (lung(noise_hu=90.0), ["noise"]),
        (lung(offset_hu=200.0), ["hu_offset"]),
        (lung(offset_hu=-150.0), ["hu_offset"]),
        (lung(noise_hu=60.0, blur=2.0), ["noise", "kernel"]),
    ],
)
def test_what_is_outside_the_limits_is_said(volume: CtVolume, codes: list[str]) -> None:
    reasons = why_unlike(surroundings_of(volume, (6, 32, 32)), GATE)
    assert [reason.code for reason in reasons] == codes


def test_where_no_lung_is_seen_no_answer_is_given() -> None:
    solid = CtVolume(np.full((12, 64, 64), 40, np.int16), (1.25, 0.7, 0.7), np.eye(4))
    assert surroundings_of(solid, (6, 32, 32)) is None
    assert [reason.code for reason in why_unlike(None, GATE)] == ["no_lung_around"]


def test_a_mass_that_fills_the_box_is_judged_by_the_lung_beyond() -> None:
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (24, 96, 96)), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 25, z.shape)
    hu = np.where((1.25 * z) ** 2 + (0.7 * y) ** 2 + (0.7 * x) ** 2 < 19.0**2, 40.0, -860.0) + noise
    mass = CtVolume(hu.astype(np.int16), (1.25, 0.7, 0.7), np.eye(4))
    surroundings = surroundings_of(mass, (12, 48, 48))
    assert surroundings is not None
    assert why_unlike(surroundings, GATE) == ()
