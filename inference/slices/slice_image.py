"""Whole-slice pictures (PNG, JPEG) as network input."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from inference.volumes.preprocessing import PreprocessingSpec, normalise_grey

PAPER_SPEC = PreprocessingSpec()
"""224 pixels, mean 0.5 and standard deviation 0.5; the window plays no part for pictures."""


def slice_input(grey: NDArray[np.uint8], spec: PreprocessingSpec = PAPER_SPEC) -> Tensor:
    """``(rows, columns)`` grey values 0..255 to ``(1, 1, 224, 224)``, antialiased and normalised."""
    rows, columns = (_linear_antialiased(side, spec.size) for side in grey.shape)
    lower = torch.from_numpy(rows @ grey.astype(np.float32))  # (224, columns)
    transposed = lower.t().contiguous().numpy()  # torch transposes it thrice as fast as NumPy
    resized = torch.from_numpy(columns @ transposed).t().contiguous().div_(255.0)  # (224, 224)
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
