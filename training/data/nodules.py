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
    "partly_read_folder",
    "partly_read_rows",
    "read_crop",
    "read_rows",
]

MIN_HU_FIT = 0.4
"""Lowest agreement of a restored grey scale with its neighbours; below, one nodule in five is wrong by over 25 HU."""
CROP_PIXELS = 44
CROP_MARGIN = 7
"""Crops of ``lidc_idri_nodules`` are 44 pixels wide, or the nodule's width and 7 on each side where that is more."""


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
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> NoduleRow:
    return NoduleRow(
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


def partly_read_folder(data: Path) -> Path | None:
    """Return ``lidc_idri_more`` beside ``lidc_idri_nodules``, whose nodules are trained on and never judged by."""
    folder = data / "lidc_idri_more"
    return folder if (folder / "labels.csv").is_file() and not is_own_data(data) else None


def partly_read_rows(data: Path) -> list[NoduleRow]:
    """Return the rows of ``partly_read_folder`` whose grey scale was restored well enough; none without the folder."""
    folder = partly_read_folder(data)
    if folder is None:
        return []
    with (folder / "labels.csv").open(newline="") as file:
        return [_row(line) for line in csv.DictReader(file) if float(line["hu_fit"] or 0.0) >= MIN_HU_FIT]


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
    """Load one crop and its mask (of any reader); without a mask the crop's middle is the centre."""
    if is_own_data(folder):
        return read_own_crop(folder, row)
    stored, spacing_xyz = _read_nifti(folder / "image" / row.file)
    hu = _hu(stored)
    spacing = (spacing_xyz[2], spacing_xyz[1], spacing_xyz[0])
    is_wide = (folder / "mask_any").is_dir()
    mask_path = folder / ("mask_any" if is_wide else "mask") / row.file
    mask = (_read_nifti(mask_path)[0].transpose(2, 1, 0) > 0) if mask_path.is_file() else np.zeros(hu.shape, dtype=bool)
    if is_wide:
        hu, mask = _as_narrow(hu, mask)
    if mask.any():
        z, y, x = (float(axis.mean()) for axis in np.nonzero(mask))
    else:
        z, y, x = ((n - 1) / 2 for n in hu.shape)
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    return NoduleCrop(row, CtVolume(hu, spacing, affine), mask, (z, y, x))


def _as_narrow(hu: NDArray[np.int16], mask: NDArray[np.bool_]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Cut a wide crop as ``lidc_idri_nodules`` was cut, so that the visible field does not tell the folder."""
    if not mask.any():
        return hu, mask
    cut = [slice(None)]
    for axis in (1, 2):
        voxels = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = int(voxels[0]), int(voxels[-1]) + 1
        width = max(CROP_PIXELS, high - low + 2 * CROP_MARGIN)
        start = (low + high - width) // 2
        cut.append(slice(max(0, start), start + width))
    return np.ascontiguousarray(hu[tuple(cut)]), np.ascontiguousarray(mask[tuple(cut)])


def crop_patch(crop: NoduleCrop) -> Patch:
    """Return the patch around a crop's centre, with a box that ends at the crop's border."""
    return cut_patch(crop.volume, crop.centre, z_extent_mm=crop.z_extent_mm)
