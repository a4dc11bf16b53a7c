"""Maps say where the network looked and what moved it, and their shares are measured right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.bundle import SHIPPED, read_bundle
from inference.malignancy.ensemble import Ensemble
from inference.networks.attention import place_on_slice, share_on
from inference.networks.explanation import attention_weights, gradient_weights
from inference.types import CtVolume
from inference.volumes.patches import cut_patch
from training.report.explanations import regions


def ball(radius_mm: float = 6.0) -> CtVolume:
    """Lung of -850 HU with a ball in its middle."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (9, 64, 64)), indexing="ij")
    inside = (y * 0.7) ** 2 + (x * 0.7) ** 2 + (z * 2.0) ** 2 < radius_mm**2
    return CtVolume(np.where(inside, 40, -850).astype(np.int16), (2.0, 0.7, 0.7), np.diag([2.0, 0.7, 0.7, 1.0]))


def test_shares_are_those_of_the_area_for_a_uniform_map() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[:5, :6] = True
    assert share_on(np.ones((20, 30), np.float32), mask) == pytest.approx(0.05)
    assert np.isnan(share_on(np.zeros((20, 30), np.float32), mask))


def test_the_gradient_map_lies_on_what_is_not_plain_lung() -> None:
    volume = ball()
    ensemble = Ensemble(read_bundle(SHIPPED / "nodule"), torch.device("cpu"))
    assert ensemble.planar_member is not None
    view, network = ensemble.planar_member
    inputs = view.inputs([cut_patch(volume, (4, 32, 32))])
    attention = attention_weights(view, network, inputs)[0]
    gradient = gradient_weights(view, network, inputs, steps=4)[0]
    assert attention.shape == (14, 14)
    assert gradient.shape == (224, 224)
    assert 0 <= attention.min() <= attention.max() <= 1
    nodule = volume.volume_hu[4] > -400
    laid = [place_on_slice(m, (64, 64), (32, 32), (0.7, 0.7), 32.0) for m in (np.ones_like(attention), gradient)]
    uniform, moved = (share_on(m, nodule) for m in laid)
    assert uniform == pytest.approx(np.pi * 36 / 32**2, rel=0.08)
    assert moved > 0.9  # in noiseless lung nothing else differs from the baseline


def test_chest_wall_is_not_lung_but_vessels_and_the_nodule_are() -> None:
    hu = np.full((60, 60), -850, np.int16)
    hu[:, :15] = 40  # chest wall, 10 mm thick
    hu[10:13, 15:] = 40  # a vessel, 2 mm
    nodule = np.zeros((60, 60), dtype=bool)
    nodule[30:45, 15:30] = True  # on the pleura
    hu[nodule] = 40
    masks = regions(hu, nodule, (0.7, 0.7))
    assert not masks["lung"][:, :12].any()
    assert masks["lung"][11, 25:].all()
    assert masks["lung"][nodule].all()
    assert masks["nodule and rim"].sum() > nodule.sum()
