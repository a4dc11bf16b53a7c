"""Attention lies on the slice where the network looked."""

from __future__ import annotations

import numpy as np
import pytest

from inference.loading import Models
from inference.networks.attention import place_on_slice, stretched
from inference.networks.explanation import MapKind
from inference.types import CtVolume
from tests.support.factories import SimpleNodule, add_ball, simple_chest


def test_weights_are_stretched_and_even_ones_tell_nothing() -> None:
    assert stretched(np.array([[2.0, 4.0], [3.0, 2.0]], np.float32)).tolist() == [[0, 1], [0.5, 0]]
    assert not stretched(np.full((2, 2), 0.7, np.float32)).any()


def test_a_view_is_laid_about_its_centre_and_no_further() -> None:
    weights = np.zeros((14, 14), np.float32)
    weights[3, 10] = 1.0  # above the centre, and to the right of it
    laid = place_on_slice(weights, (200, 300), (120.0, 80.0), (0.5, 1.0), 28.0)
    rows, columns = np.nonzero(laid)
    # one weight spans 2 mm; its middle lies (3.5 - 7) * 2 mm = -7 mm down and (10.5 - 7) * 2 mm = 7 mm to the right
    peak = np.unravel_index(laid.argmax(), laid.shape)
    assert peak == pytest.approx((120 - 7 / 0.5, 80 + 7 / 1.0), abs=1)
    assert rows.min() >= 120 - 14 / 0.5
    assert columns.max() <= 80 + 14
    everywhere = place_on_slice(np.ones((14, 14), np.float32), (200, 300), (120.0, 80.0), (0.5, 1.0), 28.0)
    assert everywhere.sum() == 57 * 29  # 28 mm in each direction, both edges included


def test_the_shipped_model_has_an_attention_map(shipped_models: Models) -> None:
    spacing_mm = (2.0, 0.8, 0.8)
    nodule = SimpleNodule(index=(20.0, 150.0, 270.0), diameter_mm=14.0)
    hu = add_ball(simple_chest(40, 320, 400, spacing_mm), spacing_mm, nodule)
    analyzer = shipped_models.nodule
    volume = CtVolume(hu, spacing_mm, np.eye(4))
    for kind in MapKind:
        weights = analyzer.explanation(volume, nodule.index, kind)
        assert weights is not None
        assert weights.shape == (320, 400)
        assert (weights.min(), weights.max()) == (0, pytest.approx(1, abs=0.05))
        rows, columns = np.nonzero(weights)
        assert abs(rows.mean() - 150) < 25
        assert abs(columns.mean() - 270) < 25
