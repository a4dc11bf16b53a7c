"""Reader for folders of nodule crops (NIfTI in HU, readers' ratings) or a user's own series."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from inference.types import CtVolume
from inference.volumes.patches import Patch, cut_patch
from training.data.own_data import TABLE, is_own_data, own_digest, read_own_crop, read_own_rows
from training.data.records import DataError, NoduleCrop, NoduleRow

__all__ = [
    "DataError",
    "NoduleCrop",
    "NoduleRow",
    "content_digest",
    "crop_digest",
    "crop_patch",
    "nodule_folder",
    "read_crop",
    "read_rows",
]


def nodule_folder(data: Path) -> Path:
    """Return the folder with ``nodules.csv`` or ``labels.csv``: ``data`` itself, or its ``lidc_idri_nodules``."""
    if is_own_data(data):
        return data
    for folder in (data, data / "lidc_idri_nodules"):
        if (folder / "labels.csv").is_file():
            return folder
    raise DataError(
        f"no labels.csv in {data} (or its lidc_idri_nodules), and no {TABLE}; see docs/data.md for the layout"
    )


def read_rows(data: Path) -> list[NoduleRow]:
    """Return all rows of ``labels.csv`` or ``nodules.csv``, with the ``split`` column unchanged."""
    folder = nodule_folder(data)
    if is_own_data(folder):
        return read_own_rows(folder)
    with (folder / "labels.csv").open(newline="") as file:
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


def rows_of(data: Path, split: str) -> list[NoduleRow]:
    """Return the rows of one split, or of ``all`` but ``e2e``.

    Raises
    ------
    DataError
        The split has no nodule.
    """
    rows = [row for row in read_rows(data) if (row.split != "e2e" if split == "all" else row.split == split)]
    if not rows:
        raise DataError(f"no nodule of the split {split!r} in {nodule_folder(data)}")
    return rows


def _read_nifti(path: Path) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Values ``(x, y, z)`` and their spacing in mm."""
    image = nib.Nifti1Image.from_filename(path)
    x, y, z = (float(v) for v in image.header.get_zooms()[:3])
    return np.asarray(image.dataobj), (x, y, z)


def crop_digest(folder: Path, row: NoduleRow) -> str:
    """Return the SHA-256 of shape and voxels of a crop, or of a user's series."""
    if is_own_data(folder):
        return own_digest(folder, row)
    return content_digest(_hu(_read_nifti(folder / "image" / row.file)[0]))


def content_digest(values: NDArray[Any]) -> str:
    """Return the SHA-256 of shape and values of an array."""
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _hu(stored: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.ascontiguousarray(stored.transpose(2, 1, 0)).astype(np.int16)


def read_crop(folder: Path, row: NoduleRow) -> NoduleCrop:
    """Load one crop and its mask; without a mask the crop's middle is the centre."""
    if is_own_data(folder):
        return read_own_crop(folder, row)
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
    """Return the patch around a crop's centre, with a box that ends at the crop's border."""
    return cut_patch(crop.volume, crop.centre, z_extent_mm=crop.z_extent_mm)
