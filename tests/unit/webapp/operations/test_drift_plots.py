"""Plots of drift as geometry and in words; what is not of the documented form makes none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask_babel import Babel

from webapp.operations.drift_plots import overlay, trend

HISTORY = [
    {"block": 1, "input": 0.05, "drifted": []},
    {"block": 2, "input": 0.6, "drifted": ["hu_shares"]},
    {"block": 3, "input": 0.3, "drifted": ["findings"]},
]


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    app = Flask("plots")
    Babel(app)
    with app.test_request_context():
        yield


def test_a_trend_goes_up_with_the_index_and_marks_blocks_that_drifted_in_what_it_shows() -> None:
    drawn = trend(HISTORY, "input", frozenset({"hu_shares"}))
    assert drawn is not None
    assert [(point.x, point.is_drifted) for point in drawn.points] == [(0, False), (50, True), (100, False)]
    assert drawn.points[1].y == 0
    assert drawn.points[0].y > drawn.limit_y > drawn.points[2].y
    assert "0.05, 0.60, 0.30" in drawn.text
    assert "1 of them has drifted" in drawn.text


def test_an_index_that_no_block_has_makes_no_trend() -> None:
    assert trend(HISTORY, "nodule", frozenset()) is None
    assert trend([], "input", frozenset()) is None


def test_two_histograms_share_one_scale_and_state_their_means() -> None:
    drawn = overlay({"reference": [0.5, 0.5], "recent": [0.0, 1.0]}, 0, 100, "%")
    assert drawn is not None
    assert drawn.bars == ((0, 50, 0), (50, 50, 100))
    assert drawn.path.startswith("M0 100L0.00 50.00L50.00 50.00")
    assert "reference 50 %, of the latest series 75 %" in drawn.text


@pytest.mark.parametrize(
    "figures", [None, {}, {"reference": [1.0], "recent": []}, {"reference": ["x"], "recent": [1.0]}]
)
def test_what_is_no_comparison_makes_no_plot(figures: object) -> None:
    assert overlay(figures, 0, 1, "HU") is None
