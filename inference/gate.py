"""Gates of the bundles: validated input as frozen types, and the one check of a volume's geometry.

Thresholds are part of a bundle, never of the settings, and are checked when it is loaded. ``dicom_node`` applies those
of the nodule model to the headers of a series before any pixel is decoded, ``inference.predictor`` to volumes from
elsewhere (research crops).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from inference.errors import BundleError
from inference.types import Abstention


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the lowest value is above the highest")
    return limits


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Range = Annotated[tuple[Finite, Finite], AfterValidator(_ascending)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]

SPACING_EPSILON_MM = 0.01
"""Rounding of a slice spacing that was computed from positions."""
STATED = ("pixel_mm", "max_slice_mm", "min_slices", "diameter_mm", "max_findings", "merge_mm")
"""Thresholds that every nodule bundle states; the others have defaults for bundles that lack them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateThresholds:
    """Validated input of the nodule model; ranges are ``(lowest, highest)``.

    Parameters
    ----------
    pixel_mm
        Distance between pixels.
    min_slice_mm, max_slice_mm
        Range of the distance between slices.
    min_slices
        Fewest slices of a volume.
    min_extent_mm
        Least height of a volume along its normal; the models look at cubes of 32 mm.
    max_obliquity_deg
        Largest angle between the slices' normal and the long axis of the patient.
    max_pixel_aspect
        Largest ratio of the two pixel spacings.
    max_alternation, max_texture_alternation
        How far neighbouring slices may differ more than every other slice does, see ``dicom_node.series.coherence``.
    diameter_mm
        Long axis of a nodule.
    noise_hu, grain, lung_hu
        Lung around a nodule, see ``inference.ood.surroundings``; None is not checked.
    attention_in_lung
        Least share of the attention that lies in the lung, 0..1.
    opinions_apart
        Largest difference of planar and volumetric probability that is no doubt, 0..1.
    max_findings
        Most findings of a volume.
    merge_mm
        Points nearer than this are one nodule.
    """

    pixel_mm: PositiveRange = (0.3, 1.5)
    min_slice_mm: Positive = 0.2
    max_slice_mm: Positive = 5.0
    min_slices: Count = 12
    min_extent_mm: Finite = 36.0
    max_obliquity_deg: Positive = 20.0
    max_pixel_aspect: Positive = 1.01
    max_alternation: Positive = 0.06
    max_texture_alternation: Positive = 0.25
    diameter_mm: PositiveRange = (3.0, 40.0)
    noise_hu: Range | None = None
    grain: Range | None = None
    lung_hu: Range | None = None
    attention_in_lung: Share = 0.0
    opinions_apart: Share = 1.0
    max_findings: Count = 10
    merge_mm: Positive = 5.0

    def why_not_pixels(self, spacing_mm: tuple[float, float]) -> Abstention | None:
        """Return why images of this ``(row, column)`` pixel spacing are not analysed, or None."""
        low, high = self.pixel_mm
        if all(low <= spacing <= high for spacing in spacing_mm):
            return None
        return Abstention(
            "implausible_pixel_spacing",
            "Pixel spacing is outside {low} to {high} mm, the validated range.".format(low=low, high=high),
        )

    def why_not_geometry(self, slices: int, spacing_mm: tuple[float, float, float]) -> Abstention | None:
        """Return the first reason why a volume of this ``(slice, row, column)`` spacing is not analysed, or None."""
        slice_mm, *pixel_mm = spacing_mm
        if slices < self.min_slices or not slices * slice_mm >= self.min_extent_mm:
            return Abstention(
                "too_few_slices",
                "Too few slices ({count}, {extent} mm); at least {min_slices} over {min_extent} mm needed.".format(
                    count=slices,
                    extent=f"{slices * slice_mm:.0f}",
                    min_slices=self.min_slices,
                    min_extent=f"{self.min_extent_mm:g}",
                ),
            )
        if slice_mm > self.max_slice_mm + SPACING_EPSILON_MM:
            return Abstention(
                "coarse_slices",
                "The slices are {spacing} mm apart; the models need {most} mm or less.".format(
                    spacing=f"{slice_mm:.4g}", most=f"{self.max_slice_mm:g}"
                ),
            )
        if slice_mm < self.min_slice_mm:
            return Abstention("implausible_spacing", "The distance between the slices is implausibly small.")
        if unfit := self.why_not_pixels((pixel_mm[0], pixel_mm[1])):
            return unfit
        if max(pixel_mm) > self.max_pixel_aspect * min(pixel_mm):
            return Abstention("non_square_pixels", "The pixels are not square.")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterThresholds:
    """Limits of the nodule filter.

    Parameters
    ----------
    max_candidates
        Most candidates of a volume that are filtered, strongest first.
    confirm
        Least nodule probability of a finding.
    doubt
        A marked point of a lower nodule probability gets no malignancy.
    """

    max_candidates: Count
    confirm: Share
    doubt: Share = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureThresholds:
    """Limits of the whole-slice model, see ``inference.ood.picture_gate.PictureGate``."""

    max_distance: Positive
    max_residual: Positive
    max_neighbour: Positive
    measures: Mapping[str, Range]


G = TypeVar("G", GateThresholds, FilterThresholds, PictureThresholds)


def read_gate(recipe: Mapping[str, Any], kind: type[G]) -> G:
    """Read and check the gate of a recipe; names of other releases are ignored.

    Raises
    ------
    BundleError
        A threshold is missing or impossible.
    """
    task, values = recipe["task"], recipe.get("gate")
    if not isinstance(values, dict) or (task == "nodule" and set(STATED) - values.keys()):
        raise BundleError(f"the gate of the {task} bundle lacks thresholds")
    values = values | recipe.get("operating_points", {}) if task == "filter" else values
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        names = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors()}))
        raise BundleError(f"the gate of the {task} bundle has missing or impossible thresholds: {names}") from None
