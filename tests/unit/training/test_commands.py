"""The three training commands work from a folder of the documented layout, and refuse what leaks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from inference.bundle import read_bundle
from training import calibrate, evaluate, train

COLUMNS = ["file", "patient_id", "diameter_mm", "mean_malignancy", "n_readers", "ratings_ok", "pixel_mm", "slice_mm",
           "split"]  # fmt: skip


def write_nodules(data: Path, *, shared_patient: bool = False) -> None:
    """Balls of 4 mm (benign) and 12 mm (malignant) in noise, sixteen patients to train on and six each to test."""
    rng = np.random.default_rng(0)
    folder = data / "lidc_idri_nodules"
    (folder / "image").mkdir(parents=True)
    (folder / "mask").mkdir()
    rows = []
    for i in range(28):
        malignant = i % 2 == 1
        diameter = 12.0 if malignant else 4.0
        x, y, z = np.meshgrid(np.arange(44), np.arange(44), np.arange(6), indexing="ij")
        r = np.sqrt(((x - 22) * 0.7) ** 2 + ((y - 22) * 0.7) ** 2 + ((z - 3) * 2.0) ** 2)
        hu = np.where(r < diameter / 2, 50, -850) + rng.normal(0, 20, r.shape)
        name = f"P{i:02d}.nii.gz"
        affine = np.diag([0.7, 0.7, 2.0, 1.0])
        nib.save(nib.Nifti1Image(hu.astype(np.int16), affine), folder / "image" / name)
        nib.save(nib.Nifti1Image((r < diameter / 2).astype(np.uint8), affine), folder / "mask" / name)
        split = "train" if i < 16 else "val" if i < 22 else "test"
        patient = "P00" if shared_patient and i == 27 else f"P{i:02d}"
        rows.append([name, patient, diameter, 5 if malignant else 1, 4, True, 0.7, 2.0, split])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def write_slices(data: Path) -> None:
    """Bright pictures are malignant, dark ones normal."""
    rng = np.random.default_rng(0)
    folder = data / "iq_oth_nccd"
    folder.mkdir(parents=True)
    rows = []
    for i in range(60):
        malignant = i % 2 == 1
        picture = np.clip(rng.normal(150 if malignant else 60, 20, (80, 80)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i:03d}.png")
        split = "train" if i < 36 else "val" if i < 48 else "test"
        rows.append([f"{i:03d}.png", "malignant" if malignant else "normal", "", f"c{i // 2}", split])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "label", "duplicate_of", "cluster", "split"], *rows])


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The object on the last printed line."""
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_nodules_are_trained_calibrated_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nodules(tmp_path)
    common = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--seed", "1"]
    assert train.main([*common, "--task", "nodule", "--preset", "small", "--epochs", "2"]) == 0
    assert last_json(capsys)["samples"] == 16
    assert calibrate.main(common) == 0
    assert last_json(capsys)["n"] == 6
    shown = evaluate.main(
        ["--data", str(tmp_path), "--split", "test", "--bundle", str(tmp_path / "out"), "--draws", "50", "--record",
         "--out", str(tmp_path / "plots")]
    )  # fmt: skip
    assert shown == 0
    figures = last_json(capsys)
    named = (
        "n auc auc_interval accuracy sensitivity specificity precision f1 ece_before ece brier_before brier nll_before "
        "nll temperature coverage baseline_diameter_auc"
    )
    assert set(named.split()) <= set(figures)
    assert figures["n"] == 6
    assert figures["baseline_diameter_auc"] == 1.0
    assert read_bundle(tmp_path / "out").recipe["metrics"]["auc"] == figures["auc"]
    assert {p.name for p in (tmp_path / "plots").iterdir()} >= {"reliability_after.png", "roc.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"MODEL_CARD.md", "reliability_before.png"}


def test_training_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nodules(tmp_path)
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--preset", "small", "--epochs", "1"]
    assert train.main(command) == 0
    first = (tmp_path / "out" / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert train.main(command) == 0
    assert "epoch" not in capsys.readouterr().err
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == first


def test_a_patient_in_two_splits_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nodules(tmp_path, shared_patient=True)
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--epochs", "1"]) == 2
    assert "share a patient" in capsys.readouterr().err


def test_a_folder_of_another_layout_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no labels.csv" in capsys.readouterr().err


@pytest.mark.parametrize(("folds", "samples", "unseen"), [(0, 36, 12), (2, 48, 48)])
def test_slices_follow_the_same_three_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folds: int, samples: int, unseen: int
) -> None:
    write_slices(tmp_path)
    common = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    options = ["--task", "slice", "--preset", "small", "--epochs", "1", "--folds", str(folds)]
    assert train.main([*common, *options]) == 0
    assert last_json(capsys)["samples"] == samples
    assert calibrate.main(common) == 0
    assert last_json(capsys)["n"] == unseen
    recipe = read_bundle(tmp_path / "out").recipe
    (measured,) = recipe["calibration"]["networks"]
    assert recipe["members"][0]["temperature"] == pytest.approx(measured["temperature"], abs=1e-5)
    assert measured["nll"] < measured["nll_before"]
    assert evaluate.main(["--data", str(tmp_path), "--bundle", str(tmp_path / "out"), "--draws", "50"]) == 0
    figures = last_json(capsys)
    assert (figures["n"] + figures["n_refused"], figures["n"] > 8) == (12, True)
    assert figures["baseline_dark_pixels_auc"] == 1.0
