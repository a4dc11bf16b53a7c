"""Distorted nodules are graded alone and as served, and what is not answered is counted with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import SHIPPED, read_bundle
from inference.types import CtVolume
from tests.unit.training.test_commands import last_json, write_nodules
from training.report import robustness
from training.report.distortions import DISTORTIONS, NodulePoint
from training.report.robustness import Bench, empty_figures, loss_figures

SOME = ("as it is", "click 4 mm off", "pixel size stated x1.4")


def test_the_command_reports_losses_and_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nodules(tmp_path)
    monkeypatch.setattr(robustness, "DISTORTIONS", {name: DISTORTIONS[name] for name in SOME})
    assert robustness.main(["--data", str(tmp_path), "--rotations", "1", "--out", str(tmp_path / "figures.json")]) == 0
    figures = last_json(capsys)
    distortions = figures["distortions"]
    assert isinstance(distortions, dict)
    assert list(distortions) == list(SOME)
    assert figures["n"] == 6
    assert figures["empty"] is None
    assert distortions["as it is"]["alone"]["auc"] == 1.0
    assert distortions["as it is"]["alone"]["auc_loss"] == 0.0
    assert distortions["as it is"]["served"]["abstained"] == 0.0
    assert distortions["pixel size stated x1.4"]["served"]["abstained"] == 0.0  # 0.98 mm is still validated
    assert (tmp_path / "figures.json").is_file()


def test_a_split_without_nodules_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nodules(tmp_path)
    assert robustness.main(["--data", str(tmp_path), "--split", "nowhere"]) == 2
    assert "no labelled nodule of the split 'nowhere'" in capsys.readouterr().err


def test_losses_count_what_was_answered_both_times() -> None:
    labels = np.array([False, False, True, True])
    usual = np.array([0.1, 0.2, 0.8, 0.9])
    worse = np.array([0.1, np.nan, 0.05, 0.9])
    figures = loss_figures(labels, usual, worse, np.array(["a", "b", "c", "d"]))
    assert figures["auc_loss"] == 0.5
    assert loss_figures(labels, usual, np.full(4, np.nan), np.array(["a", "b", "c", "d"]))["auc_loss"] is None


def test_empty_lung_is_not_graded() -> None:
    bench = Bench.of(read_bundle(SHIPPED / "nodule"), read_bundle(SHIPPED / "filter"), torch.device("cpu"), rotations=1)
    air = np.random.default_rng(0).normal(-870, 10, (24, 60, 60)).astype(np.int16)
    points = [NodulePoint(CtVolume(air, (2.0, 0.7, 0.7), np.eye(4)), (12.0, 30.0, 20.0 + i)) for i in range(3)]
    figures = empty_figures(bench, points)
    assert figures["abstained"] == 1.0
    assert figures["reasons"] == {"no_nodule_here": 3}
    assert figures["mean_probability"] is None
