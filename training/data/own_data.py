"""A user's own data: ``nodules.csv`` beside folders of DICOM series, cut as serving cuts a marked place.

The columns stand in docs/data.md. A series is read whole, the nodule measured from the marked centre, and its patch cut
around the measured centre with the depth of its measured size, so that training and serving look at the same.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from inference.nodules.measurement import NoduleMeasure, measure_nodule
from inference.types import Abstention
from inference.volumes.patches import z_extent_of
from training.data.records import DataError, NoduleCrop, NoduleRow
from training.data.series_io import Scan, read_series, series_folders

TABLE = "nodules.csv"
SPLIT_SHARES = (("train", 0.70), ("val", 0.85), ("test", 1.00))
"""Cumulative shares of patients of the splits, if the table names none."""
Line = dict[str, str]


def is_own_data(folder: Path) -> bool:
    """Return whether ``folder`` has a user's own table."""
    return (folder / TABLE).is_file()


def split_of(patient_id: str) -> str:
    """Return the split of a patient, by a hash of its id, so that additions change no other patient's split."""
    share = int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:4], "big") / 2**32
    return next(name for name, upto in SPLIT_SHARES if share < upto)


@lru_cache(maxsize=4)
def read_own_rows(folder: Path, workers: int = 2) -> list[NoduleRow]:
    """Return all measured nodules of the table; those that cannot be measured are reported and left out.

    Raises
    ------
    DataError
        A column, a series or a value is missing or wrong; the message names the line.
    """
    lines = _lines(folder)
    by_series: dict[str, list[tuple[int, Line]]] = {}
    for number, line in lines:
        by_series.setdefault(line["series"], []).append((number, line))
    with ProcessPoolExecutor(workers) as pool:
        measured = list(pool.map(partial(_measured_rows, folder), list(by_series), list(by_series.values())))
    return sorted((row for rows in measured for row in rows), key=lambda row: int(row.file.rsplit("#", 1)[1]))


def read_own_crop(folder: Path, row: NoduleRow) -> NoduleCrop:
    """Return the series around one nodule, with the centre and depth used in serving."""
    number = int(row.file.rsplit("#", 1)[1])
    line = dict(_lines(folder))[number]
    scan = _scan(folder, line["series"])
    index = _marked_index(scan, line, number)
    measure = measure_nodule(scan.volume, index)
    mask = np.zeros(scan.volume.volume_hu.shape, dtype=bool)
    if isinstance(measure, Abstention):
        return NoduleCrop(row, scan.volume, mask, index, z_extent_of(8.0))
    mask[measure.mask_box] = measure.mask
    extent = z_extent_of(measure.equivalent_diameter_mm)
    return NoduleCrop(row, scan.volume, mask, measure.center_index, extent)


def own_digest(folder: Path, row: NoduleRow) -> str:
    """Return the SHA-256 of the voxels of the row's series."""
    number = int(row.file.rsplit("#", 1)[1])
    volume_hu = _scan(folder, dict(_lines(folder))[number]["series"]).volume.volume_hu
    return hashlib.sha256(str(volume_hu.shape).encode() + volume_hu.tobytes()).hexdigest()


@lru_cache(maxsize=2)
def _scan(folder: Path, series: str) -> Scan:
    """Return one series, cached while its nodules are read."""
    series_folder = folder / series
    if series_folder.exists():
        return read_series(series_folder)
    path = series_folders(folder).get(series)
    if path is None:
        raise DataError(f"{TABLE} names a series that is neither a folder nor a SeriesInstanceUID in {folder}")
    return read_series(path, series_instance_uid=series)


