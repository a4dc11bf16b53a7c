"""Training tasks: patches with labels, groups and folds, and the networks of each task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.engines.selection import torch_runner
from inference.malignancy.ensemble import network_margins, view_tensors
from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import Patch, sample_view
from inference.volumes.preprocessing import PreprocessingSpec
from training.data.augment import AugmentSpec, PatchBatch, random_view
from training.data.marked_series import read_marked_series
from training.data.nodules import (
    DataError,
    NoduleRow,
    crop_patch,
    nodule_folder,
    partly_read_folder,
    partly_read_rows,
    read_crop,
    read_rows,
)
from training.data.own_data import is_own_data
from training.fitting.filter_samples import FilterSamples, add_crops, add_series, read_crop_nodules
from training.loop import Schedule

LUNG_WINDOW = (-400.0, 1400.0)
CALCIUM_WINDOW = (300.0, 1400.0)
"""Second channel of the volumetric networks: -400 to 1000 HU, where calcification, a benign sign, is not clipped."""
SOFT_LABEL_SLOPE = 2.0
"""Target sigmoid(2 (mean rating - 3)): a mean of 3.25 is less certain than one of 5 (readers differ)."""


READERS_OF_LIDC = 4
"""Readers who looked at each scan of LIDC-IDRI (Armato et al. 2011)."""


@dataclass(frozen=True, slots=True)
class Group:
    """A kind of network in the ensemble, trained ``seeds`` times."""

    name: str
    description: dict[str, Any]
    view: ViewSpec
    schedule: Schedule
    seeds: int
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    partly_read: bool = False
    """Train on nodules that one or two readers marked too."""
    views: int | None = None
    """Number of samples to draw in all, whatever the size of the set; None: by the schedule's epochs."""

    def schedule_of(self, samples: int) -> Schedule:
        """Return the schedule for a set of so many samples."""
        return replace(self.schedule, epochs=max(1, round(self.views / samples))) if self.views else self.schedule

    def member(self, prefix: str) -> dict[str, Any]:
        """Return the recipe's description of one network; ``prefix`` names its weights."""
        return {**self.description, "prefix": prefix, "group": self.name, "view": self.view.to_json()}


