"""Whole series under ``lidc_idri_dicom`` with what readers marked in them (``series.csv`` and ``marks.csv``)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.types import CtVolume
from training.data.records import DataError

FOLDER = "lidc_idri_dicom"
FULLY_READ = "four_readers"
"""Kind of a series in which a structure without a mark is no nodule to any of four readers."""
CONSENSUS = 3
"""Readers who must have marked a nodule for it to be one; fewer is neither a nodule nor none."""
MARGIN_MM = 15.0
"""Distance from a mark's border within which nothing is taken for no nodule: half the filter's field of view."""

Index = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SeriesMark:
    """A marked nodule: its centre (column and row in pixels, z in mm), diameter, and readers (None: not by readers)."""

    column: float
    row: float
    z_mm: float
    diameter_mm: float
    readers: int | None

    @property
    def is_nodule(self) -> bool:
        """Return True where enough readers, or an outline of another kind, say that it is a nodule."""
        return self.readers is None or self.readers >= CONSENSUS

    def index(self, volume: CtVolume) -> Index:
        """Return the fractional ``(slice, row, column)``; slices are axial."""
        return (self.z_mm - float(volume.affine[2, 3])) / float(volume.affine[2, 0]), self.row, self.column


@dataclass(frozen=True, slots=True)
class MarkedSeries:
    """A series with its marks; ``is_fully_read`` says whether what has no mark is no nodule."""

    patient_id: str
    source: Path
    split: str
    is_fully_read: bool
    marks: tuple[SeriesMark, ...]

    def away_from_marks(self, volume: CtVolume, indices: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of ``(n, 3)`` indices lie farther than ``MARGIN_MM`` from the border of every mark."""
        is_away = np.ones(len(indices), dtype=bool)
        for mark in self.marks:
            apart_mm = np.linalg.norm((indices - np.array(mark.index(volume))) * volume.spacing_mm, axis=1)
            is_away &= apart_mm > mark.diameter_mm / 2 + MARGIN_MM
        return is_away


def read_marked_series(data: Path, *, split: str = "train") -> list[MarkedSeries]:
    """Return the series of one split, by patient.

    Raises
    ------
    DataError
        The tables or a series are missing, or a table lacks a column.
    """
    folder = data / FOLDER
    try:
        marks = _marks(folder / "marks.csv")
        with (folder / "series.csv").open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["split"] == split]
        series = [
            MarkedSeries(
                line["patient_id"],
                _source(folder, line["file"]),
                line["split"],
                line["kind"] == FULLY_READ,
                tuple(marks.get(line["patient_id"], ())),
            )
            for line in sorted(lines, key=lambda line: line["patient_id"])
        ]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"series.csv or marks.csv in {folder} cannot be read; see docs/data.md") from error
    for line, one in zip(sorted(lines, key=lambda line: line["patient_id"]), series, strict=True):
        if int(line["n_marks"]) != len(one.marks):
            raise DataError(f"series.csv and marks.csv in {folder} differ in the number of marks")
    return series


def _source(folder: Path, file: str) -> Path:
    """Return the archive, or the folder that it was unpacked into."""
    name = Path(file).name
    unpacked = folder / name.split(".")[0]
    for source in (folder / name, unpacked):
        if source.exists():
            return source
    raise DataError(f"{folder} lacks a series that series.csv lists")


def _marks(path: Path) -> dict[str, list[SeriesMark]]:
    marks: dict[str, list[SeriesMark]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            diameter = float(line["axial_mm"] or line["diameter_mm"])
            mark = SeriesMark(
                float(line["centre_column"]),
                float(line["centre_row"]),
                float(line["centre_z_mm"]),
                diameter,
                int(line["n_readers"]) if line["n_readers"] else None,
            )
            marks.setdefault(line["patient_id"], []).append(mark)
    return marks
