"""Samples of the filter task: research crops, and whole series with nodules pasted into them.

Both sources hold both classes, so that the source does not reveal the class. Every fold belongs to one fully read
series: what is measured without a fold has seen neither that series nor the patients whose nodules are pasted into it.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.lungs.search_region import LungSegmentation, segment_lungs
from inference.nodules.candidates import find_candidates
from inference.types import Abstention, CtVolume
from inference.volumes.patches import Patch, cut_patch
from training.data.marked_series import Index, MarkedSeries
from training.data.nodules import DataError, NoduleRow, crop_patch, read_crop
from training.data.pasting import (
    Attachment,
    LungPlaces,
    at_slice_distance,
    dense_points,
    nodule_weight,
    paste,
    with_contrast,
)
from training.data.series_io import read_scan
from training.data.splits import group_folds

CANDIDATES = 500
"""Candidates of a series as negatives, strongest first: more than a scan's analysis filters."""
CONTRASTED = 150
"""As many of the strongest ones again, with synthetic contrast medium."""
DENSE_POINTS = 200
"""Random dense voxels of a series as negatives."""
PASTED_PER_NODULE = 3
"""Times that a nodule is pasted into the series of its fold: once at each kind of attachment."""
BLOBS_PER_CROP = 2
"""Bright blobs of a crop beside its nodule as negatives."""
CONTRAST_HU = 180.0
ENHANCEMENT = 0.2
"""Share of the blood's contrast that a nodule takes up: 15 to 60 HU in most (Swensen et al. 2000)."""


@dataclass(slots=True)
class FilterSamples:
    """Collector of the filter task's samples; ``fold`` is -1 for what no fold holds out."""

    patches: list[Patch] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)

    def add(self, patch: Patch, *, label: bool, name: str, group: str, split: str, fold: int) -> None:
        """Add a sample."""
        self.patches.append(patch)
        self.labels.append(label)
        self.names.append(name)
        self.groups.append(group)
        self.splits.append(split)
        self.folds.append(fold)


@dataclass(frozen=True, slots=True)
class CropNodule:
    """A nodule of a research crop, ready to be pasted: ``weight`` is each voxel's share that belongs to it."""

    row: NoduleRow
    patch: Patch
    weight: NDArray[np.float16]
    fold: int

    def at_slices_of(self, volume: CtVolume) -> tuple[Patch, NDArray[np.float32]]:
        """Return patch and weight as the slices of a volume would show them."""
        return at_slice_distance(self.patch, self.weight.astype(np.float32), self.row.slice_mm, volume.spacing_mm[0])


def patient_folds(rows: list[NoduleRow], folds: int, *, seed: int = 0) -> dict[str, int]:
    """Return the fold of each patient, with as many nodules in each fold."""
    patients = [row.patient_id for row in rows]
    return dict(zip(patients, group_folds(patients, [True] * len(rows), folds=folds, seed=seed).tolist(), strict=True))


def read_crop_nodules(
    folder: Path, rows: list[NoduleRow], folds: int, *, workers: int
) -> list[tuple[CropNodule, list[Patch]]]:
    """Return each row's nodule, and the patches around bright blobs beside it."""
    jobs, fold_of = [(folder, row) for row in rows], patient_folds(rows, folds)
    with ProcessPoolExecutor(workers) as pool:
        nodules = list(pool.map(_nodule_with_weight, jobs, chunksize=8))
        blobs = list(pool.map(_distractors, jobs, chunksize=8))
    return [
        (CropNodule(row, patch, weight, fold_of[row.patient_id]), distractors)
        for row, (patch, weight), distractors in zip(rows, nodules, blobs, strict=True)
    ]


def _nodule_with_weight(job: tuple[Path, NoduleRow]) -> tuple[Patch, NDArray[np.float16]]:
    """Return a nodule's patch and its nodule weights."""
    crop = read_crop(*job)
    return crop_patch(crop), nodule_weight(crop).astype(np.float16)


def _distractors(job: tuple[Path, NoduleRow]) -> list[Patch]:
    """Return patches around bright blobs of a crop away from its nodule, mostly vessels."""
    crop = read_crop(*job)
    spacing = np.array(crop.volume.spacing_mm)
    hu = np.clip(crop.volume.volume_hu, -1000, 200).astype(np.float32)
    fine, coarse = (ndi.gaussian_filter(hu, sigma / spacing) for sigma in (1.2, 2.4))
    blobs = fine - coarse
    distance = ndi.distance_transform_edt(~crop.mask, sampling=spacing) if crop.mask.any() else np.full(hu.shape, 99.0)
    peaks = (blobs == ndi.maximum_filter(blobs, size=5)) & (blobs > 60) & (distance > 5.0)
    points = sorted((tuple(p) for p in np.argwhere(peaks)), key=lambda p: -blobs[p])[:BLOBS_PER_CROP]
    return [cut_patch(crop.volume, (float(p[0]), float(p[1]), float(p[2]))) for p in points]


