"""Domain gate for uploaded images: comparison with the validated slices, at full size.

The frame around the content (margins, bars of a screenshot's aspect) is left out of the judgement. What the content
looks like from afar is compared with the training pictures in the space of their principal components; grey levels,
edges and the layout of halves each have limits, and together must be near those of some training pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi

from inference.types import Abstention

Grey = NDArray[np.uint8]
Array = NDArray[np.float64]

SIDE = 16
"""Of the thumbnail in the descriptor."""
UNIFORM_SPREAD = 24
"""Grey levels by which a row or column of the frame may vary: JPEG leaves some."""
FRAMES = 4
"""Frames around each other: the slice's own black one, a viewer's, a page's."""
MID_TONES = (9, 247)
"""Grey levels between black and white."""
BRIGHT = 200
"""Bone and contrast in a soft-tissue window, grey levels."""
LOGARITHMIC = 5
"""The first so many measures are compared by their ratio."""
NEIGHBOURS = 3
_HALVES = 32


@dataclass(frozen=True, slots=True)
class PictureMeasures:
    """Measures of an image's content; each has limits in the bundle."""

    mid_tones: float
    """Share of pixels that are neither black nor white, 0..1."""
    levels: float
    """Effective number of grey levels among them: two to the power of their entropy, 1..238."""
    comb: float
    """Mean step between neighbouring bins of their histogram over its mean, 0..2: high where levels are missing."""
    gradient: float
    """Mean difference of neighbouring pixels of the content, grey levels."""
    sharpness: float
    """Standard deviation of the Laplacian over that of the gradient: low where blurred, high where noisy."""
    detail: float
    """Share of the gradient that is left after a median filter of 3 x 3: low for noise, high for drawn lines."""
    mirror: float
    """Correlation of the left half with the mirrored right half, -1..1: a chest is nearly symmetric."""
    repeat: float
    """Correlation of the left half with the right half as it is, -1..1: high where two pictures lie side by side."""
    stack: float
    """Correlation of the upper half with the lower half, -1..1: high where two pictures lie upon each other."""
    lower: float
    """Share of the brightness that lies in the lower half, 0..1: spine and table are there."""
    spine: float
    """Share of the bright pixels of the middle third that lie in the lower half, 0..1."""
    aspect: float
    """Width over height of the content."""

    def vector(self) -> Array:
        """Return all measures, ``(12,)``, those of grey levels and edges as logarithms."""
        values = np.array(list(asdict(self).values()))
        values[:LOGARITHMIC] = np.log(np.maximum(values[:LOGARITHMIC], 1e-3))
        return values


def content_of(grey: Grey) -> Grey:
    """Crop uniform rows and columns at the border; a uniform image is unchanged."""
    for _ in range(FRAMES):
        rows = np.flatnonzero(np.ptp(grey, axis=1) > UNIFORM_SPREAD)
        columns = np.flatnonzero(np.ptp(grey, axis=0) > UNIFORM_SPREAD)
        if not len(rows) or not len(columns):
            break
        grey = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return grey


def resized(grey: Grey, shape: tuple[int, int]) -> Array:
    """Grey values 0..1 resampled to ``(rows, columns)``, antialiased."""
    image = Image.fromarray(grey).convert("F").resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64) / 255.0


def descriptor_of(content: Grey) -> Array:
    """Return a descriptor of the content: 16 x 16 thumbnail and histogram of 16 bins, ``(272,)``.

    Aspect is not part of it: the content is stretched to a square.
    """
    histogram = np.bincount(content.ravel() >> 4, minlength=16) / content.size
    return np.concatenate([resized(content, (SIDE, SIDE)).ravel(), 2.0 * np.sqrt(histogram)])


