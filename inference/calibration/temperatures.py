"""Temperatures of a bundle: divisors of the logits of its networks (Guo et al. 2017, sec. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEAN = "mean"
STACKED = "stacked"
"""Kinds of combination of a recipe; one without a kind is stacked."""


def network_temperatures(recipe: Mapping[str, Any]) -> dict[str, float]:
    """Return the temperature of each network that answers, by the prefix of its weights.

    It is the network's own, fitted on its logits of unseen patients, times that of the calibrator on top, if any.
    """
    groups = recipe.get("combination", {}).get("groups")
    of_calibrator = _calibrator_temperature(recipe)
    return {
        member["prefix"]: float(member.get("temperature", 1.0)) * of_calibrator
        for member in recipe["members"]
        if groups is None or member["group"] in groups
    }


def answer_temperature(recipe: Mapping[str, Any]) -> float:
    """Return the temperature of the answer: the divisor of a logit on which all networks agree.

    For a mean over networks that is the harmonic mean of their temperatures. A stacked combination fits weights of its
    own, which leaves the temperature of its calibrator.
    """
    combination = recipe.get("combination")
    if combination is not None and combination.get("kind") != MEAN:
        return _calibrator_temperature(recipe)
    temperatures = list(network_temperatures(recipe).values())
    return len(temperatures) / sum(1.0 / value for value in temperatures)


def _calibrator_temperature(recipe: Mapping[str, Any]) -> float:
    return float(recipe["calibration"]["parameters"].get("temperature", 1.0))
