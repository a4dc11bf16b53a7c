"""Distortions of slice images before upload, and images that are not slices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage as ndi

Grey = NDArray[np.uint8]
Distort = Callable[[Grey, np.random.Generator], Grey]
Make = Callable[[np.random.Generator], Grey]
MADE_SIDE = 512


def _grey(values: NDArray[np.floating]) -> Grey:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def two_tone(grey: Grey, _: np.random.Generator, *, at: int) -> Grey:
    """Threshold."""
    return np.where(grey > at, 255, 0).astype(np.uint8)


def posterised(grey: Grey, _: np.random.Generator, *, levels: int) -> Grey:
    """Keep few grey levels."""
    return _grey(np.floor(grey / 256.0 * levels) * 255.0 / (levels - 1))


def edges(grey: Grey, _: np.random.Generator) -> Grey:
    """Gradient magnitude (Sobel)."""
    values = grey.astype(np.float64)
    return _grey(np.hypot(ndi.sobel(values, 0), ndi.sobel(values, 1)) / 4)


def outlines(grey: Grey, _: np.random.Generator) -> Grey:
    """Laplacian of Gaussian around mid grey."""
    return _grey(128 + 8 * ndi.gaussian_laplace(grey.astype(np.float64), 1.5))


def blurred(grey: Grey, _: np.random.Generator, *, sigma: float) -> Grey:
    """Gaussian blur, pixels of 512 a side."""
    return _grey(ndi.gaussian_filter(grey.astype(np.float64), sigma * max(grey.shape) / 512))


def noisy(grey: Grey, rng: np.random.Generator, *, sd: float) -> Grey:
    """White noise."""
    return _grey(grey + rng.normal(0, sd, grey.shape))


def salted(grey: Grey, rng: np.random.Generator) -> Grey:
    """Five per cent of the pixels black or white."""
    return np.where(rng.random(grey.shape) < 0.05, 255 * (rng.random(grey.shape) < 0.5), grey).astype(np.uint8)


def inverted(grey: Grey, _: np.random.Generator) -> Grey:
    """Black on white."""
    return 255 - grey


def turned(grey: Grey, _: np.random.Generator, *, quarters: int) -> Grey:
    """Rotate by right angles."""
    return np.ascontiguousarray(np.rot90(grey, quarters))


def side_by_side(grey: Grey, _: np.random.Generator) -> Grey:
    """Return the slice twice, side by side."""
    return np.hstack([grey, grey])


def side_by_side_mirrored(grey: Grey, _: np.random.Generator) -> Grey:
    """The slice and its mirror image side by side."""
    return np.hstack([grey, grey[:, ::-1]])


def stacked(grey: Grey, _: np.random.Generator) -> Grey:
    """The slice twice, one upon the other."""
    return np.vstack([grey, grey])


def tiled(grey: Grey, _: np.random.Generator) -> Grey:
    """Return the slice four times, in two rows."""
    return np.tile(grey, (2, 2))


def squeezed_side_by_side(grey: Grey, _: np.random.Generator) -> Grey:
    """The slice twice side by side in the shape of one."""
    return np.asarray(Image.fromarray(np.hstack([grey, grey])).resize(grey.shape[::-1]))


def half(grey: Grey, _: np.random.Generator) -> Grey:
    """One half of the slice."""
    return grey[:, : grey.shape[1] // 2]


def quarter(grey: Grey, _: np.random.Generator) -> Grey:
    """The middle quarter, enlarged."""
    rows, columns = grey.shape
    return grey[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]


def framed(grey: Grey, _: np.random.Generator, *, level: int, columns: int) -> Grey:
    """Uniform bars at both sides: another aspect, the same slice."""
    return np.pad(grey, ((0, 0), (columns, columns)), constant_values=level)


def compressed(grey: Grey, _: np.random.Generator, *, quality: int) -> Grey:
    """JPEG once more."""
    import io

    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("L"))


def scaled(grey: Grey, _: np.random.Generator, *, times: float) -> Grey:
    """Another size in pixels."""
    size = (round(grey.shape[1] * times), round(grey.shape[0] * times))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))


def mirrored(grey: Grey, _: np.random.Generator) -> Grey:
    """Left and right exchanged, as the training pictures were, too."""
    return np.ascontiguousarray(grey[:, ::-1])


ACCEPTABLE: dict[str, Distort] = {
    "as it is": lambda grey, _: grey,
    "black bars at the sides": partial(framed, level=0, columns=144),
    "white bars at the sides": partial(framed, level=255, columns=60),
    "mirrored": mirrored,
    "JPEG quality 75": partial(compressed, quality=75),
    "scaled by 1.5": partial(scaled, times=1.5),
}
"""Distortions that the gate should accept."""
UNACCEPTABLE: dict[str, Distort] = {
    "two-tone at 40": partial(two_tone, at=40),
    "two-tone at 100": partial(two_tone, at=100),
    "two-tone at 160": partial(two_tone, at=160),
    "two-tone, JPEG": lambda grey, rng: compressed(two_tone(grey, rng, at=100), rng, quality=80),
    "posterised, 4 levels": partial(posterised, levels=4),
    "posterised, 8 levels": partial(posterised, levels=8),
    "posterised, 16 levels": partial(posterised, levels=16),
    "edges (Sobel)": edges,
    "outlines (Laplacian)": outlines,
    "blurred, sigma 2": partial(blurred, sigma=2.0),
    "blurred, sigma 4": partial(blurred, sigma=4.0),
    "blurred, sigma 8": partial(blurred, sigma=8.0),
    "noise, sd 25": partial(noisy, sd=25.0),
    "noise, sd 50": partial(noisy, sd=50.0),
    "salt and pepper": salted,
    "inverted": inverted,
    "rotated by 90": partial(turned, quarters=1),
    "rotated by 180": partial(turned, quarters=2),
    "rotated by 270": partial(turned, quarters=3),
    "side by side": side_by_side,
    "side by side, mirrored": side_by_side_mirrored,
    "side by side, squeezed": squeezed_side_by_side,
    "one upon the other": stacked,
    "four tiles": tiled,
    "left half": half,
    "middle quarter": quarter,
}
"""Distortions that the gate should refuse."""


def gradient(rng: np.random.Generator) -> Grey:
    """A smooth ramp in a random direction."""
    down, right = np.mgrid[0:1:512j, 0:1:512j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * down + np.sin(angle) * right
    return _grey(255 * (ramp - ramp.min()) / np.ptp(ramp))


def white_noise(rng: np.random.Generator) -> Grey:
    """Independent pixels."""
    return rng.integers(0, 256, (MADE_SIDE, MADE_SIDE), dtype=np.uint8)


def clouds(rng: np.random.Generator) -> Grey:
    """Noise with the spectrum of natural pictures (1/f)."""
    frequency = np.hypot(np.fft.fftfreq(MADE_SIDE)[:, None], np.fft.rfftfreq(MADE_SIDE)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(MADE_SIDE, MADE_SIDE))) / np.maximum(frequency, 1 / MADE_SIDE)
    picture = np.fft.irfft2(spectrum, (MADE_SIDE, MADE_SIDE))
    return _grey(128 + 48 * picture / picture.std())


def text_page(rng: np.random.Generator) -> Grey:
    """A screenshot of text."""
    page = Image.new("L", (800, 600), 255)
    draw = ImageDraw.Draw(page)
    for row in range(10, 590, 14):
        words = " ".join("".join(map(chr, rng.integers(97, 123, rng.integers(2, 10)))) for _ in range(16))
        draw.text((20, row), words, fill=0)
    return np.asarray(page)


def radiograph(rng: np.random.Generator) -> Grey:
    """A chest radiograph as far as a gate may see it: two dark lungs, ribs, a bright heart, grey surroundings."""
    y, x = np.mgrid[0:1:512j, 0:1:512j]
    picture = np.full((512, 512), 150.0)
    for centre in (0.3, 0.7):
        picture -= 90 * np.exp(-(((x - centre) / 0.13) ** 4) - (((y - 0.45) / 0.3) ** 4))
    picture += 70 * np.exp(-(((x - 0.52) / 0.1) ** 2) - (((y - 0.55) / 0.3) ** 2))
    ribs = np.sin(2 * np.pi * (y * 11 - 6 * (x - 0.5) ** 2 + rng.uniform())) > 0.6
    return _grey(ndi.gaussian_filter(picture + 18 * ribs, 1.5) + rng.normal(0, 4, (512, 512)))


def shapes(rng: np.random.Generator) -> Grey:
    """A drawing: filled ellipses and rectangles."""
    page = Image.new("L", (512, 512), int(rng.integers(0, 256)))
    draw = ImageDraw.Draw(page)
    for _ in range(30):
        x, y, w, h = (int(v) for v in rng.integers([0, 0, 20, 20], [480, 480, 200, 200]))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=int(rng.integers(0, 256)))
    return np.asarray(page)


def checkerboard(rng: np.random.Generator) -> Grey:
    """Squares."""
    side = int(rng.integers(8, 64))
    rows, columns = np.indices((MADE_SIDE, MADE_SIDE)) // side
    return _grey(255.0 * ((rows + columns) % 2))


def flat(rng: np.random.Generator) -> Grey:
    """One grey level."""
    return np.full((MADE_SIDE, MADE_SIDE), rng.integers(0, 256), dtype=np.uint8)


def phantom_body(rng: np.random.Generator) -> Grey:
    """A bright ellipse with two dark ones in it: a drawing of a chest."""
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    picture = 120.0 * ((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1)
    for centre in (-0.35, 0.35):
        picture[((x - centre) / 0.25) ** 2 + (y / 0.4) ** 2 < 1] = 20
    return _grey(picture + rng.normal(0, 3, picture.shape))


FOREIGN: dict[str, Make] = {
    "gradient": gradient,
    "white noise": white_noise,
    "1/f noise": clouds,
    "text": text_page,
    "radiograph, drawn": radiograph,
    "shapes": shapes,
    "checkerboard": checkerboard,
    "one grey level": flat,
    "chest, drawn": phantom_body,
}
"""Generators of images that are not slices."""
