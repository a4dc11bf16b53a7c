"""Submodels of the nodule ensemble: the planar and the volumetric networks, each with its own calibration.

The recipe of a bundle is that of all networks together. Its part ``opinions`` holds, for the planar and the volumetric
networks, the same parts fitted the same way on the same patients. A setting chooses the reported variant; results of
the others are recorded too, and a wide gap between planar and volumetric is a stated doubt.
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
"""Parts of a recipe that differ between variants; networks, weights and gate are shared."""


class Variant(StrEnum):
    """Networks that produce the reported result; each variant uses the automatic measures as well."""

    ENSEMBLE = "ensemble"
    PLANAR = "planar"
    VOLUMETRIC = "volumetric"


DISAGREE = "the 2D and the 3D networks disagree"
"""Text of the doubt from disagreeing submodels."""
GROUPS = {Variant.PLANAR: ("planar",), Variant.VOLUMETRIC: ("close", "volumetric")}
"""Groups of networks of each submodel."""


def answering(bundle: Bundle, variant: str) -> Bundle:
    """Return the bundle with parts, metrics and digest of a variant.

    Raises
    ------
    BundleError
        The bundle has no calibration for this variant.
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
    """Return the complete recipe of each variant by name, the ensemble first; empty without submodels."""
    held = {Variant.ENSEMBLE.value: {}, **recipe.get("opinions", {})}
    if len(held) == 1:
        return {}
    return {name: overlaid(recipe, parts) if parts else recipe for name, parts in held.items()}


def overlaid(recipe: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with other parts and only their evidence, which bounds no other combination's scores."""
    return {**{key: value for key, value in recipe.items() if key != "evidence"}, **parts}


def submodel_answers(
    margins: NDArray[float64], recipe: dict[str, Any], features: NDArray[float64] | None
) -> dict[str, EnsembleAnswer]:
    """Return the answer of each variant from the margins ``(members, n)`` of all networks."""
    from inference.malignancy.ensemble import combine  # which needs torch; a description of the models does not

    return {name: combine(margins, own, features) for name, own in submodel_recipes(recipe).items()}


def doubts(probabilities: dict[str, float], max_difference: float) -> tuple[str, ...]:
    """Return the stated doubts about an answer: where the submodels differ by more than ``max_difference``."""
    planar, volumetric = (probabilities.get(name) for name in (Variant.PLANAR, Variant.VOLUMETRIC))
    if planar is None or volumetric is None or abs(planar - volumetric) <= max_difference:
        return ()
    return (DISAGREE,)


def _own_metrics(metrics: dict[str, Any], variant: str) -> dict[str, Any]:
    """Return the metrics of a variant on the bundle's evaluation split."""
    own = metrics.get("opinions", {}).get(variant)
    return {} if own is None else {"task": metrics["task"], "split": metrics["split"], **own}


def _own_engines(engines: dict[str, Any], variant: str) -> dict[str, Any]:
    """Return the engines' record with the changes measured for a variant."""
    measured = {
        name: {**record, **record.get("opinions", {}).get(variant, {})} for name, record in engines["measured"].items()
    }
    return {**engines, "measured": measured}
