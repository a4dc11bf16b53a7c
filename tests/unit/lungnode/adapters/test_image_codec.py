"""Pictures go out windowed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lungnode.adapters.image_codec import grey_png, overlay_png, windowed


def decoded(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_a_window_is_linear_and_clipped() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 3000]], np.int16)
    assert windowed(hu, (-600.0, 1500.0)).tolist() == [[0, 0, 128, 255, 255]]


def test_answers_show_at_most_a_thousand_pixels_a_side() -> None:
    assert decoded(grey_png(np.zeros((3000, 1500), np.uint8), max_side=1024)).size == (512, 1024)


def test_an_overlay_is_transparent_where_nothing_was_looked_at() -> None:
    attention = np.zeros((20, 20), np.float32)
    attention[5, 5] = 1.0
    rgba = np.asarray(decoded(overlay_png(attention)))
    assert rgba[0, 0, 3] == 0
    assert rgba[5, 5, 3] > 100
