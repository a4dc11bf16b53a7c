"""Reader for CT series (folder or tar archive of DICOM files) into volumes with true geometry, for training.

Serving reads series in ``dicom_node``, which training does not know; what it refuses there is refused here too, and the
volumes are the same voxel for voxel (a test compares them).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from inference.types import CtVolume
from training.data.records import DataError

HU_MIN, HU_MAX = -1024, 3071
SAME_POSITION_MM = 0.02
UNEVEN_MM, UNEVEN_SHARE = 0.1, 0.1
GAP = 1.5
"""A distance of more than this many typical ones is a gap."""
MAX_TILT_DEG = 2.0
MAX_OBLIQUE_DEG = 20.0


@dataclass(frozen=True, slots=True)
class Scan:
    """A series as a volume, slices from feet to head, with their identifiers."""

    volume: CtVolume
    sop_instance_uids: tuple[str, ...]
    instance_numbers: tuple[int | None, ...]

    def slice_index(self, name: str) -> int | None:
        """Return the slice of a SOP Instance UID or Instance Number; None without a unique match."""
        matches = [i for i, uid in enumerate(self.sop_instance_uids) if uid == name]
        if not matches and name.isdigit():
            matches = [i for i, number in enumerate(self.instance_numbers) if number == int(name)]
        return matches[0] if len(matches) == 1 else None


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield path.name, path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _images(source: Path, series_instance_uid: str | None) -> list[pydicom.Dataset]:
    """Return the CT images of one series; files that are not DICOM are skipped, broken ones are errors."""
    images = []
    for name, content in _files(source):
        if content[128:132] != b"DICM":
            continue
        try:
            ds = pydicom.dcmread(io.BytesIO(content))
        except Exception as error:
            raise DataError(f"{name} in {source} cannot be read") from error
        is_requested = series_instance_uid is None or ds.get("SeriesInstanceUID") == series_instance_uid
        if is_requested and "PixelData" in ds and "LOCALIZER" not in (ds.get("ImageType") or ()):
            images.append(ds)
    return images


@lru_cache(maxsize=4)
def series_folders(folder: Path) -> dict[str, Path]:
    """Map each SeriesInstanceUID to its folder in ``folder``, by the first DICOM file of each."""
    matches: dict[str, Path] = {}
    for subfolder in sorted(p for p in folder.rglob("*") if p.is_dir()):
        for path in sorted(p for p in subfolder.iterdir() if p.is_file()):
            with path.open("rb") as file:
                if file.read(132)[128:] != b"DICM":
                    continue
            matches.setdefault(
                str(pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID), subfolder
            )
    return matches


def read_scan(source: Path) -> CtVolume:
    """Return the volume of ``read_series``."""
    return read_series(source).volume


def read_series(source: Path, *, series_instance_uid: str | None = None) -> Scan:
    """Return the axial slices of one series, ordered by position and converted to HU.

    Raises
    ------
    DataError
        Not one regular stack of axial CT slices: what is wrong, in words that hold no value of a dataset.
    """
    images = _images(source, series_instance_uid)
    if len(images) < 2:
        raise DataError(f"{source} holds no CT series")
    if len({str(ds.get("SeriesInstanceUID")) for ds in images}) > 1:
        raise DataError(f"{source} holds several series: name one by its SeriesInstanceUID")
    try:
        return _stack(images)
    except _UnfitError as error:
        raise DataError(f"{source}: {error}") from error


class _UnfitError(Exception):
    """The images form no volume."""


def _stack(images: Sequence[pydicom.Dataset]) -> Scan:
    positions, cosines, spacing = _geometry(images)
    normal = np.cross(cosines[:3], cosines[3:])
    if abs(normal[2]) < np.cos(np.radians(MAX_OBLIQUE_DEG)):
        raise _UnfitError("the slices are not axial")
    normal = normal if normal[2] > 0 else -normal
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along, images = positions[order], along[order], [images[i] for i in order]
    step = _regular_step(positions, along, normal)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 3] = step, positions[0]
    affine[:3, 1], affine[:3, 2] = cosines[3:] * spacing[0], cosines[:3] * spacing[1]
    between = float((along[-1] - along[0]) / (len(along) - 1))
    volume = CtVolume(np.stack([_hu(ds) for ds in images]), (between, float(spacing[0]), float(spacing[1])), affine)
    numbers = [ds.get("InstanceNumber") for ds in images]
    return Scan(
        volume,
        tuple(str(ds.SOPInstanceUID) for ds in images),
        tuple(None if number is None else int(number) for number in numbers),
    )


def _geometry(
    images: Sequence[pydicom.Dataset],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return positions ``(n, 3)``, and the common orientation and pixel spacing."""
    for keyword, length in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        if any(len(ds.get(keyword) or ()) != length for ds in images):
            raise _UnfitError(f"images lack {keyword}")
    if len({(int(ds.Rows), int(ds.Columns)) for ds in images}) > 1:
        raise _UnfitError("the images differ in size")
    orientations = np.array([ds.ImageOrientationPatient for ds in images], dtype=float)
    spacings = np.array([ds.PixelSpacing for ds in images], dtype=float)
    if not np.allclose(orientations, orientations[0], atol=2e-3):
        raise _UnfitError("the images are oriented differently")
    if not np.allclose(spacings, spacings[0], rtol=1e-3) or spacings.min() <= 0:
        raise _UnfitError("the images differ in pixel spacing, or it is not positive")
    return np.array([ds.ImagePositionPatient for ds in images], dtype=float), orientations[0], spacings[0]


def _regular_step(
    positions: NDArray[np.float64], along: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the vector from slice to slice of a regular axial stack."""
    distances = np.diff(along)
    usual = float(np.median(distances))
    if distances.min() < SAME_POSITION_MM:
        raise _UnfitError("several images lie at the same position")
    if distances.max() > GAP * usual:
        raise _UnfitError("slices are missing: the stack has gaps")
    if np.abs(distances - usual).max() > max(UNEVEN_MM, UNEVEN_SHARE * usual):
        raise _UnfitError("the slices are not evenly spaced")
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    if step @ normal / np.linalg.norm(step) < np.cos(np.radians(MAX_TILT_DEG)):
        raise _UnfitError("the stack is sheared: it was acquired with a tilted gantry")
    return step


def _hu(ds: pydicom.Dataset) -> NDArray[np.int16]:
    """Return HU of one image (PS3.3 C.11.1): slope and intercept are required, padding becomes -1024."""
    if ds.get("RescaleSlope") is None or ds.get("RescaleIntercept") is None:
        raise _UnfitError("images lack Rescale Slope or Intercept")
    stored = ds.pixel_array.astype(np.int64)
    hu = np.rint(stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept))
    hu = np.clip(hu, HU_MIN, HU_MAX).astype(np.int16)
    padding = ds.get("PixelPaddingValue")
    if padding is not None:
        ends = [_as_stored(ds, int(v)) for v in (padding, ds.get("PixelPaddingRangeLimit", padding))]
        hu[(stored >= min(ends)) & (stored <= max(ends))] = HU_MIN
    return hu


def _as_stored(ds: pydicom.Dataset, value: int) -> int:
    """Return a padding value in the pixels' domain; writers often confuse US and SS."""
    wrapped = value % (1 << int(ds.BitsAllocated))
    signed = int(ds.PixelRepresentation) == 1 and wrapped >= 1 << (int(ds.BitsAllocated) - 1)
    return wrapped - (1 << int(ds.BitsAllocated)) if signed else wrapped
