"""Memory layouts in which networks run fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def as_channels_last(inputs: Tensor) -> Tensor:
    """Return a tensor in channels-last layout, which speeds up bfloat16 convolutions."""
    import torch

    layout = torch.channels_last_3d if inputs.dim() == 5 else torch.channels_last
    return inputs.to(memory_format=layout)


def as_inference_layout(network: nn.Module) -> nn.Module:
    """Convert weights to the memory layout of ``as_channels_last``."""
    import torch
    from torch import nn

    volumetric = any(isinstance(m, nn.Conv3d) for m in network.modules())
    return network.to(memory_format=torch.channels_last_3d if volumetric else torch.channels_last)
