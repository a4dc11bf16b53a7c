"""Measurements of nodules and surroundings at the readers' centre, by the functions used in serving."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.malignancy.ensemble import FEATURES, feature_vector
from inference.networks.planar import AttentionResNet
from inference.nodules.measurement import NoduleMeasure, measure_nodule
from inference.ood.attention_check import attention_in_lung
from inference.ood.surroundings import LIMITED, Surroundings, surroundings_of
from inference.types import Abstention
from inference.volumes.patch_views import ViewSpec
from training.data.nodules import NoduleCrop, NoduleRow, nodule_folder, read_crop

Job = tuple[Path, NoduleRow]
HELD_PERCENTILES = {"noise_hu": (0.5, 95.0), "grain": (0.5, 99.5), "lung_hu": (0.5, 99.5)}
"""Percentiles of the training crops within the gate; the long tail of noise is cut (ADR 0012)."""

ATTENTION_PERCENTILE = 0.5
"""Percentile of the training crops' attention in lung that the gate refuses."""


@dataclass(frozen=True, slots=True)
class MeasuredCrop:
    """A research crop with its measurement by the service, or None."""

    crop: NoduleCrop
    measure: NoduleMeasure | None


def measured_crop(job: Job) -> MeasuredCrop:
    """Read one crop and measure the nodule at the readers' centre."""
    crop = read_crop(*job)
    measure = measure_nodule(crop.volume, crop.centre)
    return MeasuredCrop(crop, None if isinstance(measure, Abstention) else measure)


def measured_crops(data: Path, rows: list[NoduleRow], *, workers: int = 2) -> list[MeasuredCrop]:
    """Read and measure many crops."""
    folder = nodule_folder(data)
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(measured_crop, [(folder, row) for row in rows], chunksize=8))


def features_of(measures: Sequence[NoduleMeasure | None]) -> NDArray[np.float64]:
    """``(n, len(FEATURES))``; a row of NaN where nothing could be measured."""
    unknown = np.full(len(FEATURES), np.nan)
    rows = [unknown if measure is None else feature_vector(measure.features()) for measure in measures]
    return np.array(rows).reshape(len(rows), len(FEATURES))


def _features(job: Job) -> NDArray[np.float64]:
    return features_of([measured_crop(job).measure])[0]


def measured_features(data: Path, rows: list[NoduleRow], *, workers: int = 2) -> NDArray[np.float64]:
    """Return ``features_of`` the nodules of these rows, without storing their crops."""
    folder = nodule_folder(data)
    with ProcessPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(_features, [(folder, row) for row in rows], chunksize=8)))


def attention_limit(
    data: Path, rows: list[NoduleRow], member: tuple[ViewSpec, AttentionResNet], *, workers: int = 2
) -> float:
    """Return the share of attention in lung that all but ``ATTENTION_PERCENTILE`` of these crops reach."""
    shares = [
        attention_in_lung(member, measured.crop.volume, measured.measure.center_index, measured.measure.mask,
                          measured.measure.mask_box)
        for measured in measured_crops(data, rows, workers=workers)
        if measured.measure is not None
    ]  # fmt: skip
    return float(np.percentile(shares, ATTENTION_PERCENTILE)) if shares else 0.0


def _surroundings(job: Job) -> Surroundings | None:
    crop = read_crop(*job)
    return surroundings_of(crop.volume, crop.centre)


def surroundings_limits(data: Path, rows: list[NoduleRow], *, workers: int = 2) -> dict[str, list[float]]:
    """Return limits of each surroundings measure that contain ``HELD_PERCENTILES`` of these crops."""
    folder = nodule_folder(data)
    with ProcessPoolExecutor(workers) as pool:
        measured = list(pool.map(_surroundings, [(folder, row) for row in rows], chunksize=8))
    limits = {}
    for measure in LIMITED:
        values = np.array([getattr(lung, measure) for lung in measured if lung is not None])
        if len(values):
            low, high = np.percentile(values, HELD_PERCENTILES[measure])
            limits[measure] = [float(low), float(high)]
    return limits
