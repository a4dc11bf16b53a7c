"""The committed report is of the shipped bundles, with the very figures that the service shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.bundle import SHIPPED, read_bundle
from inference.description import describe_models
from training.report.markdown import within
from training.report.pages import pages

FOLDER = Path(__file__).parents[4] / "docs" / "model"
TASKS = ("nodule", "filter", "slice")
AGAIN = "run `python -m training.report --data DIR --out docs/model`"


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Figures of the report."""
    return json.loads((FOLDER / "figures.json").read_text())


def test_the_report_is_of_the_shipped_bundles(figures: dict[str, Any]) -> None:
    for task in TASKS:
        bundle = read_bundle(SHIPPED / task)
        assert figures[task]["bundle"]["sha256"] == bundle.sha256, AGAIN
        assert figures[task]["metrics"] == bundle.recipe["metrics"], AGAIN


def test_the_service_shows_the_figures_of_the_report(figures: dict[str, Any]) -> None:
    statuses = {status.task: status for status in describe_models(None, "cpu").statuses}
    for task in TASKS:
        assert statuses[task].metrics == figures[task]["metrics"], AGAIN
        assert statuses[task].sha256 == figures[task]["bundle"]["sha256"], AGAIN


def test_cards_print_the_figures_that_the_service_shows(figures: dict[str, Any]) -> None:
    for task in TASKS:
        metrics, card = read_bundle(SHIPPED / task).recipe["metrics"], (FOLDER / f"{task}.md").read_text()
        assert f"| AUC | {within(metrics['auc'], metrics['auc_interval'])} |" in card
        assert f"| ECE | {within(metrics['ece'], metrics['ece_interval'])} |" in card
        for name, word in (("brier", "Brier score"), ("nll", "log loss"), ("accuracy", "accuracy at 0.5")):
            assert f"| {word} | {within(metrics[name], metrics.get(f'{name}_interval'))} |" in card


def test_pages_are_those_that_the_figures_give(figures: dict[str, Any]) -> None:
    again = "run `python -m training.report --render --out docs/model`"
    for name, text in pages(figures).items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, again


def test_every_plot_is_shown_and_the_report_stays_small() -> None:
    plots = {path.name for path in FOLDER.glob("*.png")}
    shown = "".join(path.read_text() for path in FOLDER.glob("*.md"))
    assert plots
    assert {name for name in plots if f"({name})" in shown} == plots
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


def test_the_card_states_detection_at_the_threshold_that_ships(figures: dict[str, Any]) -> None:
    recipe, card = read_bundle(SHIPPED / "filter").recipe, (FOLDER / "filter.md").read_text()
    detection = recipe["detection"]
    assert detection["split"] == "test"
    assert detection["by_fold"]
    assert detection["operating_point"]["threshold"] == recipe["operating_points"]["confirm"]
    inserted = detection["inserted"]
    assert f"(CPM): {within(inserted['cpm'], inserted['cpm_interval'])}." in card
    sensitivity = within(inserted["sensitivity"]["1.0"], inserted["interval"]["1.0"])
    assert f"| 1 | {sensitivity} |" in card
    assert sensitivity in (FOLDER / "README.md").read_text()