def add_crops(samples: FilterSamples, crops: list[tuple[CropNodule, list[Patch]]]) -> None:
    """Add nodules of research crops and the blobs beside them."""
    for nodule, blobs in crops:
        row = nodule.row
        samples.add(nodule.patch, label=True, name=row.file, group=row.patient_id, split=row.split, fold=nodule.fold)
        for number, blob in enumerate(blobs):
            name = f"{row.file}:beside:{number}"
            samples.add(blob, label=False, name=name, group=row.patient_id, split=row.split, fold=nodule.fold)


def add_series(samples: FilterSamples, series: MarkedSeries, nodules: list[CropNodule], fold: int) -> None:
    """Add the marked nodules of a series and, where it is fully read, negatives of it and nodules pasted into it."""
    volume = read_scan(series.source)
    add_marks(samples, series, volume, fold)
    if not series.is_fully_read:
        return
    lungs = segment_lungs(volume)
    if isinstance(lungs, Abstention):
        raise DataError(f"{series.source.name}: {lungs.text}")
    rng = np.random.default_rng(fold)
    volumes = (volume, with_contrast(volume, lungs, CONTRAST_HU))
    _add_negatives(samples, series, volumes, lungs, fold, rng)
    places = LungPlaces.of(volume, lungs)
    for nodule in nodules:
        if nodule.fold == fold:
            _add_pasted(samples, series, volumes, places, nodule, rng)


def add_marks(samples: FilterSamples, series: MarkedSeries, volume: CtVolume, fold: int) -> None:
    """Add the marks that are nodules; those of too few readers are neither class."""
    for number, mark in enumerate(series.marks):
        if mark.is_nodule:
            name, patch = f"{series.patient_id}:mark:{number}", cut_patch(volume, mark.index(volume))
            samples.add(patch, label=True, name=name, group=series.patient_id, split=series.split, fold=fold)


def _add_negatives(
    samples: FilterSamples,
    series: MarkedSeries,
    volumes: tuple[CtVolume, CtVolume],
    lungs: LungSegmentation,
    fold: int,
    rng: np.random.Generator,
) -> None:
    """Add candidates and dense points away from all marks; the strongest candidates also with contrast medium."""
    native, contrasted = volumes
    candidates: list[Index] = [c.index for c in find_candidates(native, lungs, limit=CANDIDATES)]
    points = [(native, index) for index in candidates]
    points += [(contrasted, index) for index in candidates[:CONTRASTED]]
    points += [(volumes[rng.integers(2)], index) for index in dense_points(native, lungs, DENSE_POINTS, rng)]
    is_away = series.away_from_marks(native, np.array([index for _, index in points]))
    for number, (volume, index) in enumerate(points):
        if is_away[number]:
            name, patch = f"{series.patient_id}:{number}", cut_patch(volume, index)
            samples.add(patch, label=False, name=name, group=series.patient_id, split=series.split, fold=fold)


def _add_pasted(
    samples: FilterSamples,
    series: MarkedSeries,
    volumes: tuple[CtVolume, CtVolume],
    places: LungPlaces,
    nodule: CropNodule,
    rng: np.random.Generator,
) -> None:
    """Add a nodule pasted at each kind of attachment that has room for it, with and without contrast medium."""
    patch, weight = nodule.at_slices_of(volumes[0])
    for attachment in list(Attachment)[:PASTED_PER_NODULE]:
        index = next(places.draws(attachment, nodule.row.diameter_mm / 2, rng), None)
        if index is None or not series.away_from_marks(volumes[0], np.array([index]))[0]:
            continue
        with_medium = int(rng.integers(2))
        added_hu = with_medium * ENHANCEMENT * CONTRAST_HU * rng.uniform(0.0, 2.0)
        enhanced = Patch((patch.hu.astype(np.float32) + added_hu).astype(np.float16), patch.low_mm, patch.high_mm)
        pasted = paste(cut_patch(volumes[with_medium], index), enhanced, weight)
        samples.add(
            pasted,
            label=True,
            name=f"{nodule.row.file}:{series.patient_id}:{attachment}",
            group=nodule.row.patient_id,
            split=nodule.row.split,
            fold=nodule.fold,
        )
