"""Whole-slice pictures (PNG, JPEG) as network input, and a description of how like the training pictures they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inference.preprocessing import PreprocessingSpec, normalise_grey

PAPER_SPEC = PreprocessingSpec()
"""224 pixels, mean 0.5 and standard deviation 0.5; the window plays no part for pictures."""


def slice_input(grey: NDArray[np.uint8], spec: PreprocessingSpec = PAPER_SPEC) -> Tensor:
    """``(rows, columns)`` grey values 0..255 to ``(1, 1, 224, 224)``, antialiased and normalised."""
    values = torch.from_numpy(np.array(grey, dtype=np.float32))[None, None].div_(255.0)
    size = (spec.size, spec.size)
    resized = functional.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
    return normalise_grey(resized.clamp(0.0, 1.0), spec)


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
