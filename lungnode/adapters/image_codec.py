"""Image conversion: HU to grey values and PNG, attention to a PNG overlay."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE_PX = 1024
"""Longest side, in pixels, of the image in an answer."""
LUNG_WINDOW = (-600.0, 1500.0)
"""Center and width, HU, of pictures of DICOM uploads."""
OVERLAY_RGB = (255, 140, 0)
OVERLAY_ALPHA = 170


def windowed(hu: NDArray[np.int16], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Map HU to grey values by ``(center, width)``, linearly (LINEAR_EXACT, PS3.3 C.11.2.1.3.2)."""
    center, width = window
    scaled = hu.astype(np.float32)
    scaled -= center - width / 2
    scaled *= 255.0 / width
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def grey_png(grey: NDArray[np.uint8], *, max_side: int | None = None) -> bytes:
    """Encode grey values as PNG, reduced to ``max_side`` if given."""
    picture = Image.fromarray(grey)
    if max_side is not None:
        picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
    return _png(picture)


def overlay_png(attention: NDArray[np.float32], *, max_side: int = MAX_SIDE_PX) -> bytes:
    """Encode attention 0..1 as a coloured, partly transparent PNG (RGBA)."""
    rgba = np.empty((*attention.shape, 4), np.uint8)
    rgba[..., :3] = OVERLAY_RGB
    rgba[..., 3] = np.clip(np.rint(attention * OVERLAY_ALPHA), 0, 255).astype(np.uint8)
    picture = Image.fromarray(rgba)
    picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
