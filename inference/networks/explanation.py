"""Explanation maps of the planar network: spatial attention and gradient attribution of one view.

Neither says why a nodule is called malignant. ``training.report.explanations`` measures how much of each lies on the
nodule.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as ndi
from torch import Tensor

from inference.memory_layout import as_channels_last
from inference.networks.attention import stretched
from inference.networks.planar import AttentionResNet
from inference.volumes.patch_views import ViewSpec
from inference.volumes.preprocessing import normalise

Weights = NDArray[np.float32]
PLAIN_LUNG_HU = -850.0
"""Baseline of the gradient map: the same view without a nodule."""
PATH_STEPS = 16
SHOWN_BLUR_MM = 0.7
SHOWN_QUANTILE = 99.5
"""Cut of the peaks of a gradient map, which would hide everything else."""


class MapKind(StrEnum):
    """Kinds of maps."""

    ATTENTION = "attention"
    GRADIENT = "gradient"


def attention_weights(_view: ViewSpec, network: AttentionResNet, inputs: Tensor) -> Weights:
    """Return the network's spatial attention for ``view.inputs``, ``(n, h, w)`` in 0..1 over the view's field."""
    with torch.inference_mode():
        attention = network.attention_map(as_channels_last(inputs))
    return np.asarray(attention.float().cpu().numpy(), dtype=np.float32)


def gradient_weights(view: ViewSpec, network: AttentionResNet, inputs: Tensor, *, steps: int = PATH_STEPS) -> Weights:
    """Return how far each pixel moves the malignant margin from that of plain lung, ``(n, size, size)``, >= 0.

    Integrated gradients (Sundararajan et al. 2017, eq. 3), absolute values summed over the view's windows.
    """
    from captum.attr import IntegratedGradients  # a third of a second and matplotlib: loaded where it is asked for

    def margin(inputs: Tensor) -> Tensor:
        logits = network(inputs)
        return logits[:, 1] - logits[:, 0]

    plain = torch.full_like(inputs[:, :1], PLAIN_LUNG_HU)
    baselines = torch.cat([normalise(plain, spec) for spec in view.windows], dim=1)
    moved = IntegratedGradients(margin).attribute(
        inputs, baselines=baselines, n_steps=steps, internal_batch_size=max(steps, len(inputs))
    )
    return np.asarray(moved.abs().sum(dim=1).detach().cpu().numpy(), dtype=np.float32)


def shown(weights: Weights, kind: MapKind, field_mm: float) -> Weights:
    """Return a map ``(h, w)`` for display, 0..1: attention unchanged, gradients smoothed with cut peaks."""
    if kind is MapKind.GRADIENT:
        weights = ndi.gaussian_filter(weights, SHOWN_BLUR_MM * weights.shape[0] / field_mm)
        weights = np.minimum(weights, np.percentile(weights, SHOWN_QUANTILE))
    return stretched(weights)


MAPS: dict[MapKind, Callable[[ViewSpec, AttentionResNet, Tensor], Weights]] = {
    MapKind.ATTENTION: attention_weights,
    MapKind.GRADIENT: gradient_weights,
}
