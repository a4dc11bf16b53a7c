"""FROC: thresholds by other findings, sensitivities, and how candidates are held against nodules."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from inference.bundle import Bundle
from inference.lungs.search_region import LungSegmentation
from inference.malignancy.ensemble import Ensemble, EnsembleAnswer
from inference.types import Candidate, CtVolume
from inference.volumes.patches import PatchCentre
from training.data.marked_series import MarkedSeries, SeriesMark
from training.report import froc, scan_candidates
from training.report.froc import (
    RATES,
    froc_figures,
    operating_threshold,
    part_figures,
    point_figures,
    sensitivity,
    thresholds_at,
)
from training.report.scan_candidates import ScanResult, Scored, Target, outside_marks, probability_at

OTHERS = [np.array([0.9, 0.5, 0.2]), np.array([0.7]), np.array([])]


def target(probability: float, *, patient: str = "p", diameter_mm: float = 8.0, attachment: str = "free") -> Target:
    return Target(patient, "s", diameter_mm, attachment, probability)


@pytest.mark.parametrize(
    ("rate", "allowed"), [(0.125, 0), (0.25, 0), (1 / 3, 1), (0.5, 1), (2 / 3, 2), (1.0, 3), (4 / 3, 4), (8.0, 4)]
)
def test_a_threshold_lets_no_more_others_pass_than_its_rate(rate: float, allowed: int) -> None:
    threshold = thresholds_at(OTHERS, (rate,))[0]
    assert (np.concatenate(OTHERS) >= threshold).sum() == allowed
    if allowed < 4:  # and it is the lowest such threshold
        assert (np.concatenate(OTHERS) >= np.nextafter(threshold, 0.0)).sum() == allowed + 1


@pytest.mark.parametrize(
    ("probabilities", "threshold", "share"),
    [([0.9, 0.1], 0.5, 0.5), ([0.9, 0.1], 0.0, 1.0), ([0.9, 0.0], 0.0, 0.5), ([0.0], 0.0, 0.0)],
)
def test_a_nodule_without_a_candidate_is_never_found(
    probabilities: list[float], threshold: float, share: float
) -> None:
    assert sensitivity([target(p) for p in probabilities], threshold) == share


def test_cpm_is_the_mean_of_the_seven_sensitivities() -> None:
    targets = [target(p, patient=str(number)) for number, p in enumerate((0.95, 0.8, 0.6, 0.1, 0.0))]
    figures = froc_figures(OTHERS, targets)
    shares = list(figures["sensitivity"].values())
    assert list(figures["sensitivity"]) == [str(rate) for rate in RATES]
    assert shares == [0.2, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    assert figures["cpm"] == pytest.approx(np.mean(shares))
    assert figures["cpm_interval"][0] <= figures["cpm"] <= figures["cpm_interval"][1]
    assert (figures["n"], figures["patients"]) == (5, 5)


def test_the_bootstrap_draws_patients() -> None:
    separate = [target(0.95 if number % 2 else 0.0, patient=str(number)) for number in range(40)]
    together = [target(0.95 if number % 2 else 0.0, patient=str(number % 2)) for number in range(40)]
    narrow, wide = (
        figures["cpm_interval"] for figures in (froc_figures(OTHERS, separate), froc_figures(OTHERS, together))
    )
    assert wide == [0.0, 1.0]
    assert 0.2 < narrow[0] < 0.5 < narrow[1] < 0.8


def test_no_nodule_gives_no_figure() -> None:
    assert np.isnan(froc_figures(OTHERS, [])["cpm"])


def test_parts_by_size_place_and_density() -> None:
    targets = [target(0.95, diameter_mm=5.0, attachment="pleura"), target(0.6, diameter_mm=20.0)]
    parts = part_figures(OTHERS, targets, {("p", 20.0): "solid"})
    assert {name: part["n"] for name, part in parts["size"].items()} == {
        "6 mm and more": 1, "below 6 mm": 1, "6 to 8 mm": 0, "8 to 15 mm": 0, "15 mm and more": 1,
    }  # fmt: skip
    assert parts["attachment"]["pleura"]["sensitivity"]["0.125"] == 1.0
    assert {name: part["n"] for name, part in parts["density"].items()} == {"not measured": 1, "solid": 1}


@pytest.mark.parametrize(
    ("others", "low", "high"),
    [
        ([[0.9, 0.8, 0.2], [0.7, 0.1]], 0.7, 0.8),  # two of five stay
        ([[0.9], []], 0.0, 0.0),  # all stay
        ([[0.9, 0.9], []], 0.0, 0.0),
        ([[0.99, 0.98], [], []], 0.0, 0.0),
    ],
)
def test_the_operating_point_lies_between_two_other_findings(
    others: list[list[float]], low: float, high: float
) -> None:
    threshold = operating_threshold([np.array(one) for one in others])
    assert low <= threshold <= high
    if high:
        assert (threshold / (1 - threshold)) ** 2 == pytest.approx(low / (1 - low) * high / (1 - high))
    assert sum(value >= threshold for one in others for value in one) <= len(others)


def test_the_operating_point_counts_only_series_that_were_fully_read() -> None:
    results = [
        ScanResult("A", np.array([0.9, 0.2]), (target(0.8), target(0.3)), ()),
        ScanResult("Q", None, (target(0.95),), ()),
    ]
    point = point_figures(results, [target(0.7)], 0.5)
    assert point["other_findings"] == {"A": 1}
    assert (point["marks_found"], point["marks"], point["inserted_sensitivity"]) == (2, 3, 1.0)


def volume() -> CtVolume:
    affine = np.array([[0, 0, 0.5, 0], [0, 0.5, 0, 0], [2.0, 0, 0, 0.0], [0, 0, 0, 1]])
    return CtVolume(np.zeros((40, 64, 64), np.int16), (2.0, 0.5, 0.5), affine)


@pytest.mark.parametrize(
    ("diameter_mm", "column", "probability"),
    [
        (4.0, 30.0, 0.8),  # both candidates: the more probable one
        (4.0, 39.0, 0.6),  # 4.5 mm from the first, 5.2 mm from the second
        (4.0, 41.0, 0.0),
        (16.0, 44.0, 0.8),  # 7 mm away is within the radius
        (16.0, 48.0, 0.0),
    ],
)
def test_a_candidate_finds_a_nodule_within_its_radius(diameter_mm: float, column: float, probability: float) -> None:
    scored = Scored(np.array([[20.0, 30.0, 30.0], [21.3, 30.0, 30.0]]), np.array([0.6, 0.8]))
    assert probability_at(scored, volume(), (20.0, 30.0, column), diameter_mm) == probability


class Scorer:
    """Gives each candidate a probability in turn."""

    bundle = Bundle(Path(), {"task": "filter", "gate": {"max_candidates": 9}, "operating_points": {"confirm": 0.9}}, {})

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = probabilities

    def answer_at(self, volume: CtVolume, centres: list[PatchCentre]) -> EnsembleAnswer:
        p = np.array(self.probabilities)
        return EnsembleAnswer(p, p, p)


@pytest.mark.parametrize(
    ("probabilities", "excluded_rows", "rows"),
    [
        ([0.7, 0.8, 0.9], (), [30.0, 10.0]),  # by probability; the second and third are one
        ([0.7, 0.8, 0.9], (30.0,), [10.0]),
        ([0.7, 0.8, 0.4], (30.0,), [32.0, 10.0]),
        ([0.2, 0.1, 0.4], (30.0, 10.0), [30.0, 10.0]),  # too improbable to be measured
    ],
)
def test_candidates_are_merged_and_excluded_as_in_serving(
    probabilities: list[float], excluded_rows: tuple[float, ...], rows: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [(20.0, row, 30.0) for row in (10.0, 32.0, 30.0)]
    candidates = tuple(Candidate(point, scale_mm=6.0, strength=1.0) for point in points)
    monkeypatch.setattr(scan_candidates, "find_candidates", lambda *_, limit: candidates[:limit])
    monkeypatch.setattr(scan_candidates, "_is_excluded", lambda _v, _l, index: index[1] in excluded_rows)
    lungs = cast("LungSegmentation", None)
    scored = scan_candidates.scored_candidates(volume(), lungs, cast("Ensemble", Scorer(probabilities)))
    assert scored.indices[:, 1].tolist() == rows
    assert (np.diff(scored.probabilities) <= 0).all()


def test_a_finding_at_any_mark_is_no_other_finding() -> None:
    marks = (SeriesMark(30.0, 30.0, 40.0, 6.0, 1), SeriesMark(10.0, 10.0, 10.0, 30.0, 4))
    series = MarkedSeries("A", Path("A"), "train", True, marks)
    indices = np.array([[20.0, 30.0, 34.0], [5.0, 10.0, 38.0], [30.0, 50.0, 50.0]])
    assert outside_marks(series, volume(), indices).tolist() == [False, False, True]


@pytest.mark.parametrize("split", ["test", "e2e"])
@pytest.mark.parametrize("options", [["--choose"], ["--confirm", "0.9"]])
def test_the_operating_point_is_never_chosen_on_what_is_measured(
    tmp_path: Path, split: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        froc.main(["--data", str(tmp_path), "--split", split, *options])
    assert "need --split train or val" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["0", "1", "1.2", "nan", "most"])
def test_an_operating_point_is_a_probability(tmp_path: Path, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        froc.main(["--data", str(tmp_path), "--split", "val", "--confirm", share])
    assert "--confirm" in capsys.readouterr().err


def test_a_folder_without_the_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert froc.main(["--data", str(tmp_path)]) == 2
    assert "docs/data.md" in capsys.readouterr().err
