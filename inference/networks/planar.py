"""The paper's network: a slim ResNet-18 derivative with channel and spatial attention, one grey channel in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class NetworkPreset:
    """Widths of stem and stages, and basic blocks per stage."""

    stem: int
    stages: tuple[int, ...]
    blocks: int = 2


PRESETS: dict[str, NetworkPreset] = {
    "small": NetworkPreset(stem=16, stages=(32, 64, 128)),
    "paper": NetworkPreset(stem=32, stages=(64, 128, 256)),
    "large": NetworkPreset(stem=64, stages=(128, 256, 512)),
}
"""``paper`` has 2.8 million parameters as described; ``large`` reaches the 11 million that the paper states."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with an identity or 1x1 shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h / stride, w / stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation: global average pool, MLP 4:1, sigmoid (Hu et al. 2018, eq. 2-4)."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of ``(n, c, h, w)``."""
        weights = torch.sigmoid(self.mlp(x.mean(dim=(2, 3))))  # (n, c)
        return x * weights[:, :, None, None]


class SpatialAttention(nn.Module):
    """A 1x1 convolution to one map and a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def weights(self, x: Tensor) -> Tensor:
        """Attention in 0..1, ``(n, 1, h, w)``."""
        return torch.sigmoid(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the positions of ``(n, c, h, w)``."""
        return x * self.weights(x)


class AttentionResNet(nn.Module):
    """7x7/2 stem, three residual stages, channel then spatial attention, pooled to ``num_classes`` logits.

    Parameters
    ----------
    preset
        Widths and depth.
    num_classes
        Length of the logit vector.
    in_channels
        1 as in the paper; 3 where three orthogonal planes or neighbouring windows are stacked.
    dropout
        Before the linear layer; 0 as in the paper.
    """

    def __init__(
        self, preset: NetworkPreset = PRESETS["paper"], num_classes: int = 2, in_channels: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, preset.stem, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(preset.stem),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages: list[nn.Module] = []
        channels = preset.stem
        for number, width in enumerate(preset.stages):
            for block in range(preset.blocks):
                stride = 2 if block == 0 and number > 0 else 1
                stages.append(BasicBlock(channels, width, stride))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention(channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Channel-weighted features, ``(n, c, h / 16, w / 16)``."""
        return self.channel_attention(self.stages(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, 224, 224)`` to logits ``(n, num_classes)``."""
        x = self.spatial_attention(self.features(x))
        return self.head(self.dropout(x.mean(dim=(2, 3))))

    def attention_map(self, x: Tensor) -> Tensor:
        """Return the spatial attention in 0..1, ``(n, h / 16, w / 16)``."""
        return self.spatial_attention.weights(self.features(x))[:, 0]


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
