"""Whole-slice pictures (PNG, JPEG) as network input, and a description of how like the training pictures they are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from inference.preprocessing import PreprocessingSpec, normalise_grey

PAPER_SPEC = PreprocessingSpec()
"""224 pixels, mean 0.5 and standard deviation 0.5; the window plays no part for pictures."""


def slice_input(grey: NDArray[np.uint8], spec: PreprocessingSpec = PAPER_SPEC) -> Tensor:
    """``(rows, columns)`` grey values 0..255 to ``(1, 1, 224, 224)``, antialiased and normalised."""
    rows, columns = (_linear_antialiased(side, spec.size) for side in grey.shape)
    lower = torch.from_numpy(rows @ grey.astype(np.float32))  # (224, columns)
    turned = lower.t().contiguous().numpy()  # torch turns it thrice as fast as NumPy
    resized = torch.from_numpy(columns @ turned).t().contiguous().div_(255.0)  # (224, 224)
    return normalise_grey(resized.clamp_(0.0, 1.0)[None, None], spec)


@lru_cache(maxsize=64)
def _linear_antialiased(samples: int, size: int) -> csr_array:
    """Weights ``(size, samples)`` of linear interpolation, widened by the scale where it shrinks.

    Those of Pillow and of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``; few of them are not 0.
    """
    scale = samples / size
    centres = (np.arange(size)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(samples)[None] + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distances)
    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


DESCRIPTOR_SIZE = 16


def picture_descriptor(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a picture looks like from afar: a 16x16 thumbnail, a histogram of 16 bins and its edge energy.

    Used by the domain gate: the distance to the training pictures in this space tells a CT slice of the kind the
    model knows from a photograph, a lung-window slice or noise. Returns ``(273,)`` float64.
    """
    values = np.array(grey, dtype=np.float32) / 255.0
    thumb = functional.interpolate(
        torch.from_numpy(values)[None, None], size=(DESCRIPTOR_SIZE, DESCRIPTOR_SIZE), mode="bilinear", antialias=True
    )[0, 0].numpy()
    middle = functional.interpolate(
        torch.from_numpy(values)[None, None], size=(128, 128), mode="bilinear", antialias=True
    )[0, 0]
    histogram = np.histogram(middle.numpy(), bins=16, range=(0.0, 1.0))[0] / middle.numel()
    edges = float((middle[1:] - middle[:-1]).abs().mean() + (middle[:, 1:] - middle[:, :-1]).abs().mean())
    return np.concatenate([thumb.ravel(), 4.0 * np.sqrt(histogram), [10.0 * edges]]).astype(np.float64)