@lru_cache(maxsize=4)
def _lines(folder: Path) -> list[tuple[int, Line]]:
    """Return the checked lines of the table with their numbers."""
    with (folder / TABLE).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if not {"series", "patient_id"} <= columns:
            raise DataError(f"{TABLE} needs the columns series and patient_id")
        if not ({"x_mm", "y_mm", "z_mm"} <= columns or {"slice", "row", "column"} <= columns):
            raise DataError(f"{TABLE} needs a centre: x_mm, y_mm and z_mm, or slice, row and column")
        if not {"malignant", "ratings"} & columns:
            raise DataError(f"{TABLE} needs a label: malignant (1 or 0), or ratings (1 to 5, several as 3/4/5)")
        lines = [
            (number, {k: (v or "").strip() for k, v in line.items() if k}) for number, line in enumerate(reader, 2)
        ]
    for number, line in lines:
        if not line["series"] or not line["patient_id"]:
            raise DataError(f"{TABLE}, line {number}: series or patient_id is empty")
    if not lines:
        raise DataError(f"{TABLE} has no line")
    return lines


def _measured_rows(folder: Path, series: str, lines: list[tuple[int, Line]]) -> list[NoduleRow]:
    scan = _scan(folder, series)
    return [_row(scan, line, number) for number, line in lines]


def _row(scan: Scan, line: Line, number: int) -> NoduleRow:
    measure = measure_nodule(scan.volume, _marked_index(scan, line, number))
    if isinstance(measure, Abstention):
        print(f"{TABLE}, line {number} is left out: {measure.text}", file=sys.stderr)
    ratings = _ratings(line, number)
    slice_mm, pixel_mm, _ = scan.volume.spacing_mm
    return NoduleRow(
        file=f"{line['series']}#{number}",
        patient_id=line["patient_id"],
        diameter_mm=_diameter(line, number, measure),
        mean_malignancy=float(np.mean(ratings)) if ratings else float("nan"),
        n_readers=len(ratings),
        ratings_ok=bool(ratings) and not isinstance(measure, Abstention),
        slice_mm=slice_mm,
        pixel_mm=pixel_mm,
        split=line.get("split") or split_of(line["patient_id"]),
        ratings=tuple(ratings),
    )


def _diameter(line: Line, number: int, measure: NoduleMeasure | Abstention) -> float:
    if line.get("diameter_mm"):
        return _number(line, "diameter_mm", number)
    return float("nan") if isinstance(measure, Abstention) else measure.longest_mm


def _marked_index(scan: Scan, line: Line, number: int) -> tuple[float, float, float]:
    """Return the fractional (slice, row, column) of the marked centre."""
    if line.get("x_mm"):
        position = [_number(line, name, number) for name in ("x_mm", "y_mm", "z_mm")]
        at = np.linalg.solve(scan.volume.affine, [*position, 1.0])
        index = (float(at[0]), float(at[1]), float(at[2]))
    else:
        slice_index = scan.slice_index(line.get("slice", ""))
        if slice_index is None:
            raise DataError(f"{TABLE}, line {number}: no slice of the series has this SOP Instance UID or image number")
        index = (float(slice_index), _number(line, "row", number), _number(line, "column", number))
    if not all(-0.5 <= v <= size - 0.5 for v, size in zip(index, scan.volume.volume_hu.shape, strict=True)):
        raise DataError(f"{TABLE}, line {number}: the centre lies outside the series")
    return index


def _ratings(line: Line, number: int) -> list[float]:
    """Return the readers' ratings, or the label as a rating (5 malignant, 1 benign); empty without either."""
    if label := line.get("malignant", ""):
        if label not in {"0", "1"}:
            raise DataError(f"{TABLE}, line {number}: malignant must be 0 or 1")
        return [5.0 if label == "1" else 1.0]
    words = [word for word in line.get("ratings", "").split("/") if word]
    if any(word not in {"1", "2", "3", "4", "5"} for word in words):
        raise DataError(f"{TABLE}, line {number}: ratings are numbers from 1 to 5, several as 3/4/5")
    return [float(word) for word in words]


def _number(line: Line, name: str, number: int) -> float:
    try:
        value = float(line.get(name, ""))
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{TABLE}, line {number}: {name} is no number")
    return value
