"""The page of the models says what ``/model_status`` says, draws what it holds, and leaves out what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.webapp_doubles import STATUS
from tests.unit.webapp.conftest import Web
from webapp.operations import plots
from webapp.operations.model_cards import model_cards


def numbers(value: object) -> Iterator[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


def metrics() -> dict[str, Any]:
    recorded = STATUS["metrics"]
    assert isinstance(recorded, dict)
    return dict(recorded)


def test_the_page_shows_the_figures_of_model_status(web: Web) -> None:
    page = web.client().get("/model").text
    (model,) = web.client().get("/model_status").get_json()["models"]
    shown = dict(re.findall(r'data-figure="(\w+)">([^<]*)<', page))
    assert shown.pop("n") == "120"
    assert set(shown) == {"auc", "ece", "brier", "sensitivity", "specificity"}
    for key, text in shown.items():
        assert float(text) == pytest.approx(model["metrics"][key], abs=0.0005), key
    for key, text in re.findall(r'data-measured="(\w+)">([^<]*)<', page):
        result = [float(part) for part in re.findall(r"\d+\.?\d*", text)] if key != "split" else []
        assert result == pytest.approx(list(numbers(model["metrics"][key])), abs=0.0005), key
    for part in ("baselines", "subgroups", "coverage_by_class"):
        for number in numbers(model["metrics"][part]):
            assert (f"{number:.3f}" if isinstance(number, float) else str(number)) in page, (part, number)


def test_limits_data_and_use_are_shown(web: Web) -> None:
    page = web.client().get("/model").text
    for text in ("Tested on nothing: this is a test.", "an invented set for tests", "never a diagnosis", "ab" * 32):
        assert text in page


def test_what_is_drawn_is_also_said(web: Web) -> None:
    page = web.client().get("/model").text
    labels = re.findall(r'<svg class="plot"[^>]*aria-label="([^"]+)"', page)
    assert len(labels) == 4
    assert "20 % predicted, 5 % observed (n 60)" in labels[0]
    assert "6 % predicted, 5 % observed (n 60)" in labels[1]
    assert labels[
        2
    ] == "Sensitivity for malignant cases: 60 % at 10 % false positives, 90 % at 20 % false positives, " + (
        "90 % at 50 % false positives. Area 0.900."
    )
    assert labels[3].startswith("Below 50 %: 62 of 72 benign cases.")


def test_a_bundle_without_curves_shows_its_own_plots(web: Web) -> None:
    recorded = metrics()
    for name in ("reliability", "reliability_before", "roc", "histogram"):
        del recorded[name]
    web.predictor.status = lambda: {"models": [STATUS | {"metrics": recorded}]}  # type: ignore[method-assign]
    page = web.client().get("/model").text
    assert 'src="/model/nodule/reliability_before.png"' in page
    assert "reliability_after.png" not in page
    assert '<svg class="plot"' not in page
    assert web.client().get("/model/nodule/reliability_before.png").mimetype == "image/png"
    assert web.client().get("/model/nodule/reliability_after.png").status_code == 404
    assert web.client().get("/model/other/reliability_before.png").status_code == 404


@pytest.mark.parametrize("recorded", [{}, {"n": 3}, {"auc": "high"}])
def test_a_model_that_was_not_measured_has_a_card_without_figures(web: Web, recorded: dict[str, object]) -> None:
    web.predictor.status = lambda: {"models": [STATUS | {"metrics": recorded}]}  # type: ignore[method-assign]
    page = web.client().get("/model").text
    assert 'class="headlines"' not in page
    assert "Tested on nothing" in page


def test_no_model_is_said_to_be_none(web: Web) -> None:
    web.predictor.has_model = False
    assert "No model is loaded" in web.client().get("/model").text


@pytest.mark.parametrize(
    "figures",
    [
        None,
        [],
        {},
        {"mean": [0.1], "observed": [0.1], "low": [0.0], "high": [1.0]},
        {"mean": [0.1, 0.2], "observed": [0.1], "low": [0.0], "high": [1.0], "n": [1]},
        {"mean": ["x"], "observed": [0.1], "low": [0.0], "high": [1.0], "n": [1]},
        {"mean": [float("nan")], "observed": [0.1], "low": [0.0], "high": [1.0], "n": [1]},
    ],
)
def test_what_is_not_of_the_documented_form_makes_no_plot(figures: object) -> None:
    assert plots.reliability(figures) is None
    assert plots.roc(figures, 0.9) is None
    assert plots.histogram(figures) is None


def test_a_point_lies_where_its_numbers_say() -> None:
    plot = plots.reliability({"mean": [0.25], "observed": [0.4], "low": [0.2], "high": [0.7], "n": [9]})
    assert plot is not None
    (result,) = plot.bins
    assert (result.x, result.y, result.top, result.bottom) == pytest.approx((25, 60, 30, 80))


def test_a_curve_goes_from_the_lower_left_to_the_upper_right() -> None:
    curve = plots.roc({"fpr": [0.0, 0.1, 1.0], "tpr": [0.0, 0.8, 1.0]}, None)
    assert curve is not None
    assert curve.path == "M0.00 100.00L10.00 20.00L100.00 0.00"


def test_the_highest_bar_reaches_the_edge() -> None:
    plot = plots.histogram({"edges": [0.0, 0.5, 1.0], "benign": [8, 2], "malignant": [1, 4]})
    assert plot is not None
    assert [bar.benign_height for bar in plot.bars] == [50, 12.5]
    assert [bar.malignant_height for bar in plot.bars] == [6.25, 25]


def test_values_are_compared_on_one_scale_that_holds_their_intervals() -> None:
    (card,) = model_cards({"models": [STATUS]})
    assert card.comparison is not None
    assert [row.label for row in card.comparison.rows] == [
        *("This model, all cases", "Diameter by readers", "Below 6 mm", "8 mm and more")
    ]
    for row in card.comparison.rows:
        assert row.x_interval is not None
        assert 0 <= row.x_interval[0] <= row.x <= row.x_interval[1] <= 100
    assert card.comparison.ticks[0][1] == pytest.approx(0)
    assert card.comparison.ticks[-1] == pytest.approx((1.0, 100))
