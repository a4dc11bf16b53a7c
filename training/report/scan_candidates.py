"""Scored candidates of a series: at real marks, at nodules pasted into the volume, and elsewhere.

Each series is judged by the network of its fold, which has seen neither the series nor, pasted into it, any nodule of
the split that is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.gate import FilterThresholds, read_gate
from inference.lungs.search_region import LungSegmentation, segment_lungs
from inference.malignancy.ensemble import Ensemble
from inference.nodules.candidates import find_candidates
from inference.nodules.exclusion import exclusion_of
from inference.nodules.measurement import measure_nodule
from inference.types import Abstention, CtVolume
from inference.volumes.patches import PatchCentre
from training.data.marked_series import Index, MarkedSeries
from training.data.nodules import DataError, NoduleRow
from training.data.pasting import Attachment, LungPlaces, insert_nodule
from training.data.series_io import read_scan
from training.fitting.filter_samples import CropNodule

PER_SCAN = 8
"""Nodules pasted into a volume at once, far enough apart not to change each other's surroundings."""
APART_MM = 45.0
MAX_DRAWS = 60
"""Random positions drawn for a nodule before it is left to the next copy of the volume."""
HIT_MM = 5.0
"""A candidate finds a nodule within this distance, or within the radius, of its centre."""
MERGE_MM = 5.0
MEASURED_ABOVE = 0.5
"""Candidates from this probability on are measured and may be excluded; operating points lie above."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates of one volume after merging: ``(n, 3)`` indices, and the filter's nodule probabilities."""

    indices: Array
    probabilities: Array


