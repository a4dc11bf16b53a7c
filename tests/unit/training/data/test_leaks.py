"""Data whose splits share a patient, a cluster or a picture are refused by every command, without naming a patient."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.unit.training.test_commands import write_nodules, write_slices
from training import calibrate, evaluate, train
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError
from training.data.splits import LeakError

Rows = list[dict[str, str]]


def edit(table: Path, change: Callable[[Rows], object]) -> None:
    """Change the rows of a CSV file in place."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def share_a_patient(data: Path) -> None:
    edit(data / "lidc_idri_nodules" / "labels.csv", lambda rows: rows[27].update(patient_id=rows[0]["patient_id"]))


def copy_a_crop_across_splits(data: Path) -> None:
    """The same voxels under another patient's name, compressed anew."""
    folder = data / "lidc_idri_nodules" / "image"
    image = nib.Nifti1Image.from_filename(folder / "P00.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.7, 0.7, 2.5, 1.0])), folder / "P27.nii.gz")


def copy_a_crop_within_a_split(data: Path) -> None:
    folder = data / "lidc_idri_nodules" / "image"
    shutil.copy(folder / "P00.nii.gz", folder / "P01.nii.gz")


def share_a_cluster(data: Path) -> None:
    edit(data / "iq_oth_nccd" / "manifest.csv", lambda rows: rows[59].update(cluster=rows[0]["cluster"]))


def name_a_duplicate_in_another_split(data: Path) -> None:
    edit(data / "iq_oth_nccd" / "manifest.csv", lambda rows: rows[58].update(duplicate_of=rows[0]["file"]))


def copy_a_picture_across_splits(data: Path) -> None:
    """The same pixels in another file format under the old name: digests of files differ."""
    folder = data / "iq_oth_nccd"
    Image.open(folder / "000.png").save(folder / "058.png", format="BMP")


REFUSALS = [
    ("nodule", share_a_patient, "splits share a patient .1 of them, in test, train."),
    ("nodule", copy_a_crop_across_splits, "splits share a duplicate .1 of them, in test, train."),
    ("nodule", copy_a_crop_within_a_split, "1 crops stand under more than one patient"),
    ("filter", share_a_patient, "splits share a patient"),
    ("filter", copy_a_crop_across_splits, "splits share a duplicate"),
    ("slice", share_a_cluster, "splits share a cluster .1 of them, in test, train."),
    ("slice", name_a_duplicate_in_another_split, "splits share a duplicate"),
    ("slice", copy_a_picture_across_splits, "splits share a duplicate"),
]


def write(task: str, data: Path) -> None:
    (write_slices if task == "slice" else write_nodules)(data)


@pytest.mark.parametrize(("task", "spoil", "message"), REFUSALS)
def test_a_leak_is_refused_and_named(task: str, spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    write(task, tmp_path)
    refuse_leaks(task, tmp_path, workers=1)
    spoil(tmp_path)
    with pytest.raises(LeakError, match=message) as refusal:
        refuse_leaks(task, tmp_path, workers=1)
    assert "P0" not in str(refusal.value)


@pytest.mark.parametrize(("task", "spoil"), [("nodule", copy_a_crop_across_splits), ("slice", share_a_cluster)])
def test_every_command_refuses_a_leak(
    task: str, spoil: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(task, tmp_path)
    common = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert train.main([*common, "--task", task, "--preset", "small", "--epochs", "1"]) == 0
    assert calibrate.main(common) == 0
    spoil(tmp_path)
    capsys.readouterr()
    for main, arguments in (
        (train.main, [*common, "--task", task]),
        (calibrate.main, common),
        (evaluate.main, ["--data", str(tmp_path), "--bundle", str(tmp_path / "out")]),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert "splits share a" in said.err
        assert said.out == ""


def test_a_picture_that_is_not_the_one_of_the_manifest_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path)
    edit(
        tmp_path / "iq_oth_nccd" / "manifest.csv",
        lambda rows: [row.update(md5="0" * 32 if row is rows[3] else "") for row in rows],
    )
    with pytest.raises(DataError, match=r"^1 pictures in .*md5 differs"):
        refuse_leaks("slice", tmp_path, workers=1)


@pytest.mark.data
def test_the_research_data_have_no_leak(research_data: Path) -> None:
    refuse_leaks("nodule", research_data)
    refuse_leaks("slice", research_data)