@dataclass(slots=True)
class PatchTask:
    """Samples of one patch task, all in memory.

    ``targets`` are probabilities of class 1, ``weights`` those of the loss; ``labelled`` marks what counts for
    calibration and figures, ``partly_read`` what is only trained on.
    """

    name: str
    classes: tuple[str, str]
    names: list[str]
    patches: list[Patch]
    targets: NDArray[np.float32]
    labels: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    groups: list[str]
    splits: NDArray[np.str_]
    weights: NDArray[np.float32]
    partly_read: NDArray[np.bool_]
    folds: NDArray[np.int_] | None = None
    """The task's own folds, -1 for samples that every network sees; None: by groups, as many as are asked for."""

    def own_folds(self, count: int) -> NDArray[np.int_]:
        """Return the task's own fold of each sample.

        Raises
        ------
        DataError
            The task has none, or another number.
        """
        own = 0 if self.folds is None else int(self.folds.max()) + 1
        if self.folds is None or own != count:
            raise DataError(f"the task {self.name} has {own} folds of its own: use --folds {own}")
        return self.folds

    def targets_at(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the targets and weights of some samples on a device."""
        targets, weights = (torch.from_numpy(values)[indices.cpu()] for values in (self.targets, self.weights))
        return targets.to(device), weights.to(device)


@dataclass(slots=True)
class PatchSamples:
    """Training samples from patches, augmented on their device."""

    patches: PatchBatch
    targets: Tensor
    weights: Tensor
    view: ViewSpec
    augment: AugmentSpec

    def __len__(self) -> int:
        return len(self.patches)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return random views of the chosen patches, their soft targets and weights."""
        indices = indices.to(self.targets.device)
        views = random_view(self.patches[indices], self.view, self.augment, generator)
        return views, self.targets[indices], self.weights[indices]


def planar_group(preset: str, epochs: int, seeds: int, *, field_mm: float = 32.0, **augment: float) -> Group:
    """Return the group of the paper's network on one axial plane in the lung window."""
    window = PreprocessingSpec(field_mm=field_mm, window_center=LUNG_WINDOW[0], window_width=LUNG_WINDOW[1])
    return Group(
        "planar",
        {"kind": "planar", "preset": preset, "in_channels": 1},
        ViewSpec((window,)),
        Schedule(epochs=epochs),
        seeds,
        replace(AugmentSpec(), **augment),
    )


def volumetric_group(
    epochs: int, seeds: int, *, name: str = "volumetric", field_mm: float = 32.0, size: int = 32, **augment: float
) -> Group:
    """Return the group of the 3D network on a cube in two windows."""
    windows = tuple(
        PreprocessingSpec(field_mm=field_mm, size=size, window_center=c, window_width=w)
        for c, w in (LUNG_WINDOW, CALCIUM_WINDOW)
    )
    return Group(
        name,
        {"kind": "volumetric", "widths": [16, 32, 48, 64], "in_channels": 2},
        ViewSpec(windows, volumetric=True),
        Schedule(epochs=epochs),
        seeds,
        replace(AugmentSpec(), **augment),
    )


VIEWS = 24_000
"""Samples drawn for a network of the nodule task: 37 epochs of ``lidc_idri_nodules``, 15 with ``lidc_idri_more``."""


def nodule_groups(preset: str) -> list[Group]:
    """Return the groups of the malignancy task: the paper's network, a volumetric one, and one with a small field."""
    return [
        planar_group(preset, epochs=16, seeds=1),
        *(
            replace(group, partly_read=True, views=VIEWS)
            for group in (
                volumetric_group(epochs=30, seeds=1),
                volumetric_group(epochs=30, seeds=1, name="close", field_mm=20.0, size=24, shift_mm=0.7),
            )
        ),
    ]


def filter_groups(preset: str) -> list[Group]:
    """Return the group of the filter task: one small volumetric network."""
    del preset
    return [
        volumetric_group(
            epochs=8, seeds=1, field_mm=28.0, size=24, shift_mm=1.0, max_scale=0.15, max_tilt=0.6, min_box=0.4,
            noise_hu=60.0, offset_hu=15.0, blur_probability=0.4,
        )
    ]  # fmt: skip


def patch_margins(
    network: nn.Module, view: ViewSpec, patches: list[Patch], device: torch.device
) -> NDArray[np.float64]:
    """Return the margins ``(n,)`` of patches as the ensemble computes them (``inference.malignancy.ensemble``)."""
    samples = (sample_view(patch, shape=view.shape, field_mm=view.field_mm) for patch in patches)
    inputs = view_tensors(view, samples, 4, device)
    return network_margins(torch_runner(network, device), inputs).astype(np.float64)


GROUPS: dict[str, Callable[[str], list[Group]]] = {"nodule": nodule_groups, "filter": filter_groups}


def _read_patch(job: tuple[Path, NoduleRow]) -> Patch:
    return crop_patch(read_crop(*job))


def read_nodule_task(data: Path, *, workers: int = 2, with_partly_read: bool = False) -> PatchTask:
    """Read the malignancy task: every rated nodule, with soft targets from the mean rating.

    ``with_partly_read`` adds the nodules of ``lidc_idri_more``, most of them marked by one or two of four readers: they
    are trained on with the weight of their readers' share, and never labelled.
    """
    folder, rows = nodule_folder(data), read_rows(data)
    more = partly_read_rows(data) if with_partly_read else []
    jobs = [(folder, row) for row in rows] + [(partly_read_folder(data), row) for row in more]
    is_judged = np.arange(len(jobs)) < len(rows)
    rows = rows + more
    with ProcessPoolExecutor(workers) as pool:
        patches = list(pool.map(_read_patch, jobs, chunksize=8))
    rating, readers = np.array([(row.mean_malignancy, row.n_readers) for row in rows]).T
    usable = np.array([row.ratings_ok for row in rows]) & np.isfinite(rating)
    soft = 1 / (1 + np.exp(-SOFT_LABEL_SLOPE * (np.nan_to_num(rating, nan=3.0) - 3.0)))
    return PatchTask(
        name="nodule",
        classes=("benign", "malignant"),
        names=[row.file for row in rows],
        patches=patches,
        targets=soft.astype(np.float32),
        labels=rating > 3.0,
        labelled=np.array([row.is_labelled for row in rows]) & is_judged,
        usable=usable,
        groups=[row.patient_id for row in rows],
        splits=np.array([row.split for row in rows]),
        weights=np.where(is_judged, 1.0, np.minimum(1.0, readers / READERS_OF_LIDC)).astype(np.float32),
        partly_read=~is_judged,
    )


def scan_sources(data: Path) -> list[Path]:
    """Return series without nodules under ``lidc_idri_dicom``, whose candidates are false positives."""
    folder = data / "lidc_idri_dicom"
    series = sorted(folder.glob("LIDC-IDRI-0306*"))
    if not series:
        raise DataError(f"no nodule-free series LIDC-IDRI-0306 in {folder}; see docs/data.md for the layout")
    return series[:1]


def read_filter_task(data: Path, *, workers: int = 2, splits: tuple[str, ...] = ("train", "val")) -> PatchTask:
    """Read the filter task, see ``training.fitting.filter_samples``.

    Its folds are one for each fully read series: ``--folds`` must be as many.
    """
    folder = nodule_folder(data)
    if is_own_data(folder):
        raise DataError(
            "the filter is not trained on own series, whose other nodules are not marked: recalibrate it, "
            "with training.calibrate --from-database"
        )
    rows = [row for row in read_rows(data) if row.split in splits]
    series = read_marked_series(data) if "train" in splits else []
    fold_of = {one.patient_id: fold for fold, one in enumerate(s for s in series if s.is_fully_read)}
    crops = read_crop_nodules(folder, rows, max(len(fold_of), 1), workers=workers)
    samples = FilterSamples()
    add_crops(samples, crops)
    for one in series:
        add_series(samples, one, [nodule for nodule, _ in crops], fold_of.get(one.patient_id, -1))
    labels = np.array(samples.labels)
    everything = np.ones(len(labels), dtype=bool)
    return PatchTask(
        name="filter",
        classes=("not_nodule", "nodule"),
        names=samples.names,
        patches=samples.patches,
        targets=labels.astype(np.float32),
        labels=labels,
        labelled=everything,
        usable=everything,
        groups=samples.groups,
        splits=np.array(samples.splits),
        weights=np.ones(len(labels), dtype=np.float32),
        partly_read=~everything,
        folds=np.array(samples.folds) if fold_of else None,
    )


READERS: dict[str, Callable[..., PatchTask]] = {
    "nodule": partial(read_nodule_task, with_partly_read=True),
    "filter": read_filter_task,
}
