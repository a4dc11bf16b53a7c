"""Reads a whole CT series from a folder or a tar archive of DICOM files into a volume, for training on scans."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from inference.types import CtVolume
from training.nodules import DataError


def _datasets(source: Path) -> Iterator[pydicom.Dataset]:
    if source.is_dir():
        for path in sorted(source.rglob("*.dcm")):
            yield pydicom.dcmread(path)
        return
    with tarfile.open(source) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(".dcm") else None
            if file is not None:
                yield pydicom.dcmread(io.BytesIO(file.read()))


def read_scan(source: Path) -> CtVolume:
    """Order the axial slices of one series by position and convert them to HU; research data only, no gate."""
    placed = []
    for ds in _datasets(source):
        if "ImagePositionPatient" not in ds or "PixelData" not in ds:
            continue
        hu = ds.pixel_array.astype(np.float32) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        placed.append((float(ds.ImagePositionPatient[2]), ds.ImagePositionPatient, ds.PixelSpacing, hu))
    if len(placed) < 2:
        raise DataError(f"{source} holds no CT series")
    placed.sort(key=lambda item: item[0])
    volume_hu = np.clip(np.stack([item[3] for item in placed]), -1024, 3071).astype(np.int16)
    spacing = (
        float(np.median(np.diff([item[0] for item in placed]))),
        float(placed[0][2][0]),
        float(placed[0][2][1]),
    )
    x, y, z = (float(v) for v in placed[0][1])
    affine = np.array([[0, 0, spacing[2], x], [0, spacing[1], 0, y], [spacing[0], 0, 0, z], [0, 0, 0, 1]], dtype=float)
    return CtVolume(volume_hu, spacing, affine)
