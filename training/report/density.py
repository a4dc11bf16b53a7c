"""Accuracy of the density class, by balls of known density blended into the lungs of a real series.

The research data hold no reader's word on density, so nothing else can be said of it: these are spheres with blurred
borders among real vessels and real noise, not nodules.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.nodules.measurement import Density, measure_nodule
from inference.types import Abstention, CtVolume

Floats = NDArray[np.float32]
DIAMETERS_MM = (5.0, 8.0, 12.0, 20.0)
SOLID_HU = (0.0, 80.0)
GLASS_HU = (-700.0, -500.0)
CORE_SHARE = (0.45, 0.65)
"""Diameter of a part-solid ball's solid core over that of the ball."""
BLUR_MM = 0.6
"""Standard deviation of the scanner's blur in plane; half a slice across slices."""
GRAIN_MM = 0.8
"""Finer structure of the lung counts as noise and is added to the ball."""
HALF_BOX_MM = 16.0


@dataclass(frozen=True, slots=True)
class Ball:
    """A sphere around a point ``(slice, row, column)``: its own density, and that of a core."""

    index: tuple[float, float, float]
    diameter_mm: float
    hu: float
    core_mm: float
    core_hu: float


def random_ball(
    density: Density, index: tuple[float, float, float], diameter_mm: float, rng: np.random.Generator
) -> Ball:
    """Return a random ball of one class."""
    solid, glass = rng.uniform(*SOLID_HU), rng.uniform(*GLASS_HU)
    if density is Density.SOLID:
        return Ball(index, diameter_mm, solid, 0.0, solid)
    if density is Density.GROUND_GLASS:
        return Ball(index, diameter_mm, glass, 0.0, glass)
    return Ball(index, diameter_mm, glass, diameter_mm * rng.uniform(*CORE_SHARE), solid)


def blend(volume: CtVolume, ball: Ball) -> tuple[CtVolume, tuple[float, float, float]]:
    """Return the surroundings of a ball with the ball blended in, keeping vessels and noise."""
    spacing = np.array(volume.spacing_mm)
    size = np.array(volume.volume_hu.shape)
    low = np.clip(np.floor(np.array(ball.index) - HALF_BOX_MM / spacing).astype(int), 0, size - 1)
    high = np.clip(np.ceil(np.array(ball.index) + HALF_BOX_MM / spacing).astype(int) + 1, low + 1, size)
    under = volume.volume_hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    centre = np.array(ball.index) - low
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(under.shape, centre, spacing, strict=True)]
    away_mm = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    blur = np.array([spacing[0] / 2, BLUR_MM, BLUR_MM]) / spacing

    def within(diameter_mm: float) -> Floats:
        return ndi.gaussian_filter((away_mm <= diameter_mm / 2).astype(np.float32), blur)

    grain = under - ndi.gaussian_filter(under, GRAIN_MM / spacing)
    core = within(ball.core_mm) if ball.core_mm else np.zeros_like(under)
    target = ball.hu + core * (ball.core_hu - ball.hu) + grain
    mixed = under + within(ball.diameter_mm) * (np.maximum(target, under) - under)
    hu = np.clip(np.rint(mixed), -1024, 3071).astype(np.int16)
    part = CtVolume(hu, volume.spacing_mm, volume.affine)  # the affine's origin plays no part in measuring
    return part, (float(centre[0]), float(centre[1]), float(centre[2]))


def density_figures(volume: CtVolume, points: list[tuple[float, float, float]], *, seed: int = 0) -> dict[str, Any]:
    """Return counts of true and measured class by diameter, with one ball of each class and diameter per point."""
    rng = np.random.default_rng(seed)
    counts: dict[float, dict[str, Counter[str]]] = {d: {str(c): Counter() for c in Density} for d in DIAMETERS_MM}
    errors_mm: dict[tuple[float, str], list[float]] = {(d, str(c)): [] for d in DIAMETERS_MM for c in Density}
    for index in points:
        for diameter_mm in DIAMETERS_MM:
            for density in Density:
                part, centre = blend(volume, random_ball(density, index, diameter_mm, rng))
                measure = measure_nodule(part, centre)
                answer = "not measured" if isinstance(measure, Abstention) else str(measure.density)
                counts[diameter_mm][str(density)][answer] += 1
                if not isinstance(measure, Abstention):
                    errors_mm[diameter_mm, str(density)].append(measure.equivalent_diameter_mm - diameter_mm)
    return {
        "places": len(points),
        "n": len(points) * len(DIAMETERS_MM) * len(Density),
        "by_diameter": {
            f"{diameter_mm:g} mm": {
                "counts": {name: dict(answer) for name, answer in by_class.items()},
                "accuracy": sum(answer[name] for name, answer in by_class.items()) / (len(points) * len(Density)),
                "median_diameter_error_mm": {
                    name: float(np.median(errors)) if (errors := errors_mm[diameter_mm, name]) else None
                    for name in by_class
                },
            }
            for diameter_mm, by_class in counts.items()
        },
        "accuracy": sum(answer[name] for by_class in counts.values() for name, answer in by_class.items())
        / (len(points) * len(DIAMETERS_MM) * len(Density)),
    }
