"""Series with marks: which marks are nodules, and where nothing may be taken for none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from inference.types import CtVolume
from training.data.marked_series import MarkedSeries, SeriesMark, read_marked_series
from training.data.records import DataError

SERIES = ["file", "patient_id", "kind", "n_marks", "split"]
MARKS = ["patient_id", "centre_column", "centre_row", "centre_z_mm", "diameter_mm", "axial_mm", "n_readers"]
MARK_ROWS = [
    ["A", 30.0, 40.0, -20.0, 7.0, 8.5, 4],
    ["A", 10.0, 12.0, -60.0, 4.7, 6.3, 1],
    ["C", 22.0, 30.0, -50.0, 23.4, "", ""],
]
SERIES_ROWS = [
    ["B.tar.xz", "B", "four_readers", 0, "train"],
    ["A.tar.xz", "A", "four_readers", 2, "train"],
    ["C.tar.xz", "C", "one_lesion_marked", 1, "train"],
    ["E.tar.xz", "E", "four_readers", 1, "e2e"],
]


def write(data: Path, series: list[list[object]], marks: list[list[object]]) -> Path:
    folder = data / "lidc_idri_dicom"
    folder.mkdir()
    for name, columns, rows in (("series.csv", SERIES, series), ("marks.csv", MARKS, marks)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    for row in series:
        (folder / str(row[0])).touch()
    return data


def volume() -> CtVolume:
    affine = np.array([[0, 0, 0.7, 0], [0, 0.7, 0, 0], [2.0, 0, 0, -80.0], [0, 0, 0, 1]])
    return CtVolume(np.zeros((40, 64, 64), np.int16), (2.0, 0.7, 0.7), affine)


def test_series_of_a_split_by_patient_with_their_marks(tmp_path: Path) -> None:
    series = read_marked_series(write(tmp_path, SERIES_ROWS, MARK_ROWS))
    assert [one.patient_id for one in series] == ["A", "B", "C"]
    assert [one.is_fully_read for one in series] == [True, True, False]
    assert [len(one.marks) for one in series] == [2, 0, 1]
    assert series[0].marks[0].index(volume()) == (30.0, 40.0, 30.0)


@pytest.mark.parametrize(("readers", "is_nodule"), [(None, True), (4, True), (3, True), (2, False), (1, False)])
def test_a_mark_of_too_few_readers_is_no_nodule(readers: int | None, is_nodule: bool) -> None:
    assert SeriesMark(0.0, 0.0, 0.0, 8.0, readers).is_nodule == is_nodule


@pytest.mark.parametrize(
    ("index", "is_away"),
    [
        ((30.0, 40.0, 30.0), False),
        ((30.0, 40.0, 30.0 + 18.0 / 0.7), False),
        ((30.0, 40.0, 30.0 + 20.0 / 0.7), True),
        ((30.0 - 9.0, 40.0, 30.0), False),
        ((30.0 - 10.0, 40.0, 30.0), True),
    ],
)
def test_nothing_near_a_mark_is_taken_for_no_nodule(index: tuple[float, float, float], is_away: bool) -> None:
    series = MarkedSeries("A", Path("A"), "train", True, (SeriesMark(30.0, 40.0, -20.0, 8.0, 1),))
    assert series.away_from_marks(volume(), np.array([index]))[0] == is_away


@pytest.mark.parametrize("fault", ["no tables", "a mark too few", "no archive", "a column missing"])
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, fault: str) -> None:
    if fault != "no tables":
        write(tmp_path, SERIES_ROWS, MARK_ROWS[1:] if fault == "a mark too few" else MARK_ROWS)
    folder = tmp_path / "lidc_idri_dicom"
    if fault == "no archive":
        (folder / "A.tar.xz").unlink()
    if fault == "a column missing":
        (folder / "marks.csv").write_text("patient_id\nA\n")
    with pytest.raises(DataError):
        read_marked_series(tmp_path)
