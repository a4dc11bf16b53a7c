"""Image conversion: uploads to grey values, HU to PNG, attention to a PNG overlay."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from webapp.ports import UnfitInputError

MAX_PIXELS = 4096 * 4096
"""Maximum number of pixels of a decoded image."""
MAX_SIDE_PX = 1024
"""Longest side, in pixels, of the image in an answer."""
LUNG_WINDOW = (-600.0, 1500.0)
"""Center and width, HU, of pictures of DICOM uploads."""
COLOUR_SPREAD, COLOUR_SHARE = 40, 0.01
"""Channel difference of a coloured pixel (grey JPEG in RGB stays below), and their share in a coloured image."""
OVERLAY_RGB = (255, 140, 0)
OVERLAY_ALPHA = 170


@dataclass(frozen=True, slots=True)
class GreyPicture:
    """A decoded image for the slice model."""

    grey: NDArray[np.uint8]
    """``(rows, columns)``, 0..255, upright; transparency on black."""
    is_coloured: bool
    """Whether more than ``COLOUR_SHARE`` of the pixels are coloured."""


def read_picture(content: bytes) -> GreyPicture:
    """Decode a PNG or JPEG.

    Raises
    ------
    UnfitInputError
        422 where it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            _check_size(picture)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnfitInputError(422, "unreadable_image", "The picture cannot be decoded; it may be damaged.") from None
    return GreyPicture(np.asarray(_as_grey(upright), dtype=np.uint8), _is_coloured(upright))


def _is_coloured(picture: Image.Image) -> bool:
    if picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I"):
        return False
    channels = np.asarray(picture.convert("RGB"))
    spread = channels.max(axis=2) - channels.min(axis=2)
    return bool((spread > COLOUR_SPREAD).mean() > COLOUR_SHARE)


def _check_size(picture: Image.Image) -> None:
    """Check the size after decoding: a second header in the file may differ from the first."""
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError


def _as_grey(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit PNG; Pillow's own conversion would clip at 255
        values = np.asarray(picture, dtype=np.float32)
        return Image.fromarray(np.clip(values / 257.0, 0, 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
    return picture.convert("L")


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
