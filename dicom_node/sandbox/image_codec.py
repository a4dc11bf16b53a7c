"""Decoding of uploaded PNG and JPEG pictures to grey values; in the decoding child only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dicom_node.sandbox.frames import MAX_PICTURE_PIXELS, check_size

COLOUR_SPREAD, COLOUR_SHARE = 40, 0.01
"""Channel difference of a coloured pixel (grey JPEG in RGB stays below), and their share in a coloured picture."""


def read_picture(path: Path) -> tuple[NDArray[np.uint8], bool]:
    """Decode a PNG or JPEG; see ``GreyPicture`` for the values.

    Raises
    ------
    Exception
        Anything that Pillow raises on broken pictures; the child process translates it.
    """
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        picture = _decoded(file)
    upright = ImageOps.exif_transpose(picture)
    return np.asarray(_as_grey(upright), dtype=np.uint8), _is_coloured(upright)


def _decoded(file: Image.Image) -> Image.Image:
    """Decode, at half the size if it is large; a JPEG is never held at full size."""
    check_size(file.height, file.width)  # a second header in the file may differ from the one that the web checked
    pixels = file.width * file.height
    if pixels <= MAX_PICTURE_PIXELS:
        file.load()
        return file
    file.draft(file.mode, ((file.width + 1) // 2, (file.height + 1) // 2))
    file.load()
    return file if file.width * file.height < pixels else _with_channels(file).reduce(2)


def _with_channels(picture: Image.Image) -> Image.Image:
    """Return a picture whose values can be averaged: no palette, no transparent colour, no single bits."""
    if picture.mode.startswith("I;"):
        return picture.convert("I")
    if "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture.convert({"1": "L", "P": "RGB", "PA": "RGBA"}.get(picture.mode, picture.mode))


def _is_coloured(picture: Image.Image) -> bool:
    if picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I"):
        return False
    channels = np.asarray(picture.convert("RGB"))
    spread = channels.max(axis=2) - channels.min(axis=2)
    return bool((spread > COLOUR_SPREAD).mean() > COLOUR_SHARE)


def _as_grey(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit PNG; Pillow's own conversion would clip at 255
        values = np.asarray(picture, dtype=np.float32)
        return Image.fromarray(np.clip(values / 257.0, 0, 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
    return picture.convert("L")
