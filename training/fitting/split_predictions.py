"""Predictions of a bundle for every sample of a split, with labels: the basis of all metrics and plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from inference.bundle import Bundle
from inference.malignancy.ensemble import Ensemble, EnsembleAnswer, combine
from inference.nodules.measurement import Density, NoduleMeasure
from inference.slices.slice_classifier import SliceClassifier
from inference.volumes.patches import PATCH_SPACING_MM, Patch
from training.data.features import MeasuredCrop, features_of
from training.data.nodules import DataError, crop_patch
from training.data.slices import read_full_picture, read_slices, slice_folder, thumbnail_scores
from training.fitting.tasks import read_filter_task

Array = NDArray[np.float64]
DENSITIES = tuple(Density)
DARK_BELOW = 30
"""Grey value limit (0..255) of a baseline that depends on window and patient, not on nodules."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Parallel columns, one value a sample.

    Parameters
    ----------
    labels, labelled
        What is true, and whether it counts (a nodule with a mean rating of 3 has no label).
    groups
        Patients or clusters; the bootstrap draws whole ones.
    before, after
        Probability of the positive class around the calibrator.
    columns
        Further values of each sample: baselines, sizes, spacings, ratings.
    """

    labels: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    groups: NDArray[np.str_]
    before: Array
    after: Array
    columns: dict[str, Array]
    margins: Array = field(default_factory=lambda: np.zeros((0, 0)))
    """Margin of each network, ``(members, n)``; empty for a single network."""
    features: Array = field(default_factory=lambda: np.zeros((0, 0)))
    """Measured features, ``(n, len(FEATURES))``; empty if the bundle uses none."""

    def where(self, chosen: NDArray[np.bool_]) -> Answers:
        """Return the selected samples."""
        return Answers(
            self.labels[chosen],
            self.labelled[chosen],
            self.groups[chosen],
            self.before[chosen],
            self.after[chosen],
            {name: values[chosen] for name, values in self.columns.items()},
            self.margins[:, chosen] if self.margins.size else self.margins,
            self.features[chosen] if self.features.size else self.features,
        )


def assessed(ensemble: Ensemble, patches: list[Patch], measures: list[NoduleMeasure | None]) -> EnsembleAnswer:
    """Return the malignancy ensemble's answer for patches and their measurements."""
    return ensemble.answer(patches, features_of(measures))


def nodule_answers(bundle: Bundle, crops: list[MeasuredCrop], device: torch.device) -> Answers:
    """Return malignancy at the readers' centres; ``columns`` hold both diameters, density, spacings and ratings."""
    rows = [measured.crop.row for measured in crops]
    patches, measures = [crop_patch(measured.crop) for measured in crops], [measured.measure for measured in crops]
    margins, features = Ensemble(bundle, device).margins(patches), features_of(measures)
    answer = combine(margins, bundle.recipe, features)
    columns = {
        "diameter_mm": [row.diameter_mm for row in rows],
        "automatic_diameter_mm": [measured.measure.longest_mm if measured.measure else 0.0 for measured in crops],
        "density": [DENSITIES.index(measured.measure.density) if measured.measure else -1.0 for measured in crops],
        "slice_mm": [row.slice_mm for row in rows],
        "pixel_mm": [row.pixel_mm for row in rows],
        "mean_rating": [row.mean_malignancy for row in rows],
        "rating_spread": [float(np.std(row.ratings)) if row.ratings else np.nan for row in rows],
        "ratings_ok": [float(row.ratings_ok) for row in rows],
    }
    return Answers(
        labels=np.array([row.is_malignant for row in rows]),
        labelled=np.array([row.is_labelled for row in rows]),
        groups=np.array([row.patient_id for row in rows]),
        before=answer.uncalibrated,
        after=answer.probabilities,
        columns={name: np.array(values, dtype=np.float64) for name, values in columns.items()},
        margins=margins,
        features=features,
    )


def filter_answers(bundle: Bundle, data: Path, split: str, device: torch.device) -> Answers:
    """Return nodule probabilities, with brightness and contrast of each point as baselines."""
    task = read_filter_task(data, splits=(split,))
    chosen = np.flatnonzero(task.splits == split)
    if not len(chosen):
        raise DataError(f"no sample of the split {split!r} for the filter")
    patches = [task.patches[i] for i in chosen]
    answer = Ensemble(bundle, device).answer(patches)
    bright = np.array([_brightness(patch) for patch in patches])  # (n, 2)
    return Answers(
        labels=task.labels[chosen],
        labelled=task.labelled[chosen],
        groups=np.array(task.groups)[chosen],
        before=answer.uncalibrated,
        after=answer.probabilities,
        columns={"centre_hu": bright[:, 0], "contrast_hu": bright[:, 0] - bright[:, 1]},
    )


def _brightness(patch: Patch) -> tuple[float, float]:
    """Return the mean HU within 2 mm of the centre and in the ring of 4 to 8 mm around it, in the central plane."""
    plane = patch.hu[patch.hu.shape[0] // 2].astype(np.float64)
    rows, columns = (np.arange(n) - n // 2 for n in plane.shape)
    away_mm = np.hypot(rows[:, None] * PATCH_SPACING_MM[1], columns[None, :] * PATCH_SPACING_MM[2])
    return float(plane[away_mm <= 2].mean()), float(plane[(away_mm >= 4) & (away_mm <= 8)].mean())


def slice_answers(bundle: Bundle, data: Path, split: str, device: torch.device) -> Answers:
    """Return malignancy by image at its own size, as in serving; ``in_domain`` marks those answered."""
    slices = read_slices(data, len(bundle.recipe["classes"]))
    chosen = slices.splits == split if split != "all" else np.ones(len(slices.splits), dtype=bool)
    if not chosen.any():
        raise DataError(f"no picture of the split {split!r}")
    classifier = SliceClassifier(bundle, device)
    positive = slices.classes.index("malignant")
    folder = slice_folder(data)
    paths = [folder / name for name, is_chosen in zip(slices.names, chosen, strict=True) if is_chosen]
    predictions = [classifier.predict(read_full_picture(path)) for path in paths]
    labels = slices.labels[chosen] == positive
    return Answers(
        labels=labels,
        labelled=np.ones(len(labels), dtype=bool),
        groups=np.array(slices.clusters)[chosen],
        before=np.array([softmax(p.logits)[positive] for p in predictions]),
        after=np.array([p.probabilities["malignant"] for p in predictions]),
        columns={
            "dark_pixels": (slices.pictures[chosen] < DARK_BELOW).mean(axis=(1, 2)),
            "thumbnail": thumbnail_scores(slices, chosen),
            "in_domain": np.array([float(p.is_in_domain) for p in predictions]),
            "is_right": np.equal([int(np.argmax(p.logits)) for p in predictions], slices.labels[chosen]).astype(float),
        },
    )


def answered(everyone: Answers) -> Answers:
    """Return the samples that pass the gate.

    Raises
    ------
    DataError
        It refuses all.
    """
    given = everyone.columns["in_domain"] > 0
    if not given.any():
        raise DataError("the gate refuses every picture of the split")
    return everyone.where(given)
