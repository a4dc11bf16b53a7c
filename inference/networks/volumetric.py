"""A small 3D residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block3d(nn.Module):
    """Two 3x3x3 convolutions with a 1x1x1 shortcut, pre-pooled by two where asked."""

    def __init__(self, in_channels: int, out_channels: int, *, pool: bool) -> None:
        super().__init__()
        self.pool: nn.Module = nn.MaxPool3d(2) if pool else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, bias=False), nn.BatchNorm3d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, d, h, w)`` to ``(n, out, d', h', w')``."""
        x = self.pool(x)
        return torch.relu(self.body(x) + self.shortcut(x))


class VolumetricResNet(nn.Module):
    """Four residual stages over a cube of HU, pooled to two logits.

    Parameters
    ----------
    widths
        Channels of the stages; (16, 32, 48, 64) has 0.4 million parameters.
    num_classes
        Length of the logit vector.
    in_channels
        Windows stacked as channels.
    dropout
        Before the linear layer.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 48, 64),
        num_classes: int = 2,
        in_channels: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = in_channels
        for number, width in enumerate(widths):
            stages.append(Block3d(channels, width, pool=number > 0))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, 32, 32, 32)`` to logits ``(n, num_classes)``."""
        x = self.stages(x)
        pooled = torch.cat([x.mean(dim=(2, 3, 4)), x.amax(dim=(2, 3, 4))], dim=1)
        return self.head(self.dropout(pooled))
