"""What is measured of nodules and their surroundings, at the readers' centre, by the very functions that serve."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.domain import LIMITED, Surroundings, surroundings_of
from inference.ensemble import FEATURES, feature_vector
from inference.segmentation import measure_nodule
from inference.types import Abstention
from training.nodules import NoduleRow, nodule_folder, read_crop


def _measured(job: tuple[Path, NoduleRow]) -> NDArray[np.float64]:
    crop = read_crop(*job)
    measure = measure_nodule(crop.volume, crop.centre)
    return np.full(len(FEATURES), np.nan) if isinstance(measure, Abstention) else feature_vector(measure.features())


def _surroundings(job: tuple[Path, NoduleRow]) -> Surroundings | None:
    crop = read_crop(*job)
    return surroundings_of(crop.volume, crop.centre)


def surroundings_limits(data: Path, rows: list[NoduleRow], *, workers: int = 2) -> dict[str, list[float]]:
    """Limits of each measure of ``inference.domain`` that hold 99 % of these crops."""
    folder = nodule_folder(data)
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(_surroundings, [(folder, row) for row in rows], chunksize=8))
    limits = {}
    for measure in LIMITED:
        values = np.array([getattr(one, measure) for one in found if one is not None])
        if len(values):
            low, high = np.percentile(values, [0.5, 99.5])
            limits[measure] = [float(low), float(high)]
    return limits


def measured_features(data: Path, rows: list[NoduleRow], *, workers: int = 2) -> NDArray[np.float64]:
    """``(n, len(FEATURES))``; a row of NaN where nothing could be measured."""
    folder = nodule_folder(data)
    with ProcessPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(_measured, [(folder, row) for row in rows], chunksize=8)))
