"""The plainest combination that does as well answers, at temperatures that were fitted on unseen patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from inference.calibration.temperatures import MEAN, STACKED
from inference.malignancy.ensemble import combine
from training.fitting.combination import (
    Candidate,
    Unseen,
    calibrate_combination,
    candidates_of,
    temperature_figures,
    with_temperatures,
)

MEMBERS = [{"group": name, "prefix": f"{name}0"} for name in ("planar", "volumetric")]
CLASSES = ("benign", "malignant")


def unseen_of(temperatures: tuple[float, float], noise: tuple[float, float], n: int = 900) -> Unseen:
    """Two networks that see the same log odds with noise, and state them at a temperature of their own."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0, 2, n)
    labels = rng.random(n) < expit(log_odds)
    noisy = [log_odds + rng.normal(0, sigma, n) for sigma in noise]
    margins = np.stack([t * own for t, own in zip(temperatures, noisy, strict=True)])
    return Unseen(margins, None, labels, [f"P{i // 2}" for i in range(n)], MEMBERS, CLASSES)


@pytest.mark.parametrize("temperatures", [(0.4, 2.5), (1.0, 1.0), (3.0, 0.3)])
def test_each_network_gets_the_temperature_that_it_was_stated_at(temperatures: tuple[float, float]) -> None:
    unseen = unseen_of(temperatures, (0.0, 0.0))
    fitted = [member["temperature"] for member in with_temperatures(unseen).members]
    assert fitted == pytest.approx(temperatures, rel=0.15)
    for row, truth in zip(temperature_figures(unseen, draws=50), temperatures, strict=True):
        low, high = row["interval"]
        assert low < truth < high
        assert row["nll"] <= row["nll_before"] + 0.002
        assert row["n"] == 900


def test_candidates_run_from_plain_to_rich() -> None:
    names = [own.name for own in candidates_of(["close", "planar", "volumetric"], ("longest_mm",))]
    assert names == [
        "mean of close, volumetric",
        "mean of close, planar, volumetric",
        "stacked of close, volumetric",
        "stacked of close, planar, volumetric",
        "stacked of close, volumetric, measures",
        "stacked of close, planar, volumetric, measures",
    ]
    assert candidates_of(["planar"], ()) == [Candidate(MEAN, ("planar",)), Candidate(STACKED, ("planar",))]


def test_networks_that_do_as_well_answer_by_their_mean_at_the_temperatures() -> None:
    unseen = with_temperatures(unseen_of((0.4, 2.5), (0.5, 0.5)))
    recipe, before, p = calibrate_combination(unseen, ["planar", "volumetric"], (), 0)
    assert recipe["combination"]["kind"] == MEAN
    assert recipe["combination"]["candidates"]["chosen"] == "mean of volumetric"
    served = combine(unseen.margins, {**recipe, "members": unseen.members})
    assert served.probabilities == pytest.approx(p, abs=0.03)
    assert served.uncalibrated == pytest.approx(before)


def test_a_network_of_noise_is_weighed_down_where_its_mean_would_do_harm() -> None:
    unseen = with_temperatures(unseen_of((1.0, 1.0), (0.2, 6.0)))
    recipe, _, _ = calibrate_combination(unseen, ["planar", "volumetric"], (), 0)
    assert recipe["combination"]["kind"] == STACKED
    planar, volumetric = recipe["combination"]["weights"]
    assert planar > 4 * abs(volumetric)