def measure(content: Grey) -> PictureMeasures:
    """Measure the content of a picture."""
    histogram = np.bincount(content.ravel(), minlength=256).astype(np.float64)
    mid = histogram[MID_TONES[0] : MID_TONES[1]]
    mid_share = mid.sum() / content.size
    shares = mid[mid > 0] / max(1.0, mid.sum())
    smooth = mid.mean()
    values = content.astype(np.float32)
    down, right = np.diff(values, axis=0)[:, :-1], np.diff(values, axis=1)[:-1]
    gradient = np.hypot(down, right)
    is_content = ndi.uniform_filter(values, 5)[:-1, :-1] > UNIFORM_SPREAD
    inside = gradient[is_content] if is_content.any() else gradient.ravel()
    laplacian = ndi.laplace(values)[:-1, :-1][is_content] if is_content.any() else np.zeros(1, np.float32)
    cleaned = ndi.median_filter(content, 3).astype(np.float32)
    left = np.hypot(np.diff(cleaned, axis=0)[:, :-1], np.diff(cleaned, axis=1)[:-1])
    small = resized(content, (_HALVES, _HALVES))
    half = _HALVES // 2
    return PictureMeasures(
        mid_tones=float(mid_share),
        levels=float(2.0 ** -(shares * np.log2(shares)).sum()) if len(shares) else 1.0,
        comb=float(np.abs(np.diff(mid)).mean() / smooth) if smooth else 2.0,
        gradient=float(inside.mean()),
        sharpness=float(laplacian.std() / max(1e-6, inside.std())),
        detail=float(left.sum() / max(1e-6, gradient.sum())),
        mirror=_correlation(small[:, :half], small[:, half:][:, ::-1]),
        repeat=_correlation(small[:, :half], small[:, half:]),
        stack=_correlation(small[:half], small[half:]),
        spine=_lower_share(content),
        lower=float(small[half:].sum() / max(1e-6, small.sum())),
        aspect=content.shape[1] / content.shape[0],
    )


def _lower_share(content: Grey) -> float:
    width = content.shape[1]
    bright = content[:, width // 3 : width - width // 3] >= BRIGHT
    return float(bright[len(bright) // 2 :].sum() / max(1, bright.sum()))


def _correlation(first: Array, second: Array) -> float:
    a, b = first.ravel() - first.mean(), second.ravel() - second.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else 0.0


GREY_LEVELS = Abstention("grey_levels", "the picture has too few grey levels, or others than a CT slice")
FILTERED = Abstention("filtered", "the picture is blurred, noisy or filtered")
LAYOUT = Abstention("layout", "the picture is turned, cropped, or shows several images")
COLOURED = Abstention("coloured", "the picture is in colour")
UNLIKE_TRAINING = Abstention(
    "unlike_training",
    "The slice model reproduces a published model for single pictures like those of one public data set: whole axial "
    "chest CT slices in a soft-tissue window. This picture is unlike them. Upload the DICOM series as a zip instead.",
)
_REASONS = {
    "mid_tones": GREY_LEVELS,
    "levels": GREY_LEVELS,
    "comb": GREY_LEVELS,
    "gradient": FILTERED,
    "sharpness": FILTERED,
    "detail": FILTERED,
    "mirror": LAYOUT,
    "repeat": LAYOUT,
    "stack": LAYOUT,
    "lower": LAYOUT,
    "spine": LAYOUT,
    "aspect": LAYOUT,
}


@dataclass(frozen=True, slots=True)
class PictureGate:
    """Limits of a bundle, and the space of its training pictures' descriptors."""

    mean: Array
    """``(d,)``."""
    components: Array
    """``(k, d)``, orthonormal."""
    scale: Array
    """``(k,)``, standard deviations along the components."""
    references: Array
    """``(n, m)``, measures of training pictures and of acceptable versions of them, over ``spread``."""
    spread: Array
    """``(m,)``, standard deviations of the measures."""
    max_distance: float
    max_residual: float
    max_neighbour: float
    """Largest mean distance of the measures from those of the nearest references."""
    limits: Mapping[str, tuple[float, float]]
    """Lowest and highest value of each measure."""

    def why_unlike(self, grey: Grey) -> tuple[Abstention, ...]:
        """Return the reasons why an image ``(rows, columns)`` is unlike the validated ones, if any."""
        content = content_of(grey)
        measured = measure(content)
        measures = asdict(measured)
        outside = [name for name, (low, high) in self.limits.items() if not low <= measures[name] <= high]
        distance, residual = self.distances(descriptor_of(content))
        is_near = distance <= self.max_distance and residual <= self.max_residual
        if not outside and is_near and self.neighbour_distance(measured) <= self.max_neighbour:
            return ()
        return (UNLIKE_TRAINING, *dict.fromkeys(_REASONS[name] for name in outside))

    def distances(self, descriptor: Array) -> tuple[float, float]:
        """Return the distances within (in standard deviations) and from the space of the training images."""
        centred = descriptor - self.mean
        projected = self.components @ centred
        within = float(np.sqrt(np.mean((projected / self.scale) ** 2)))
        return within, float(np.linalg.norm(centred - self.components.T @ projected))

    def neighbour_distance(self, measures: PictureMeasures) -> float:
        """Return the mean distance of the measures from the nearest references, in standard deviations."""
        distances = np.linalg.norm(self.references - measures.vector() / self.spread, axis=1)
        return float(np.sort(distances)[:NEIGHBOURS].mean())
