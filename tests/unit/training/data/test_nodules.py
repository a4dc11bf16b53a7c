"""Nodules that one or two readers marked are trained on by their weight, and judge nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.unit.training.test_commands import COLUMNS, write_nodules
from training.data.leaks import refuse_leaks
from training.data.nodules import partly_read_folder, partly_read_rows, read_crop
from training.data.splits import LeakError
from training.fitting.tasks import nodule_groups, read_nodule_task
from training.parallel import SINGLE_PROCESS
from training.train import PatchTrainer, TrainOptions


def write_partly_read(data: Path, rows: list[tuple[str, str, int, float]]) -> None:
    """Add nodules of (patient, split, readers, agreement of the grey scale): 80 pixels wide, a ball in a corner."""
    folder = data / "lidc_idri_more"
    for part in ("image", "mask", "mask_any"):
        (folder / part).mkdir(parents=True)
    lines = []
    for number, (patient, split, readers, fit) in enumerate(rows):
        name, affine = f"M{number:02d}.nii.gz", np.diag([0.7, 0.7, 2.0, 1.0])
        mask = np.zeros((80, 80, 3), dtype=np.uint8)
        mask[30:40, 44:50, :] = 1
        hu = np.where(mask > 0, 40, -850).astype(np.int16)
        hu[0] = number  # no two alike
        nib.save(nib.Nifti1Image(hu, affine), folder / "image" / name)
        nib.save(nib.Nifti1Image(mask, affine), folder / "mask_any" / name)
        lines.append([name, patient, 6.0, 2, readers, True, 0.7, 2.0, split, fit])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS, "hu_fit"], *lines])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_nodules(tmp_path)
    write_partly_read(
        tmp_path,
        [("P00", "train", 1, 0.9), ("N00", "train", 2, 0.9), ("N01", "train", 4, 0.9), ("N02", "train", 4, 0.3),
         ("P16", "val", 1, 0.9), ("P22", "test", 3, 0.9)],
    )  # fmt: skip
    return tmp_path


def test_a_badly_restored_grey_scale_is_left_out(data: Path) -> None:
    assert [row.patient_id for row in partly_read_rows(data)] == ["P00", "N00", "N01", "P16", "P22"]


def test_a_wide_crop_is_cut_as_the_other_folder_is(data: Path) -> None:
    folder = partly_read_folder(data)
    assert folder is not None
    crop = read_crop(folder, partly_read_rows(data)[0])
    assert crop.volume.volume_hu.shape == crop.mask.shape == (3, 44, 44)
    assert crop.centre == pytest.approx((1.0, 21.5, 21.5), abs=0.6)
    assert (crop.volume.volume_hu[crop.mask] == 40).all()


def test_they_are_weighted_by_their_readers_and_never_labelled(data: Path) -> None:
    task = read_nodule_task(data, workers=1, with_partly_read=True)
    assert len(task.names) == 28 + 5
    assert task.weights[28:].tolist() == [0.25, 0.5, 1.0, 0.25, 0.75]
    assert (task.weights[:28] == 1.0).all()
    assert not task.labelled[28:].any()
    assert task.labelled[:28].all()
    assert len(read_nodule_task(data, workers=1).names) == 28


def test_no_fold_trains_on_a_patient_that_it_judges(data: Path, tmp_path: Path) -> None:
    task = read_nodule_task(data, workers=1, with_partly_read=True)
    trainer = PatchTrainer(task, SINGLE_PROCESS, tmp_path / "out", TrainOptions(seed=0, epochs=1, folds=3))
    planar, volumetric, _ = nodule_groups("small")
    groups = np.array(task.groups)
    for part, unseen in trainer.unseen.items():
        chosen = trainer.chosen(volumetric, part)
        assert not set(groups[unseen]) & set(groups[chosen])
        assert {"N00", "N01"} <= set(groups[chosen])
        assert "P22" not in groups[chosen]
        assert not task.partly_read[trainer.chosen(planar, part)].any()
    everyone = trainer.chosen(volumetric, None)
    assert task.partly_read[everyone].sum() == 4


def test_a_patient_in_another_split_of_the_other_folder_is_a_leak(tmp_path: Path) -> None:
    write_nodules(tmp_path)
    write_partly_read(tmp_path, [("P27", "train", 1, 0.9)])
    with pytest.raises(LeakError, match="share a patient"):
        refuse_leaks("nodule", tmp_path, workers=1)
