"""Large shapes of a chest, slice by slice: skin, fat, muscle, cage, lungs, mediastinum, heart, upper abdomen.

Outlines are star-shaped around the body's axis and given by their radius over the angle from the front; sizes follow
an adult of 1.75 m with raised arms in deep inspiration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dicom_node.phantom.geometry import Array, Grid

AIR_HU, FAT_HU, MUSCLE_HU, LUNG_HU = -1000.0, -98.0, 58.0, -868.0

_STEPS = 1024
_ANGLES = np.linspace(0.0, 180.0, _STEPS)


def _outline(points: dict[float, float]) -> Array:
    """Return the radius (mm) at each table angle from control points (degrees from the front -> mm)."""
    return PchipInterpolator(list(points), list(points.values()))(_ANGLES).astype(np.float32)


BODY = _outline({0: 110, 12: 112, 30: 124, 50: 142, 75: 160, 95: 165, 120: 158, 140: 142, 158: 124, 172: 113, 180: 109})
CAGE = _outline(
    {0: 80, 15: 85, 30: 97, 50: 115, 75: 131, 95: 136, 115: 134, 135: 122, 148: 109, 156: 97, 162: 76, 168: 50, 174: 30,
     180: 24}
)  # fmt: skip
FAT = _outline({0: 9, 30: 13, 60: 12, 90: 11, 120: 10, 150: 9, 170: 7, 180: 6})
RIB_THICKNESS_MM = 8.5


Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Plane:
    """Pixels of one slice in millimetres, with polar coordinates for the outlines."""

    x: Array
    y: Array
    radius: Array
    angle_index: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
    pixel_mm: float

    @classmethod
    def of(cls, grid: Grid) -> Plane:
        """Return the plane of a grid's slices."""
        y, x = grid.axis(1)[:, None], grid.axis(2)[None, :]
        angle = np.degrees(np.arctan2(np.abs(x), -y))
        index = np.round(angle * ((_STEPS - 1) / 180)).astype(np.intp)
        return cls(x, y, np.hypot(x, y).astype(np.float32), index, grid.spacing_mm[2])

    def window(self, low_mm: tuple[float, float], high_mm: tuple[float, float]) -> tuple[Window, Plane]:
        """Return the index ranges and the plane of the part between two corners (x, y)."""
        rows = slice(*np.searchsorted(self.y[:, 0], (low_mm[1], high_mm[1])))
        columns = slice(*np.searchsorted(self.x[0], (low_mm[0], high_mm[0])))
        part = Plane(
            self.x[:, columns],
            self.y[rows],
            np.ascontiguousarray(self.radius[rows, columns]),
            np.ascontiguousarray(self.angle_index[rows, columns]),
            self.pixel_mm,
        )
        return (rows, columns), part

    def inside(self, outline: Array) -> Array:
        """Return the fraction (0..1) of each pixel inside an outline."""
        return self.cover(np.take(outline, self.angle_index) - self.radius)

    def cover(self, depth_mm: NDArray[np.floating[Any]]) -> Array:
        """Return the covered fraction of pixels from their depth under a surface."""
        covered = np.float32(0.5) + depth_mm * np.float32(1 / self.pixel_mm)
        return np.clip(covered, 0, 1).astype(np.float32, copy=False)

    def ellipse(self, center: tuple[float, float], axes: tuple[float, float], power: float = 2.0) -> Array:
        """Return the cover of a (super)ellipse."""
        u, v = np.abs(self.x - center[0]) / axes[0], np.abs(self.y - center[1]) / axes[1]
        level = np.sqrt(u * u + v * v) if power == 2.0 else (u**power + v**power) ** (1 / power)
        return self.cover((1 - level) * min(axes))


@dataclass(frozen=True, slots=True)
class Build:
    """Body proportions, drawn from the seed."""

    width: float = 1.0
    depth: float = 1.0
    fat: float = 1.0
    heart: float = 1.0
    diaphragm_mm: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Build:
        """Draw proportions within a few per cent of the norm."""
        width, depth, heart = 1 + rng.uniform(-0.025, 0.02, 3)
        return cls(width, depth, rng.uniform(0.7, 1.3), heart, rng.uniform(-6, 6))


def cage_scale(z: float) -> float:
    """Return the size of the rib cage's inside at a height, 1 at the carina, closing towards the apex."""
    if z < 20:
        return 1 + 0.03 * min((20 - z) / 100, 1.0)
    t = min((z - 20) / 112, 0.985)
    return float((1 - t**2.6) ** (1 / 2.6))


def body_outline(z: float, build: Build) -> Array:
    """Return the skin radius over the angle: shoulders above, scapular muscles behind, waist below."""
    shoulder = float(np.clip((z - 75) / 60, 0, 1)) ** 1.5
    scapula = float(np.clip((z + 30) / 50, 0, 1) * np.clip((150 - z) / 40, 0, 1))
    lateral = np.exp(-(((_ANGLES - 95) / 26) ** 2)) * 30 * shoulder
    back = np.exp(-(((_ANGLES - 132) / 24) ** 2)) * 13 * scapula
    front = -np.exp(-((_ANGLES / 45) ** 2)) * 24 * shoulder
    breast = np.exp(-(((_ANGLES - 33) / 14) ** 2)) * 7 * float(np.exp(-(((z + 25) / 45) ** 2)))
    waist = 1 - 0.04 * float(np.clip((-90 - z) / 60, 0, 1))
    return ((BODY + lateral + back + front + breast) * waist * build.width).astype(np.float32)


