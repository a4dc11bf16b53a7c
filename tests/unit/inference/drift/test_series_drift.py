"""Drift is reported where series changed, and seldom where they did not."""

from __future__ import annotations

import numpy as np
import pytest

from inference.drift.series_drift import HU_EDGES, REFERENCE, WINDOW, compare, stability_index, summarise
from inference.types import CtVolume
from tests.support.factories import simple_chest

SPACING = (3.0, 340 / 64, 340 / 64)


def chest(seed: int = 0, shift_hu: int = 0, noise_hu: float = 12.0) -> CtVolume:
    return CtVolume(
        simple_chest(20, 64, 64, SPACING, seed=seed, noise_hu=noise_hu) + np.int16(shift_hu), SPACING, np.eye(4)
    )


def summaries(rng: np.random.Generator, n: int, shift_hu: float = 0.0) -> list[dict[str, object]]:
    """Series of one scanner as patients differ: lung by 30 HU, soft tissue by 10, noise by a fifth."""
    drawn: list[dict[str, object]] = []
    for lung, soft, noise in zip(
        rng.normal(-860, 30, n), rng.normal(40, 10, n), rng.lognormal(2.5, 0.2, n), strict=True
    ):
        voxels = np.concatenate([rng.normal(lung + shift_hu, 60, 400), rng.normal(soft + shift_hu, 40, 600)])
        counts = np.histogram(np.clip(voxels, HU_EDGES[0], HU_EDGES[-1] - 1), HU_EDGES)[0]
        drawn.append({
            "lung_hu": lung + shift_hu, "soft_hu": soft + shift_hu, "noise_hu": noise, "slice_mm": 1.25,
            "pixel_mm": round(float(rng.normal(0.7, 0.05)), 3), "nodule_mm": float(rng.lognormal(2, 0.4)),
            "hu_shares": list(counts / counts.sum()),
        })  # fmt: skip
    return drawn


def test_a_summary_has_tissue_noise_and_spacing() -> None:
    summary = summarise(chest(noise_hu=12.0))
    assert summary["lung_hu"] == pytest.approx(-860, abs=3)
    assert summary["soft_hu"] == pytest.approx(40, abs=6)  # muscle at 45, a rim of fat
    assert summary["noise_hu"] == pytest.approx(12, abs=2)
    assert summary["slice_mm"] == 3.0
    shares = summary["hu_shares"]
    assert isinstance(shares, list)
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_a_shift_of_all_values_shifts_the_summary() -> None:
    before, after = summarise(chest()), summarise(chest(shift_hu=100))
    for name in ("lung_hu", "soft_hu"):
        assert float(str(after[name])) - float(str(before[name])) == pytest.approx(100, abs=3)


def test_an_empty_volume_has_a_summary_too() -> None:
    summary = summarise(CtVolume(np.full((3, 16, 16), -1024, np.int16), (1.0, 1.0, 1.0), np.eye(3)))
    assert summary["lung_hu"] is None
    assert summary["noise_hu"] is None


def test_the_stability_index_is_that_of_a_worked_example() -> None:
    assert stability_index(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0
    expected = 0.2 * np.log(0.7 / 0.5) + -0.2 * np.log(0.3 / 0.5)
    assert stability_index(np.array([0.5, 0.5]), np.array([0.7, 0.3])) == pytest.approx(expected)


def test_a_scanner_that_stays_the_same_seldom_alarms() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(bool(compare(summaries(rng, REFERENCE), summaries(rng, WINDOW)).drifted) for _ in range(40))
    assert alarms <= 2


def test_a_hundred_hu_more_are_reported_as_such() -> None:
    rng = np.random.default_rng(2)
    comparison = compare(summaries(rng, REFERENCE), summaries(rng, WINDOW, shift_hu=100))
    assert {"lung_hu", "soft_hu", "hu_shares"} <= set(comparison.drifted)
    assert not {"noise_hu", "pixel_mm", "nodule_mm"} & set(comparison.drifted)
