"""Chest image of the educational page, rendered from the generated phantom.

Usage: ``python -m lungnode.demo.chest_figure [FOLDER]``. The output is deterministic.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import NoduleKind, NoduleSpec, PhantomSpec
from lungnode.adapters.image_codec import windowed

PICTURES = Path(__file__).parents[2] / "webapp" / "static" / "pictures"
SPEC = PhantomSpec(
    slices=24, noise_hu=7.0, nodules=(NoduleSpec(NoduleKind.SPICULATED, 15.0, side="left"),), contrast_hu=120.0, seed=4
)
WINDOW = (-350.0, 1500.0)
"""Center and width, HU: shows lung vessels and ribs."""
WIDTH_PX, HEIGHT_PX = 900, 660
BODY_GREY = 90
"""Grey level above which a pixel is body, not air."""
RING_RGB = (240, 179, 95)
LETTER_RGB = (150, 160, 170)
FINE = 2
"""Supersampling factor for smooth lines."""


def slice_picture() -> Image.Image:
    """Draw the slice through the nodule, with a ring around it and letters for the patient's sides."""
    phantom = make_phantom(SPEC)
    (nodule,) = phantom.nodules
    grey = windowed(phantom.volume_hu[round(nodule.index[0])].astype(np.float32), WINDOW)
    rows = grey.shape[1] * HEIGHT_PX / WIDTH_PX
    top = _top(grey, rows)
    size = (WIDTH_PX * FINE, HEIGHT_PX * FINE)
    cut = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC, box=(0, top, grey.shape[1], top + rows))
    picture = cut.convert("RGB")
    scale = picture.width / grey.shape[1]
    centre = ((nodule.index[2] + 0.5) * scale, (nodule.index[1] + 0.5 - top) * scale)
    _mark(picture, centre, nodule.diameter_mm / phantom.spacing_mm[1] * scale * 1.05)
    return picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.LANCZOS).quantize(256, dither=Image.Dither.NONE)


def _top(grey: NDArray[np.uint8], rows: float) -> float:
    """Return the first of ``rows`` rows that centre the body."""
    middle = np.average(np.arange(len(grey)), weights=(grey > BODY_GREY).sum(axis=1))
    return float(np.clip(middle - rows / 2, 0, len(grey) - rows))


def _mark(picture: Image.Image, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    draw = ImageDraw.Draw(picture)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=RING_RGB, width=5 * FINE)
    font = ImageFont.load_default(30 * FINE)
    inset = 34 * FINE
    for letter, at in (("R", (inset, inset)), ("L", (picture.width - inset, inset))):
        draw.text(at, letter, fill=LETTER_RGB, font=font, anchor="mm")


def main(folder: Path = PICTURES) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    slice_picture().save(folder / "slice.png", optimize=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
