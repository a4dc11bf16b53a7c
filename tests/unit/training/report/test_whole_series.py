"""Readers' marks become nodules, and findings are held against them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from inference.predictor import NoduleAnalyzer
from inference.types import Abstention, CtVolume, NoduleFinding, VolumeAnalysis
from training.report.whole_series import read_marks, series_figures

COLUMNS = ["patient_id", "malignancy_1to5", "z_min_mm", "z_max_mm", "centre_col_x", "centre_row_y", "diameter_px_x",
           "diameter_px_y"]  # fmt: skip
ROWS = [
    ["A", 5, -20, -10, 30, 40, 12, 10],
    ["A", 4, -21, -11, 31, 41, 12, 12],
    ["A", 1, -60, -55, 30, 40, 6, 6],
]


class Analyzer:
    """Answers what it was given."""

    def __init__(self, *findings: NoduleFinding, unfit: tuple[Abstention, ...] = ()) -> None:
        self.analysis = VolumeAnalysis(findings, unfit)

    def analyse(self, volume: CtVolume) -> VolumeAnalysis:
        return self.analysis


def answering(*findings: NoduleFinding, unfit: tuple[Abstention, ...] = ()) -> NoduleAnalyzer:
    return cast("NoduleAnalyzer", Analyzer(*findings, unfit=unfit))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "lidc_idri_dicom").mkdir()
    with (tmp_path / "lidc_idri_dicom" / "annotations_by_reader.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *ROWS])
    return tmp_path


def volume() -> CtVolume:
    affine = np.array([[0, 0, 0.7, 0], [0, 0.7, 0, 0], [2.0, 0, 0, -80.0], [0, 0, 0, 1]])
    return CtVolume(np.zeros((40, 64, 64), np.int16), (2.0, 0.7, 0.7), affine)


def test_readers_of_one_nodule_are_counted_together(data: Path) -> None:
    large, small = read_marks(data)["A"]
    assert (large.readers, small.readers) == (2, 1)
    assert large.mean_malignancy == 4.5
    assert large.column == 30.5


def test_rank_and_distance_of_marked_nodules(data: Path) -> None:
    vessel = NoduleFinding((5.0, 10.0, 10.0), 6.0, 0.9, 0.8, (0.7, 0.9))
    nodule = NoduleFinding((32.0, 40.0, 31.0), 8.0, 0.99, 0.7, (0.6, 0.8))
    figures = series_figures(answering(vessel, nodule), volume(), read_marks(data)["A"])
    assert [hit["rank"] for hit in figures["marked"]] == [2, None]
    assert figures["marked"][0]["apart_mm"] < 1.5
    assert (figures["unmarked_findings"], figures["unmarked_above_half"]) == (1, 1)


def test_a_series_that_is_not_analysed_says_why() -> None:
    figures = series_figures(answering(unfit=(Abstention("no_lungs", "no lungs"),)), volume(), [])
    assert figures["not_analysed"] == ["no lungs"]
    assert figures["findings"] == []