@dataclass(frozen=True, slots=True)
class Target:
    """A nodule that should be found, with the probability of the candidate that found it (0: none did)."""

    patient_id: str
    series: str
    diameter_mm: float
    attachment: str
    probability: float


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Result of one series: ``others`` are probabilities of candidates away from all marks, None if not known."""

    series: str
    others: Array | None
    marks: tuple[Target, ...]
    inserted: tuple[Target, ...]


def fold_ensemble(bundle: Bundle, run: Path | None, fold: int) -> Ensemble:
    """Return the ensemble with the networks of one fold of ``training.train --folds``; without a run the bundle's own.

    Raises
    ------
    DataError
        The run lacks a network of that fold.
    """
    device = torch.device("cpu")
    if run is None or fold < 0:
        return Ensemble(bundle, device)
    weights: dict[str, torch.Tensor] = {}
    count = dict.fromkeys((m["group"] for m in bundle.recipe["members"]), 0)
    for member in bundle.recipe["members"]:
        group = member["group"]
        path = run / "checkpoints" / f"{group}-{count[group]}-{fold}.pt"
        count[group] += 1
        if not path.is_file():
            raise DataError(f"{path.parent} has no networks of fold {fold}: train with --folds")
        state = torch.load(path, weights_only=True, map_location="cpu")
        weights |= {f"{member['prefix']}.{name}": tensor for name, tensor in state.items()}
    return Ensemble(replace(bundle, weights=weights), device)


def scored_candidates(volume: CtVolume, lungs: LungSegmentation, ensemble: Ensemble) -> Scored:
    """Return the candidates of a volume by descending probability; near ones are merged as in serving.

    Those that serving excludes by anatomy are left out, nodules among them; none is measured below ``MEASURED_ABOVE``.
    """
    limit = read_gate(ensemble.bundle.recipe, FilterThresholds).max_candidates
    indices = np.array([c.index for c in find_candidates(volume, lungs, limit=limit)]).reshape(-1, 3)
    p = ensemble.answer_at(volume, [PatchCentre((i[0], i[1], i[2])) for i in indices]).probabilities
    chosen: list[int] = []
    for i in np.argsort(-p, kind="stable"):
        apart_mm = np.linalg.norm((indices[chosen] - indices[i]) * volume.spacing_mm, axis=1)
        if (apart_mm > MERGE_MM).all():
            chosen.append(int(i))
    chosen = [i for i in chosen if p[i] < MEASURED_ABOVE or not _is_excluded(volume, lungs, indices[i])]
    return Scored(indices[chosen], p[chosen])


def _is_excluded(volume: CtVolume, lungs: LungSegmentation, index: Array) -> bool:
    measure = measure_nodule(volume, (index[0], index[1], index[2]))
    return not isinstance(measure, Abstention) and exclusion_of(volume, lungs, measure) is not None


def probability_at(scored: Scored, volume: CtVolume, index: Index, diameter_mm: float) -> float:
    """Return the highest probability of a candidate that finds the nodule around ``index``, or 0."""
    apart_mm = np.linalg.norm((scored.indices - np.array(index)) * volume.spacing_mm, axis=1)
    near = scored.probabilities[apart_mm <= max(diameter_mm / 2, HIT_MM)]
    return float(near.max()) if len(near) else 0.0


def scan_result(series: MarkedSeries, nodules: list[CropNodule], ensemble: Ensemble, *, seed: int) -> ScanResult:
    """Score a series as it is, and copies of it with ``nodules`` pasted at the three kinds of attachment in turn."""
    volume = read_scan(series.source)
    lungs = _lungs(volume, series)
    scored = scored_candidates(volume, lungs, ensemble)
    marks = tuple(
        Target(series.patient_id, series.patient_id, m.diameter_mm, "mark",
               probability_at(scored, volume, m.index(volume), m.diameter_mm))
        for m in series.marks if m.is_nodule
    )  # fmt: skip
    if not series.is_fully_read:
        return ScanResult(series.patient_id, None, marks, ())
    others = scored.probabilities[outside_marks(series, volume, scored.indices)]
    inserted: list[Target] = []
    for copy, placed in _copies(series, volume, lungs, nodules, np.random.default_rng(seed)):
        rescored = scored_candidates(copy, _lungs(copy, series), ensemble)
        inserted += [
            Target(row.patient_id, series.patient_id, row.diameter_mm, str(attachment),
                   probability_at(rescored, copy, index, row.diameter_mm))
            for row, attachment, index in placed
        ]  # fmt: skip
    return ScanResult(series.patient_id, others, marks, tuple(inserted))


def _lungs(volume: CtVolume, series: MarkedSeries) -> LungSegmentation:
    lungs = segment_lungs(volume)
    if isinstance(lungs, Abstention):
        raise DataError(f"{series.source.name}: {lungs.text}")
    return lungs


def outside_marks(series: MarkedSeries, volume: CtVolume, indices: Array) -> NDArray[np.bool_]:
    """Return which candidates find no mark, of however many readers."""
    outside = np.ones(len(indices), dtype=bool)
    for mark in series.marks:
        apart_mm = np.linalg.norm((indices - np.array(mark.index(volume))) * volume.spacing_mm, axis=1)
        outside &= apart_mm > max(mark.diameter_mm / 2, HIT_MM)
    return outside


Placed = tuple[NoduleRow, Attachment, Index]


def _copies(
    series: MarkedSeries,
    volume: CtVolume,
    lungs: LungSegmentation,
    nodules: list[CropNodule],
    rng: np.random.Generator,
) -> Iterator[tuple[CtVolume, list[Placed]]]:
    """Generate copies of a volume with up to ``PER_SCAN`` nodules each, until all that fit are pasted."""
    places = LungPlaces.of(volume, lungs)
    kinds = list(Attachment)
    offset = int(rng.integers(len(kinds)))
    waiting = [(nodule, kinds[(number + offset) % len(kinds)]) for number, nodule in enumerate(nodules)]
    while waiting:
        copy = CtVolume(volume.volume_hu.copy(), volume.spacing_mm, volume.affine)
        placed: list[Placed] = []
        remaining: list[tuple[CropNodule, Attachment]] = []
        for nodule, attachment in waiting:
            index = None
            if len(placed) < PER_SCAN:
                index = _free_index(
                    series, volume, [p[2] for p in placed], places.draws(attachment, nodule.row.diameter_mm / 2, rng)
                )
            if index is None:
                remaining.append((nodule, attachment))
                continue
            patch, weight = nodule.at_slices_of(volume)
            insert_nodule(copy, patch, weight, index)
            placed.append((nodule.row, attachment, (float(round(index[0])), index[1], index[2])))
        if not placed:
            return  # no free position for the rest
        yield copy, placed
        waiting = remaining


def _free_index(series: MarkedSeries, volume: CtVolume, taken: list[Index], draws: Iterator[Index]) -> Index | None:
    """Return a drawn index away from marks and from what the copy holds already; None after ``MAX_DRAWS``."""
    for index in islice(draws, MAX_DRAWS):
        is_apart = all(
            np.linalg.norm((np.array(index) - np.array(other)) * volume.spacing_mm) > APART_MM for other in taken
        )
        if is_apart and series.away_from_marks(volume, np.array([index]))[0]:
            return index
    return None
