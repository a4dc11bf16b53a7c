"""Analysis of volumes and marked points: lungs, candidates, filter, measurement and malignancy."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.calibration.calibration import prediction_set
from inference.calibration.evidence import displayed_for
from inference.calibration.temperatures import answer_temperature
from inference.description import joint_digest
from inference.displayed import DisplayedProbability, Question
from inference.gate import FilterThresholds, GateThresholds, read_gate
from inference.lungs.location import lung_location
from inference.lungs.search_region import LungSegmentation, segment_lungs
from inference.malignancy.ensemble import Ensemble, combine
from inference.malignancy.estimator import CLASSES, Index, MalignancyEstimator, Nodule
from inference.malignancy.submodels import overlaid
from inference.networks.attention import place_on_slice
from inference.nodules.candidates import find_candidates
from inference.nodules.exclusion import exclusion_of
from inference.nodules.measurement import NoduleMeasure, measure_nodule
from inference.types import Abstention, Candidate, CtVolume, NoduleFinding, Remark, VolumeAnalysis
from inference.volumes.blas import one_blas_thread
from inference.volumes.patches import PatchCentre, cut_patch

if TYPE_CHECKING:
    from inference.networks.explanation import MapKind

Progress = Callable[[float, str], None]
EMPTY_HU = -700.0
"""A nodule needs a voxel denser than this within 1.5 mm."""


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """A candidate that the filter accepted."""

    candidate: Candidate
    nodule: Nodule


@dataclass(frozen=True, slots=True)
class _Measured:
    """A confirmed candidate with its measurement, or the reason for none."""

    confirmed: _Confirmed
    measure: NoduleMeasure | Abstention


class NoduleAnalyzer:
    """Finds nodules in a chest CT and estimates the probability that readers rate each malignant.

    Parameters
    ----------
    nodule, nodule_filter
        The malignancy ensemble and the nodule-or-not ensemble; all thresholds come from their recipes.
    """

    def __init__(self, nodule: Ensemble, nodule_filter: Ensemble) -> None:
        self._nodule = nodule
        self._nodule_filter = nodule_filter
        self.gate = read_gate(nodule.bundle.recipe, GateThresholds)
        self._filter_gate = read_gate(nodule_filter.bundle.recipe, FilterThresholds)
        self._estimator = MalignancyEstimator(nodule, nodule_filter.bundle.recipe, self.gate)
        self.name = nodule.bundle.name
        self.version = nodule.bundle.version
        self.sha256 = joint_digest(nodule.sha256, nodule_filter.sha256)

    @property
    def temperature(self) -> float:
        """Temperature of the answers for volumes."""
        return answer_temperature(self._nodule.bundle.recipe)

    @property
    def slice_temperature(self) -> float:
        """Temperature of the answers for single slices."""
        return answer_temperature(self._slice_recipe)

    @property
    def _slice_recipe(self) -> dict[str, Any]:
        """Recipe of the planar network alone; that of all networks where the bundle has none."""
        recipe = self._nodule.bundle.recipe
        return overlaid(recipe, recipe["single_slice"]) if "single_slice" in recipe else recipe

    @one_blas_thread()
    def analyse(
        self, volume: CtVolume, *, progress: Progress | None = None, overruled: Collection[str] = ()
    ) -> VolumeAnalysis:
        """Return the nodules of a volume by descending malignancy, at most ``gate.max_findings``.

        A candidate that the filter does not confirm, or that is a vessel or lies outside the lungs
        (``inference.nodules.exclusion``), is not shown and gets no malignancy. ``overruled`` are codes of
        abstentions that a radiologist overruled; only ``kernel`` can be.
        """
        report_progress = progress or (lambda _fraction, _text: None)
        started = time.monotonic()
        if unfit := self._why_not(volume):
            return VolumeAnalysis((), (unfit,))
        report_progress(0.0, "segmenting the lungs")
        lungs = segment_lungs(volume)
        if isinstance(lungs, Abstention):
            return VolumeAnalysis((), (lungs,))
        report_progress(0.1, "detecting candidates")
        candidates = find_candidates(volume, lungs, limit=self._filter_gate.max_candidates)
        report_progress(0.3, f"filtering {len(candidates)} candidates")
        confirmed = self._apply_filter(volume, candidates)
        remaining = self._measured(volume, lungs, confirmed)
        measured = remaining[: self.gate.max_findings]
        report_progress(0.7, f"assessing {len(measured)} nodules")
        gate = replace(self.gate, grain=None) if "kernel" in overruled else self.gate
        estimator = MalignancyEstimator(self._nodule, self._nodule_filter.bundle.recipe, gate)
        findings = tuple(_located(finding, lungs) for finding in self._assess(volume, measured, estimator))
        report_progress(1.0, "done")
        measures: dict[str, object] = {
            "duration_s": round(time.monotonic() - started, 2),
            "slice_count": volume.volume_hu.shape[0],
            "candidate_count": len(candidates),
            "confirmed_count": len(confirmed),
            "excluded_count": len(confirmed) - len(remaining),
            "engines": {"nodule": str(self._nodule.engine), "filter": str(self._nodule_filter.engine)},
            "lung_volume_ml": round(lungs.total_ml),
            "lung_extent": str(lungs.extent),
        }
        remarks = [*lungs.remarks]
        if left_out := len(remaining) - len(measured):
            remarks.append(Remark("FINDINGS_LIMITED", {"limit": self.gate.max_findings, "count": left_out}))
        return VolumeAnalysis(findings, (), measures, tuple(remarks))

    def analyse_slice(
        self, slice_hu: NDArray[np.int16], spacing_mm: tuple[float, float], centre: tuple[float, float]
    ) -> NoduleFinding:
        """Assess a nodule from one axial slice, by the planar network with its own calibration.

        Parameters
        ----------
        slice_hu
            ``(rows, columns)`` HU.
        spacing_mm, centre
            ``(row, column)`` pixel spacing, and the nodule's centre as the reader marked it; it is not refined.
        """
        index = (0.0, *centre)
        volume = CtVolume(slice_hu[None], (1.0, *spacing_mm), np.eye(4))
        if unfit := self.gate.why_not_pixels(spacing_mm):
            return NoduleFinding(index, None, None, None, None, abstentions=(unfit,))
        patch = cut_patch(volume, index, z_extent_mm=(0.0, 0.0))
        middle = np.array(patch.hu.shape) // 2
        if float(patch.hu[middle[0], middle[1] - 3 : middle[1] + 4, middle[2] - 3 : middle[2] + 4].max()) < EMPTY_HU:
            reason = Abstention("no_nodule_here", "nothing at this point is denser than lung")
            return NoduleFinding(index, None, None, None, None, abstentions=(reason,))
        if "single_slice" not in self._nodule.bundle.recipe:
            reason = Abstention("whole_series_only", "this model answers for whole series, not for single slices")
            return NoduleFinding(index, None, None, None, None, abstentions=(reason,))
        recipe = self._slice_recipe
        answer = combine(self._nodule.margins([patch]), recipe)
        probability = float(answer.probabilities[0])
        classes = prediction_set(probability, recipe["conformal"], CLASSES)
        shown = displayed_for(recipe, Question.MALIGNANCY, probability)
        interval = (shown.low, shown.high) if isinstance(shown, DisplayedProbability) else None
        displayed = {Question.MALIGNANCY.value: shown.to_json()}
        attributes: dict[str, object] = {"from": "one slice", "displayed": displayed}
        return NoduleFinding(index, None, None, probability, interval, classes, attributes=attributes)

    @one_blas_thread()
    def analyse_point(self, volume: CtVolume, index: Index) -> NoduleFinding:
        """Assess the point that a reader marked, ``(slice, row, column)``.

        Where the filter's nodule probability is below ``FilterThresholds.doubt``, the point gets no malignancy.
        """
        if unfit := self._why_not(volume):
            return NoduleFinding(index, None, None, None, None, abstentions=(unfit,))
        measure = measure_nodule(volume, index)
        if isinstance(measure, Abstention):
            nodule = self._filtered(volume, [Candidate(index, 8.0, 0.0)])[0]
            return self._estimator.unassessed(index, nodule, measure)
        candidate = Candidate(measure.center_index, measure.equivalent_diameter_mm, 0.0)
        nodule = self._filtered(volume, [candidate])[0]
        if nodule.probability < self._filter_gate.doubt:
            reason = Abstention("unlike_nodule", "No nodule-like structure at this point")
            return self._estimator.unassessed(index, nodule, reason)
        return self._estimator.findings(volume, [(measure, nodule)])[0]

    def explanation(self, volume: CtVolume, index: Index, kind: MapKind) -> NDArray[np.float32] | None:
        """Return an explanation map around a point, on the ``(rows, columns)`` of its slice.

        0..1, and 0 out of its view. None where the ensemble has no planar network.
        """
        from inference.networks.explanation import MAPS, shown

        member = self._nodule.planar_member
        if member is None:
            return None
        view, network = member
        patch = cut_patch(volume, index, z_extent_mm=(0.0, 0.0))
        weights = MAPS[kind](view, network, view.inputs([patch], self._nodule.device))[0]
        shape, spacing_mm = volume.volume_hu.shape[1:], volume.spacing_mm[1:]
        field_mm = view.field_mm[1]
        return place_on_slice(shown(weights, kind, field_mm), shape, index[1:], spacing_mm, field_mm)

    def _why_not(self, volume: CtVolume) -> Abstention | None:
        return self.gate.why_not_geometry(volume.volume_hu.shape[0], volume.spacing_mm)

    def _filtered(self, volume: CtVolume, candidates: list[Candidate]) -> list[Nodule]:
        answer = self._nodule_filter.answer_at(volume, [PatchCentre(candidate.index) for candidate in candidates])
        return [Nodule(float(p), float(z)) for p, z in zip(answer.probabilities, answer.margins, strict=True)]

    def _apply_filter(self, volume: CtVolume, candidates: tuple[Candidate, ...]) -> list[_Confirmed]:
        """Return the candidates above the filter's operating point, by descending probability."""
        nodules = self._filtered(volume, list(candidates))
        ranked = sorted(zip(nodules, candidates, strict=True), key=lambda pair: -pair[0].probability)
        confirmed: list[_Confirmed] = []
        for nodule, candidate in ranked:
            if nodule.probability < self._filter_gate.confirm:
                break
            if all(_apart_mm(volume, candidate.index, c.candidate.index) > self.gate.merge_mm for c in confirmed):
                confirmed.append(_Confirmed(candidate, nodule))
        return confirmed

    def _measured(self, volume: CtVolume, lungs: LungSegmentation, confirmed: list[_Confirmed]) -> list[_Measured]:
        """Measure candidates; those that are no nodule by ``inference.nodules.exclusion`` are left out."""

        def measured(item: _Confirmed) -> _Measured | None:
            measure = measure_nodule(volume, item.candidate.index)
            if not isinstance(measure, Abstention) and exclusion_of(volume, lungs, measure) is not None:
                return None
            return _Measured(item, measure)

        with ThreadPoolExecutor(2) as threads:
            return [item for item in threads.map(measured, confirmed) if item is not None]

    def _assess(
        self, volume: CtVolume, measured: list[_Measured], estimator: MalignancyEstimator
    ) -> tuple[NoduleFinding, ...]:
        """Assess measured candidates; duplicates of one nodule become one finding."""
        distinct: list[tuple[NoduleMeasure, Nodule]] = []
        unmeasured: list[NoduleFinding] = []
        for item in measured:
            confirmed, measure = item.confirmed, item.measure
            if isinstance(measure, Abstention):
                unmeasured.append(self._estimator.unassessed(confirmed.candidate.index, confirmed.nodule, measure))
            elif all(_apart_mm(volume, measure.center_index, m.center_index) > self.gate.merge_mm for m, _ in distinct):
                distinct.append((measure, confirmed.nodule))
        assessed = estimator.findings(volume, distinct)
        assessed.sort(key=lambda f: -(f.malignancy_probability if f.malignancy_probability is not None else -1.0))
        return (*assessed, *unmeasured)


def _located(finding: NoduleFinding, lungs: LungSegmentation) -> NoduleFinding:
    """Return a finding with its side and third of the lung, where they are clear."""
    location = lung_location(lungs, finding.index)
    attributes = {"location": location.to_json()} if location else {}
    return replace(finding, attributes={**finding.attributes, **attributes})


def _apart_mm(volume: CtVolume, a: Index, b: Index) -> float:
    return float(np.linalg.norm((np.array(a) - np.array(b)) * volume.spacing_mm))
