"""Reads folders of nodule crops (NIfTI in HU, readers' ratings) into patches with labels and groups."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inference.patches import Patch, cut_patch
from inference.types import CtVolume


class DataError(Exception):
    """The data folder is not usable; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class NoduleRow:
    """One line of ``labels.csv``."""

    file: str
    patient_id: str
    diameter_mm: float
    mean_malignancy: float
    n_readers: int
    ratings_ok: bool
    slice_mm: float
    pixel_mm: float
    split: str
    ratings: tuple[float, ...] = ()
    """What each reader said, 1 to 5, where the table tells."""

    @property
    def is_labelled(self) -> bool:
        """Whether the readers lean to one side: mean rating not 3, ratings usable."""
        return self.ratings_ok and np.isfinite(self.mean_malignancy) and self.mean_malignancy != 3.0

    @property
    def is_malignant(self) -> bool:
        """Mean rating above 3."""
        return self.mean_malignancy > 3.0


@dataclass(frozen=True, slots=True)
class NoduleCrop:
    """One crop with its centre (slice, row, column) and the readers' consensus mask."""

    row: NoduleRow
    volume: CtVolume
    mask: NDArray[np.bool_]
    centre: tuple[float, float, float]


def nodule_folder(data: Path) -> Path:
    """The folder that holds ``labels.csv``: ``data`` itself or its ``lidc_idri_nodules``."""
    for folder in (data, data / "lidc_idri_nodules"):
        if (folder / "labels.csv").is_file():
            return folder
    raise DataError(f"no labels.csv in {data} (or its lidc_idri_nodules); see docs/data.md for the layout")


def read_rows(data: Path) -> list[NoduleRow]:
    """All rows of ``labels.csv``, the ``split`` column as it stands."""
    with (nodule_folder(data) / "labels.csv").open(newline="") as file:
        return [
            NoduleRow(
                file=line["file"],
                patient_id=line["patient_id"],
                diameter_mm=float(line["diameter_mm"]),
                mean_malignancy=float(line["mean_malignancy"] or "nan"),
                n_readers=int(float(line["n_readers"] or 0)),
                ratings_ok=line["ratings_ok"].strip().lower() in {"true", "1"},
                slice_mm=float(line["slice_mm"]),
                pixel_mm=float(line["pixel_mm"]),
                split=line["split"],
                ratings=tuple(float(r) for r in line.get("reader_malignancy_ratings", "").split("/") if r),
            )
            for line in csv.DictReader(file)
        ]


def _read_nifti(path: Path) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Values ``(x, y, z)`` and their spacing in mm."""
    image = nib.Nifti1Image.from_filename(path)
    x, y, z = (float(v) for v in image.header.get_zooms()[:3])  # type: ignore[no-untyped-call]
    return np.asarray(image.dataobj), (x, y, z)


def read_crop_hu(folder: Path, file: str) -> NDArray[np.int16]:
    """Voxels of one crop, (slice, row, column), HU."""
    return _hu(_read_nifti(folder / "image" / file)[0])


def _hu(stored: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.ascontiguousarray(stored.transpose(2, 1, 0)).astype(np.int16)


def read_crop(folder: Path, row: NoduleRow) -> NoduleCrop:
    """Load one crop and its mask; without a mask the crop's middle is the centre."""
    stored, spacing_xyz = _read_nifti(folder / "image" / row.file)
    hu = _hu(stored)
    spacing = (spacing_xyz[2], spacing_xyz[1], spacing_xyz[0])
    mask_path = folder / "mask" / row.file
    mask = (_read_nifti(mask_path)[0].transpose(2, 1, 0) > 0) if mask_path.is_file() else np.zeros(hu.shape, dtype=bool)
    if mask.any():
        z, y, x = (float(axis.mean()) for axis in np.nonzero(mask))
    else:
        z, y, x = ((n - 1) / 2 for n in hu.shape)
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    return NoduleCrop(row, CtVolume(hu, spacing, affine), mask, (z, y, x))


def crop_patch(crop: NoduleCrop) -> Patch:
    """The patch around a crop's centre, its box ending where the crop ends."""
    return cut_patch(crop.volume, crop.centre)
