"""Whose word counts: all networks together, the planar one, or the 3D ones, each with a calibration of its own.

A bundle's recipe answers by all of them together. Under ``opinions`` it holds, for the planar and for the volumetric
networks alone, the same parts fitted the same way on the same patients. A setting chooses which of them answers; what
the others say is recorded beside, and a wide gap between planar and volumetric is a stated reason for doubt.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from numpy import float64
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.errors import BundleError

if TYPE_CHECKING:
    from inference.malignancy.ensemble import EnsembleAnswer

PARTS = ("combination", "calibration", "conformal", "operating_points", "evidence")
"""What of a recipe differs between opinions; networks, weights and gate are shared."""


class Variant(StrEnum):
    """Which networks an answer is from; each weighs the automatic measures as well."""

    ENSEMBLE = "ensemble"
    PLANAR = "planar"
    VOLUMETRIC = "volumetric"


DISAGREE = "the 2D and the 3D networks disagree"
"""A doubt, in words alone: what each says stands beside it."""
GROUPS = {Variant.PLANAR: ("planar",), Variant.VOLUMETRIC: ("close", "volumetric")}
"""The groups of networks behind each opinion that stands beside the ensemble."""


def answering(bundle: Bundle, variant: str) -> Bundle:
    """The bundle as it is when ``variant`` answers: its parts, its figures, and a digest that tells.

    Raises
    ------
    BundleError
        The bundle holds no calibration of these networks alone.
    """
    if variant == Variant.ENSEMBLE:
        return bundle
    recipe = bundle.recipe
    if variant not in recipe.get("opinions", {}):
        raise BundleError(
            f"LUNGNODE_MODEL__VARIANT is {variant}, but the bundle {bundle.name} {bundle.version} has no calibration "
            "of these networks alone; set it to ensemble, or calibrate it with training.calibrate"
        )
    together = {key: recipe[key] for key in PARTS if key in recipe}
    changed = {
        **recipe["opinions"][variant],
        "opinion": variant,
        "opinions": {**recipe["opinions"], Variant.ENSEMBLE.value: together},
        "metrics": _own_metrics(recipe["metrics"], variant),
    }
    if "engines" in recipe:
        changed["engines"] = _own_engines(recipe["engines"], variant)
    return replace(bundle, recipe=overlaid(recipe, changed))


def submodel_recipes(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A whole recipe for each opinion, by name, the ensemble first; empty where a bundle has one answer only."""
    held = {Variant.ENSEMBLE.value: {}, **recipe.get("opinions", {})}
    if len(held) == 1:
        return {}
    return {name: overlaid(recipe, parts) if parts else recipe for name, parts in held.items()}


def overlaid(recipe: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """A recipe with other parts, and with no evidence but theirs: cases of one combination bound no other's scores."""
    return {**{key: value for key, value in recipe.items() if key != "evidence"}, **parts}


def submodel_answers(
    margins: NDArray[float64], recipe: dict[str, Any], features: NDArray[float64] | None
) -> dict[str, EnsembleAnswer]:
    """What each opinion says, from the margins ``(members, n)`` of all networks."""
    from inference.malignancy.ensemble import combine  # which needs torch; a description of the models does not

    return {name: combine(margins, own, features) for name, own in submodel_recipes(recipe).items()}


def doubts(probabilities: dict[str, float], gate: dict[str, Any]) -> tuple[str, ...]:
    """Why the answer is to be doubted although it is given, in words."""
    planar, volumetric = (probabilities.get(name) for name in (Variant.PLANAR, Variant.VOLUMETRIC))
    if planar is None or volumetric is None or abs(planar - volumetric) <= gate.get("opinions_apart", 1.0):
        return ()
    return (DISAGREE,)


def _own_metrics(metrics: dict[str, Any], variant: str) -> dict[str, Any]:
    """What was measured of one opinion on the split that the bundle was measured on."""
    own = metrics.get("opinions", {}).get(variant)
    return {} if own is None else {"task": metrics["task"], "split": metrics["split"], **own}


def _own_engines(engines: dict[str, Any], variant: str) -> dict[str, Any]:
    """The engines' record with how far they move this opinion, where that was measured."""
    measured = {
        name: {**record, **record.get("opinions", {}).get(variant, {})} for name, record in engines["measured"].items()
    }
    return {**engines, "measured": measured}
