"""Temperatures divide each network's logits, and are reported as they act."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inference.calibration.temperatures import answer_temperature, network_temperatures
from inference.malignancy.ensemble import combine

TWO = ({"prefix": "a0", "group": "a", "temperature": 0.5}, {"prefix": "b0", "group": "b", "temperature": 0.25})
NONE: dict[str, Any] = {"kind": "none", "parameters": {}}
DOUBLED = {"kind": "temperature", "parameters": {"temperature": 2.0}}
SHIFTED = {"kind": "bias_corrected_temperature", "parameters": {"temperature": 2.0, "bias": 0.0}}


def mean_of(*groups: str) -> dict[str, Any]:
    return {"kind": "mean", "groups": list(groups), "features": []}


@pytest.mark.parametrize(
    ("members", "combination", "calibration", "by_network", "answer"),
    [
        (TWO, mean_of("a", "b"), NONE, {"a0": 0.5, "b0": 0.25}, 1 / 3),
        (TWO, mean_of("a"), NONE, {"a0": 0.5}, 0.5),
        (TWO, mean_of("b"), DOUBLED, {"b0": 0.5}, 0.5),
        (TWO, mean_of("b"), SHIFTED, {"b0": 0.5}, 0.5),
        (({"prefix": "a0", "group": "a"},), mean_of("a"), NONE, {"a0": 1.0}, 1.0),
    ],
)
def test_a_margin_that_all_networks_agree_on_is_divided_by_the_stated_temperature(
    members: tuple[dict[str, Any], ...],
    combination: dict[str, Any],
    calibration: dict[str, Any],
    by_network: dict[str, float],
    answer: float,
) -> None:
    recipe = {"members": list(members), "combination": combination, "calibration": calibration}
    assert network_temperatures(recipe) == by_network
    assert answer_temperature(recipe) == pytest.approx(answer)
    agreed = np.array([-1.0, 0.3, 2.0])
    probabilities = combine(np.tile(agreed, (len(members), 1)), recipe).probabilities
    assert probabilities == pytest.approx(1 / (1 + np.exp(-agreed / answer)))


def test_a_stacked_combination_reports_the_temperature_of_its_calibrator() -> None:
    stacked = {"groups": ["a"], "features": [], "mean": [0.0], "std": [1.0], "weights": [3.0], "bias": 0.0}
    assert answer_temperature({"members": list(TWO), "combination": stacked, "calibration": DOUBLED}) == 2.0


def test_a_bundle_of_one_network_without_a_combination_reports_its_calibrator() -> None:
    recipe = {"members": [{"prefix": "planar0", "group": "planar"}], "calibration": DOUBLED}
    assert network_temperatures(recipe) == {"planar0": 2.0}
    assert answer_temperature(recipe) == 2.0


def test_uncalibrated_probabilities_are_those_at_temperature_1() -> None:
    recipe = {"members": list(TWO), "combination": mean_of("a", "b"), "calibration": NONE}
    assert combine(np.array([[1.0], [3.0]]), recipe).uncalibrated == pytest.approx([1 / (1 + np.exp(-2.0))])
