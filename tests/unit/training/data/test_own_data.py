"""A user's folder of DICOM series with a table trains, calibrates and evaluates, cut as serving cuts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.phantom.writer import SeriesIdentity
from inference.loading import Models
from inference.malignancy.ensemble import Ensemble
from inference.types import CtVolume
from inference.volumes.patches import PatchCentre, cut_patch
from tests.support.factories import CtSeries, ct_series
from training import calibrate, evaluate, train
from training.data.leaks import refuse_leaks
from training.data.nodules import crop_patch, read_crop, read_rows
from training.data.own_data import split_of
from training.data.records import DataError
from training.data.splits import LeakError

SPACING_MM = (2.0, 0.8, 0.8)
SHAPE = (20, 48, 48)
CENTRE = (10.0, 25.0, 22.0)
Row = dict[str, object]


def write_series(folder: Path, patient: str, diameter_mm: float, seed: int) -> CtSeries:
    """A ball of soft tissue in lung."""
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    squares = [((g - c) * mm) ** 2 for g, c, mm in zip(grid, CENTRE, SPACING_MM, strict=True)]
    noise = np.random.default_rng(seed).normal(0, 15, SHAPE)
    hu = np.where(np.sqrt(sum(squares)) < diameter_mm / 2, 40, -850) + noise
    return ct_series(
        folder, volume_hu=hu.astype(np.int16), spacing_mm=SPACING_MM, seed=seed, shuffle=True,
        identity=SeriesIdentity(patient_name="A^B", patient_id=patient),
    )  # fmt: skip


def row_of(series: CtSeries, number: int, split: str) -> Row:
    """Every way to name a series and a centre, in turn."""
    x_mm, y_mm, z_mm = series.position_mm(CENTRE)
    by_mm = number % 2 == 0
    return {
        "series": series.folder.name if number % 3 else series.series_instance_uid,
        "patient_id": f"P{number}",
        "x_mm": x_mm if by_mm else "", "y_mm": y_mm if by_mm else "", "z_mm": z_mm if by_mm else "",
        "slice": "" if by_mm else series.sop_instance_uids[int(CENTRE[0])],
        "row": "" if by_mm else CENTRE[1], "column": "" if by_mm else CENTRE[2],
        "malignant": number // 2 % 2 if number % 4 == 0 else "",
        "ratings": "" if number % 4 == 0 else ("4/5" if number // 2 % 2 else "1/2"),
        "split": split,
    }  # fmt: skip


def write_table(data: Path, rows: list[Row]) -> None:
    with (data / "nodules.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_data(data: Path, splits: dict[str, int]) -> list[Row]:
    """Small balls are benign and large ones malignant."""
    rows: list[Row] = []
    for split in [name for name, count in splits.items() for _ in range(count)]:
        number = len(rows)
        series = write_series(data / f"s{number}", f"P{number}", 14.0 if number // 2 % 2 else 6.0, number)
        rows.append(row_of(series, number, split))
    write_table(data, rows)
    return rows


def test_own_series_are_trained_calibrated_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, {"train": 8, "val": 8, "test": 4})
    common = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert train.main([*common, "--preset", "small", "--epochs", "1"]) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["samples"] == 8
    assert calibrate.main(common) == 0, capsys.readouterr().err
    assert evaluate.main(["--data", str(tmp_path), "--bundle", str(tmp_path / "out"), "--draws", "20"]) == 0
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (figures["n"], figures["baseline_diameter_auc"]) == (4, 1.0)
    assert calibrate.main([*common, "--bundle", str(tmp_path / "out")]) == 2
    assert "recalibration wants 30 of 10 in each class" in capsys.readouterr().err


def test_training_cuts_the_patch_that_serving_looks_at(
    shipped_models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path, {"train": 2})
    crop = read_crop(tmp_path, read_rows(tmp_path)[1])
    sampled: list[tuple[CtVolume, PatchCentre]] = []

    margins_at = Ensemble.margins_at

    def watched(ensemble: Ensemble, volume: CtVolume, centres: Sequence[PatchCentre]) -> NDArray[np.float64]:
        if ensemble.bundle.task == "nodule":
            sampled.extend((volume, centre) for centre in centres)
        return margins_at(ensemble, volume, centres)

    monkeypatch.setattr(Ensemble, "margins_at", watched)
    finding = shipped_models.nodule.analyse_point(crop.volume, CENTRE)
    assert finding.index == crop.centre
    volume, centre = sampled[-1]
    ours, served = crop_patch(crop), cut_patch(volume, centre.index, z_extent_mm=centre.z_extent_mm)
    np.testing.assert_array_equal(ours.hu, served.hu)
    assert (ours.low_mm, ours.high_mm) == (served.low_mm, served.high_mm)


def change(column: str, value: object) -> Callable[[list[Row]], None]:
    return lambda rows: rows[1].update({column: value})


def drop(*columns: str) -> Callable[[list[Row]], None]:
    def without(rows: list[Row]) -> None:
        for row in rows:
            for column in columns:
                del row[column]

    return without


WRONG = [
    ("no patient column", drop("patient_id"), "needs the columns series and patient_id"),
    ("no centre", drop("x_mm", "row"), "needs a centre"),
    ("no label", drop("malignant", "ratings"), "needs a label"),
    ("an empty patient", change("patient_id", ""), "line 3: series or patient_id is empty"),
    ("an unknown series", change("series", "s9"), "neither a folder nor a SeriesInstanceUID"),
    ("an unknown slice", change("slice", "999"), "line 3: no slice of the series"),
    ("a centre outside", change("row", "480"), "line 3: the centre lies outside"),
    ("a centre in words", change("row", "middle"), "line 3: row is no number"),
    ("a label in words", change("malignant", "yes"), "line 3: malignant must be 0 or 1"),
    ("a rating of 7", change("ratings", "4/7"), "line 3: ratings are numbers from 1 to 5"),
]


@pytest.mark.parametrize(("what", "spoil", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_a_table_that_is_wrong_is_refused_with_its_line(
    what: str, spoil: Callable[[list[Row]], None], message: str, tmp_path: Path
) -> None:
    rows = write_data(tmp_path, {"train": 2})
    spoil(rows)
    write_table(tmp_path, rows)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path)


def test_a_point_without_a_nodule_is_left_out_and_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = write_data(tmp_path, {"train": 2})
    rows[1].update(row=5.0, column=5.0, slice=2)
    write_table(tmp_path, rows)
    first, second = read_rows(tmp_path)
    assert (first.ratings_ok, second.ratings_ok) == (True, False)
    assert "line 3 is left out: Nothing at this place is denser" in capfd.readouterr().err


def test_a_series_of_two_patients_or_splits_is_refused(tmp_path: Path) -> None:
    rows = write_data(tmp_path, {"train": 2, "test": 1})
    write_table(tmp_path, [*rows[:2], {**rows[0], "split": "test"}])
    with pytest.raises(LeakError, match="share a patient"):
        refuse_leaks("nodule", tmp_path)


def test_the_same_voxels_under_another_patient_are_refused(tmp_path: Path) -> None:
    rows = write_data(tmp_path, {"train": 2})
    twin = write_series(tmp_path / "s7", "P7", 6.0, seed=0)
    write_table(tmp_path, [*rows, {**row_of(twin, 7, "test"), "ratings": "1/2"}])
    with pytest.raises(LeakError, match="share a duplicate"):
        refuse_leaks("nodule", tmp_path)


def test_patients_keep_their_split_whoever_joins() -> None:
    splits = [split_of(f"patient {number}") for number in range(2000)]
    assert split_of("patient 7") == splits[7]
    shares = [splits.count(name) / 2000 for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_the_filter_is_not_trained_on_own_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, {"train": 2})
    assert train.main(["--task", "filter", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "recalibrate it" in capsys.readouterr().err