def fat_thickness(z: float, build: Build) -> Array:
    """Return the thickness of the subcutaneous fat over the angle."""
    belly = 1 + 0.5 * float(np.clip((-60 - z) / 80, 0, 1))
    breast = np.exp(-(((_ANGLES - 33) / 16) ** 2)) * 9 * float(np.exp(-(((z + 25) / 45) ** 2)))
    return ((FAT * belly + breast) * build.fat).astype(np.float32)


def diaphragm_mm(plane: Plane, build: Build) -> Array:
    """Return the height (mm) of the diaphragm's two domes over each pixel."""
    heights = []
    for center, peak in ((-70.0, -60.0), (74.0, -72.0)):
        spread = np.square((plane.x - center) / 76) + np.square((plane.y + 8) / 96)
        heights.append(peak + build.diaphragm_mm - 54 * spread**1.25)
    return np.maximum(heights[0], heights[1]).astype(np.float32)


def apex_cover(plane: Plane, z: float) -> Array | float:
    """Return the cover of the two domes that close the lungs above; 1 below them."""
    if z <= 20:
        return 1.0
    rest = 1 - min((z - 20) / 100, 1.0) ** 2.3
    if rest <= 0:
        return 0.0
    size = rest ** (1 / 2.3)
    shift = 70 - 0.22 * (z - 20)
    domes = [plane.ellipse((side * shift, 12.0), (70 * size, 100 * size), 2.3) for side in (-1, 1)]
    return np.maximum(domes[0], domes[1])


def core_cover(plane: Plane, z: float) -> Array:
    """Return the cover of the mediastinum's core, which separates the lungs from front to back."""
    junction = 1.4 + 11 * np.clip((plane.y + 40) / 35, 0, 1) + 16 * np.clip((-66 - plane.y) / 22, 0, 1) ** 2
    front = plane.cover(junction - np.abs(plane.x - 3 - 4 * np.sin(z / 40) - 0.08 * (plane.y + 40)))
    upper = float(np.clip((z - 45) / 30, 0, 1))
    middle = plane.ellipse((0.0, 0.0), (20 + 12 * upper, 40 + 6 * upper))
    spine = plane.ellipse((0.0, 42.0), (22.0, 26.0))
    return np.maximum(np.maximum(front, middle), spine)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """A rotated ellipsoid, for the heart and its chambers."""

    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    rotation: Array
    """Rows are the unit vectors of the axes."""

    def is_near(self, z: float, margin_mm: float) -> bool:
        """Return True if a slice may show it, or its surroundings within a margin."""
        reach = float(np.sqrt(np.sum(np.square(self.rotation[:, 2] * np.array(self.axes)))))
        return abs(z - self.center[2]) < reach + margin_mm * max(self.axes) / min(self.axes)

    def depth(self, x: Array, y: Array, z: float) -> Array:
        """Return the approximate depth (mm) under the surface."""
        dx, dy, dz = x - self.center[0], y - self.center[1], z - self.center[2]
        level = np.float32(0)
        for unit, axis in zip(self.rotation, self.axes, strict=True):
            level = level + np.square((unit[0] * dx + unit[1] * dy + unit[2] * dz) * np.float32(1 / axis))
        return ((1 - np.sqrt(level)) * min(self.axes)).astype(np.float32)


def _heart_frame() -> Array:
    long = np.array([0.68, -0.52, -0.52])
    long /= np.linalg.norm(long)
    across = np.cross(long, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    return np.array([long, across, np.cross(across, long)], dtype=np.float32)


HEART_FRAME = _heart_frame()


def heart_parts(build: Build) -> tuple[Ellipsoid, tuple[Ellipsoid, ...]]:
    """Return the heart's outside and its four chambers (left ventricle, right ventricle, left and right atrium)."""
    size = build.heart
    center = np.array([15.0, -27.0, -38.0])

    def part(along: float, across: float, up: float, *axes: float) -> Ellipsoid:
        x, y, z = center + HEART_FRAME.T @ np.array([along, across, up])
        a, b, c = (axis * size for axis in axes)
        return Ellipsoid((float(x), float(y), float(z)), (a, b, c), HEART_FRAME)

    outline = part(0, 0, 0, 61, 43, 46)
    return outline, (
        part(20, -17, -4, 31, 15, 17),
        part(14, 18, 2, 34, 14, 22),
        part(-32, -18, 6, 19, 19, 20),
        part(-30, 20, 0, 21, 17, 26),
    )


_UPRIGHT = np.eye(3, dtype=np.float32)
STOMACH = Ellipsoid((58.0, -24.0, -128.0), (46.0, 40.0, 54.0), _UPRIGHT)
SPLEEN = Ellipsoid((90.0, 40.0, -124.0), (30.0, 44.0, 46.0), _UPRIGHT)
