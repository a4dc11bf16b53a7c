"""The networks have the described shape, size and attention."""

from __future__ import annotations

import pytest
import torch

from inference.networks.planar import PRESETS, AttentionResNet, parameter_count
from inference.networks.volumetric import VolumetricResNet


@pytest.mark.parametrize(("preset", "millions"), [("small", 0.7), ("paper", 2.8), ("large", 11.2)])
def test_presets_have_the_stated_number_of_parameters(preset: str, millions: float) -> None:
    assert round(parameter_count(AttentionResNet(PRESETS[preset])) / 1e6, 1) == millions


def test_the_planar_network_maps_a_picture_to_two_logits_and_shows_its_attention() -> None:
    network = AttentionResNet(PRESETS["small"]).eval()
    x = torch.randn(2, 1, 224, 224)
    with torch.inference_mode():
        assert network(x).shape == (2, 2)
        attention = network.attention_map(x)
    assert attention.shape == (2, 14, 14)
    assert float(attention.min()) >= 0.0
    assert float(attention.max()) <= 1.0


def test_attention_weighs_what_reaches_the_logits() -> None:
    torch.manual_seed(0)
    network = AttentionResNet(PRESETS["small"]).eval()
    x = torch.randn(1, 1, 224, 224)
    with torch.inference_mode():
        before = network(x)
        bias = network.spatial_attention.conv.bias
        assert bias is not None
        bias.fill_(-50.0)
        silent = network(x)
    assert not torch.allclose(before, silent)
    assert torch.allclose(silent[0], network.head.bias, atol=1e-4)


def test_the_volumetric_network_maps_a_cube_to_two_logits() -> None:
    network = VolumetricResNet(in_channels=2).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 2, 32, 32, 32)).shape == (2, 2)
