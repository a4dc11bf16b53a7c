"""One command measures bundles and writes the report; its pages and plots come from ``figures.json`` alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from inference.bundle import SHIPPED, read_bundle
from tests.unit.training.test_commands import write_nodules, write_slices
from training import evaluate
from training.report import build as report
from training.report import plots, robustness
from training.report.distortions import DISTORTIONS
from training.report.markdown import number, within
from training.train import choose_device

TASKS = ("nodule", "filter", "slice")
pytestmark = pytest.mark.timeout(1200)  # half a minute of work, wherever its two cores are not shared


def add_vessels(images: Path) -> None:
    """A vessel through the corner of every crop: the filter needs something that is no nodule."""
    for path in images.iterdir():
        image = nib.Nifti1Image.from_filename(path)
        hu = np.asarray(image.dataobj).copy()
        hu[4:7, 4:7] = 30
        nib.save(nib.Nifti1Image(hu, image.affine), path)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Few bootstrap draws: these data say nothing of anyone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "BAND_DRAWS", 40)
        patch.setattr(robustness, "DRAWS", 20)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Balls and grey pictures in the documented layout, with a diagnosis of two patients of the split test."""
    folder = tmp_path_factory.mktemp("data")
    write_nodules(folder)
    add_vessels(folder / "lidc_idri_nodules" / "image")
    write_slices(folder)
    table = "patient_id,patient_diagnosis,method\nP26,benign,biopsy\nP27,primary_cancer,biopsy\nP25,unknown,\n"
    (folder / "lidc_idri_nodules" / "pathology.csv").write_text(table)
    return folder


def open_gate(bundle: Path) -> None:
    """Have the gate let the noise of these tests pass."""
    recipe = json.loads((bundle / "bundle.json").read_text())
    limits = {name: [-1e9, 1e9] for name in recipe["gate"]["measures"]}
    far = {name: 1e9 for name in recipe["gate"] if name.startswith("max_")}
    (bundle / "bundle.json").write_text(json.dumps({**recipe, "gate": {**recipe["gate"], **far, "measures": limits}}))


@pytest.fixture(scope="module")
def bundles(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundles with figures recorded on these data."""
    folder = tmp_path_factory.mktemp("bundles")
    for task in TASKS:
        shutil.copytree(SHIPPED / task, folder / task)
        if task == "slice":
            open_gate(folder / task)
        command = ["--data", str(data), "--bundle", str(folder / task), "--record", "--draws", "20"]
        assert evaluate.main(command) == 0
    return folder


@pytest.fixture(scope="module")
def report_folder(data: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on these data, with two distortions."""
    out = tmp_path_factory.mktemp("report") / "model"
    with pytest.MonkeyPatch.context() as patch:
        few = {name: DISTORTIONS[name] for name in ("as it is", "click 6 mm off")}
        patch.setattr(robustness, "DISTORTIONS", few)
        command = ["--data", str(data), "--bundles", str(bundles), "--out", str(out), "--rotations", "1"]
        command += ["--seeds", str(bundles / "slice")]
        assert report.main(command) == 0
    return out


def figures_of(out: Path) -> dict[str, Any]:
    """Figures of the report."""
    return json.loads((out / "figures.json").read_text())


def test_cards_hold_the_figures_that_the_bundle_records(report_folder: Path, bundles: Path) -> None:
    figures = figures_of(report_folder)
    for task in TASKS:
        recipe = read_bundle(bundles / task).recipe
        assert figures[task]["metrics"] == recipe["metrics"]
        card = (report_folder / f"{task}.md").read_text()
        assert f"| AUC | {within(recipe['metrics']['auc'], recipe['metrics']['auc_interval'])} |" in card
        assert f"| Brier score | {within(recipe['metrics']['brier'], recipe['metrics']['brier_interval'])} |" in card
        assert recipe["weights_sha256"] in card
        assert all(limit in card for limit in recipe["limits"])
        assert all(f"| {name} |" in card for name in figures[task]["baselines"])


def test_other_seeds_of_the_slice_model_are_in_the_card(report_folder: Path) -> None:
    figures = figures_of(report_folder)["slice"]
    assert [own["auc"] for own in figures["seeds"]] == [figures["metrics"]["auc"]] * 2
    assert f"| mean | {number(figures['metrics']['auc'])} |" in (report_folder / "slice.md").read_text()


def test_the_nodule_card_has_subgroups_pathology_and_distortions(report_folder: Path) -> None:
    figures = figures_of(report_folder)["nodule"]
    assert {name: part["n"] for name, part in figures["subgroups"]["size"].items()} == {
        "below 6 mm": 3,
        "8 to 15 mm": 3,
    }
    assert figures["splits"]["test"] == {
        "nodules": 6, "patients": 6, "labelled": 6, "malignant": 3, "mean_rating_3": 0, "ratings_unusable": 0,
        "median_diameter_mm": 8.0,
    }  # fmt: skip
    assert (figures["pathology"]["n"], figures["pathology"]["positives"]) == (2, 1)
    assert figures["explanations"]["n"] == 6
    assert figures["density"] is None
    assert set(figures["robustness"]["distortions"]) == {"as it is", "click 6 mm off"}
    card = (report_folder / "nodule.md").read_text()
    for heading in ("Against pathology", "Robustness", "Attention of the planar network", "Errors"):
        assert f"## {heading}" in card


def test_plots_are_small_and_every_one_is_shown(report_folder: Path) -> None:
    plots = {path.name for path in report_folder.glob("*.png")}
    assert len(plots) == 19
    shown = "".join(path.read_text() for path in report_folder.glob("*.md"))
    assert {name for name in plots if f"({name})" in shown} == plots
    for name in plots:
        assert (report_folder / name).stat().st_size < 100_000
        with Image.open(report_folder / name) as picture:
            assert min(picture.size) > 150


def test_pages_and_plots_are_drawn_anew_from_the_figures_alone(report_folder: Path, tmp_path: Path) -> None:
    shutil.copy(report_folder / "figures.json", tmp_path)
    (tmp_path / "stale.png").touch()
    assert report.main(["--render", "--out", str(tmp_path)]) == 0
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert again == {path.name: path.read_bytes() for path in report_folder.iterdir()}


def test_no_patient_is_named(report_folder: Path) -> None:
    assert "P27" not in "".join(path.read_text() for path in report_folder.glob("*.[mj]*"))


def test_figures_of_other_answers_are_refused(
    data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    path = tmp_path / "bundles" / "slice" / "bundle.json"
    recipe = json.loads(path.read_text())
    recipe["metrics"]["auc"] -= 0.02
    path.write_text(json.dumps(recipe))
    job = report.Job(data, "test", {"slice": read_bundle(path.parent)}, choose_device("cpu"), 1, print)
    with pytest.raises(report.ReportError, match="record it anew"):
        report.slice_figures(job)


def test_a_bundle_without_figures_of_the_split_is_refused(
    data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(data), "--bundles", str(bundles), "--out", str(tmp_path), "--split", "val"]
    assert report.main(command) == 2
    assert "holds no figures of the split 'val'" in capsys.readouterr().err
    assert report.main(["--out", str(tmp_path)]) == 2
    assert "--data is needed" in capsys.readouterr().err
