"""Malignancy of measured nodules: findings with bounds and submodels, or abstentions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.calibration.calibration import prediction_set
from inference.calibration.evidence import displayed_for, displayed_malignancy
from inference.displayed import DisplayedProbability, Question
from inference.gate import GateThresholds
from inference.malignancy.ensemble import Ensemble, EnsembleAnswer, combine, feature_vector
from inference.malignancy.submodels import doubts, submodel_answers, submodel_recipes
from inference.nodules.limits import VOLUME_REPEATABILITY, density_limit
from inference.nodules.mask import encode_mask
from inference.nodules.measurement import NoduleMeasure
from inference.ood.attention_check import ATTENTION_OUTSIDE_LUNG, attention_around, share_in_lung
from inference.ood.surroundings import surroundings_of, why_unlike
from inference.types import Abstention, CtVolume, NoduleFinding
from inference.volumes.patches import PatchCentre, z_extent_of

Index = tuple[float, float, float]
CLASSES = ("benign", "malignant")


@dataclass(frozen=True, slots=True)
class Nodule:
    """Nodule probability by the filter, and the margin it was calibrated from."""

    probability: float
    margin: float


class MalignancyEstimator:
    """Estimates the malignancy of measured nodules by the ensemble.

    Parameters
    ----------
    ensemble
        The malignancy ensemble.
    filter_recipe
        The recipe whose evidence bounds the probability of being a nodule.
    gate
        Limits of what is assessed.
    """

    def __init__(self, ensemble: Ensemble, filter_recipe: dict[str, Any], gate: GateThresholds) -> None:
        self._nodule = ensemble
        self._filter_recipe = filter_recipe
        self._gate = gate

    def unassessed(self, index: Index, nodule: Nodule, reason: Abstention) -> NoduleFinding:
        """Return a finding that could not be measured, without a malignancy."""
        attributes: dict[str, object] = {
            "nodule_margin": round(nodule.margin, 4),
            "displayed": self._displayed_nodule(nodule),
        }
        return NoduleFinding(index, None, nodule.probability, None, None, abstentions=(reason,), attributes=attributes)

    def _displayed_nodule(self, nodule: Nodule) -> dict[str, Any]:
        shown = displayed_for(self._filter_recipe, Question.NODULE, nodule.probability)
        return {Question.NODULE.value: shown.to_json()}

    def findings(self, volume: CtVolume, measured: list[tuple[NoduleMeasure, Nodule]]) -> list[NoduleFinding]:
        """Return one finding for each measured nodule, in order."""
        if not measured:
            return []
        centres = [
            PatchCentre(measure.center_index, z_extent_of(measure.equivalent_diameter_mm)) for measure, _ in measured
        ]
        features = np.stack([feature_vector(measure.features()) for measure, _ in measured])
        margins = self._nodule.margins_at(volume, centres)
        answer = combine(margins, self._nodule.bundle.recipe, features)
        submodels = submodel_answers(margins, self._nodule.bundle.recipe, features)
        return [self._finding(volume, measure, p, answer, submodels, i) for i, (measure, p) in enumerate(measured)]

    def _assessment_abstentions(
        self, volume: CtVolume, measure: NoduleMeasure, attention: NDArray[np.float32] | None
    ) -> tuple[Abstention, ...]:
        """Return the reasons why this nodule is outside the validated range, if any."""
        low, high = self._gate.diameter_mm
        reasons = why_unlike(surroundings_of(volume, measure.center_index), self._gate)
        if not low <= measure.longest_mm <= high:
            reasons = (_unfit_diameter(low, high), *reasons)
        least, member = self._gate.attention_in_lung, self._nodule.planar_member
        if member is not None and attention is not None and least > 0:
            nodule = measure.center_index, measure.mask, measure.mask_box
            share = share_in_lung(attention, member[0].field_mm[1], volume, nodule)
            reasons = (*reasons, ATTENTION_OUTSIDE_LUNG) if share < least else reasons
        return reasons

    def _finding(
        self,
        volume: CtVolume,
        measure: NoduleMeasure,
        nodule: Nodule,
        answer: EnsembleAnswer,
        submodels: dict[str, EnsembleAnswer],
        i: int,
    ) -> NoduleFinding:
        attributes: dict[str, object] = {
            "perpendicular_mm": round(measure.perpendicular_mm, 1),
            "mean_diameter_mm": round(measure.mean_diameter_mm, 1),
            "volume_mm3": round(measure.volume_mm3),
            "volume_repeatability": VOLUME_REPEATABILITY,
            **_density(volume, measure),
            "mean_hu": round(measure.mean_hu),
            "nodule_margin": round(nodule.margin, 4),
            "displayed": self._displayed_nodule(nodule),
        }
        mask = encode_mask(measure.mask, measure.mask_box, measure.axes)
        attention, member = None, self._nodule.planar_member
        if member is not None:
            attention = attention_around(member, volume, measure.center_index)
            weights = attention.astype(np.float64).round(3).tolist()
            attributes["attention"] = {"field_mm": float(member[0].field_mm[1]), "weights": weights}
        if reasons := self._assessment_abstentions(volume, measure, attention):
            return NoduleFinding(
                measure.center_index, measure.longest_mm, nodule.probability, None, None, (), reasons, attributes, mask
            )
        probability, recipe = float(answer.probabilities[i]), self._nodule.bundle.recipe
        shown = displayed_malignancy(recipe, probability, measure.longest_mm)
        attributes["displayed"] = {**self._displayed_nodule(nodule), Question.MALIGNANCY.value: shown.to_json()}
        return NoduleFinding(
            index=measure.center_index,
            diameter_mm=measure.longest_mm,
            nodule_probability=nodule.probability,
            malignancy_probability=probability,
            interval=(shown.low, shown.high) if isinstance(shown, DisplayedProbability) else None,
            prediction_set=prediction_set(probability, recipe["conformal"], CLASSES),
            attributes={
                **attributes,
                "malignancy_margin": round(float(answer.margins[i]), 4),
                **self._submodels(submodels, i, measure.longest_mm),
            },
            mask=mask,
        )

    def _submodels(self, submodels: dict[str, EnsembleAnswer], i: int, diameter_mm: float) -> dict[str, object]:
        """Return the results of each submodel for one finding, and doubts from their disagreement."""
        if not submodels:
            return {}
        recipes = submodel_recipes(self._nodule.bundle.recipe)
        probabilities = {name: float(own.probabilities[i]) for name, own in submodels.items()}
        records = {
            name: {
                "probability": round(probability, 4),
                "margin": round(float(submodels[name].margins[i]), 4),
                "displayed": displayed_malignancy(recipes[name], probability, diameter_mm).to_json(),
            }
            for name, probability in probabilities.items()
        }
        return {"opinions": records, "doubts": list(doubts(probabilities, self._gate.opinions_apart))}


def _density(volume: CtVolume, measure: NoduleMeasure) -> dict[str, object]:
    """Return the density class, or the reason why slices or size do not bear one."""
    limit = density_limit(volume.spacing_mm[0], volume.slice_thickness_mm, measure.mean_diameter_mm)
    return {"density": str(measure.density)} if limit is None else {"density_limit": str(limit)}


def _unfit_diameter(low: float, high: float) -> Abstention:
    return Abstention(
        "diameter", "the diameter is outside {low} to {high} mm, the validated range".format(low=low, high=high)
    )
