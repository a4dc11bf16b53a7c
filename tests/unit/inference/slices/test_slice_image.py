"""The one resize of training and serving is that of torch and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from inference.slices.slice_image import PAPER_SPEC, slice_input
from inference.volumes.preprocessing import normalise_grey


@pytest.mark.parametrize("shape", [(512, 512), (64, 64), (224, 224), (223, 225), (1024, 768), (65, 3000)])
def test_a_picture_is_resized_as_torch_does(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    values = torch.from_numpy(grey.astype(np.float32) / 255.0)[None, None]
    resized = functional.interpolate(values, size=(224, 224), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(slice_input(grey), normalise_grey(resized, PAPER_SPEC), rtol=0, atol=1e-4)


@pytest.mark.parametrize("level", [0, 255])
def test_an_even_picture_stays_even(level: int) -> None:
    even = slice_input(np.full((512, 700), level, np.uint8))
    torch.testing.assert_close(even, torch.full((1, 1, 224, 224), 2 * level / 255.0 - 1), rtol=0, atol=1e-6)
