"""Shapes painted in a slice: table, chest wall, upper abdomen, spine, heart, lungs.

Each organ is computed in a window of the slice around it only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.phantom.anatomy import (
    AIR_HU,
    CAGE,
    FAT_HU,
    LUNG_HU,
    MUSCLE_HU,
    RIB_THICKNESS_MM,
    SPLEEN,
    STOMACH,
    Build,
    Plane,
    Window,
    apex_cover,
    body_outline,
    cage_scale,
    core_cover,
    diaphragm_mm,
    fat_thickness,
    heart_parts,
)
from dicom_node.phantom.geometry import FULL, Array
from dicom_node.phantom.skeleton import paint_spine, paint_sternum
from dicom_node.phantom.vasculature import BLOOD_HU

LIVER_HU, SPLEEN_HU, STOMACH_HU, GAS_HU = 62.0, 52.0, 22.0, -960.0

_WINDOWS = {
    "body": ((-250.0, -132.0), (250.0, 128.0)),
    "table": ((-190.0, 78.0), (190.0, 160.0)),
    "core": ((-52.0, -112.0), (52.0, 78.0)),
    "spine": ((-22.0, 18.0), (22.0, 74.0)),
    "sternum": ((-28.0, -108.0), (28.0, -24.0)),
    "erectors": ((-46.0, 68.0), (46.0, 104.0)),
    "heart": ((-62.0, -98.0), (92.0, 46.0)),
    "left abdomen": ((4.0, -72.0), (132.0, 92.0)),
}
"""Corners (x, y) of the windows, mm."""


@dataclass(frozen=True, slots=True)
class Chest:
    """One body on one grid. ``lift_hu`` is the contrast in blood, ``thickness_mm`` that of the slices."""

    build: Build
    lift_hu: float
    thickness_mm: float
    windows: dict[str, tuple[Window, Plane]]
    dome_mm: Array
    """Height of the diaphragm over the body's window."""

    @classmethod
    def of(cls, plane: Plane, build: Build, lift_hu: float, thickness_mm: float) -> Chest:
        """Return the chest of a plane with its windows."""
        windows = {name: plane.window(low, high) for name, (low, high) in _WINDOWS.items()}
        return cls(build, lift_hu, max(thickness_mm, 0.8), windows, diaphragm_mm(windows["body"][1], build))

    def lung_cover(self, z: float, middle: NDArray[np.uint8]) -> Array:
        """Return the lung fraction of each pixel.

        Parameters
        ----------
        middle
            Cover of the vessels and airways of the mediastinum, with the fat around them.
        """
        cover = np.zeros(middle.shape, np.float32)
        body, plane = self.windows["body"]
        lung = plane.inside(CAGE * np.float32(cage_scale(z) * self.build.width)) * apex_cover(plane, z)
        lung *= np.clip(0.5 + (z - self.dome_mm) / self.thickness_mm, 0, 1)
        cover[body] = lung * (1 - middle[body] * np.float32(1 / FULL))
        core, plane = self.windows["core"]
        cover[core] *= 1 - core_cover(plane, z)
        heart_outline, _ = heart_parts(self.build)
        heart, plane = self.windows["heart"]
        if heart_outline.is_near(z, 8):
            cover[heart] *= 1 - plane.cover(heart_outline.depth(plane.x, plane.y, z) + 5)
        return cover

    def paint(self, z: float, hu: Array, lung: NDArray[np.uint8], grain: Array) -> None:
        """Paint one slice.

        Parameters
        ----------
        hu
            The slice; wholly overwritten.
        lung
            Its cover of lung.
        grain
            Texture of the lungs, HU.
        """
        hu[:] = AIR_HU
        body, plane = self.windows["body"]
        self._paint_table(hu)
        self._paint_wall(z, hu[body])
        self._paint_erectors(hu)
        self._paint_abdomen(z, hu)
        for name, paint in (("spine", paint_spine), ("sternum", paint_sternum)):
            window, part = self.windows[name]
            paint(part, z, hu[window])
        self._paint_heart(z, hu)
        lung_hu = LUNG_HU + 0.24 * plane.y + grain[body] + self._fissures(z)
        hu[body] += lung[body] * np.float32(1 / FULL) * (lung_hu - hu[body])

    def _paint_table(self, hu: Array) -> None:
        window, plane = self.windows["table"]
        part = hu[window]
        curve = 118 * self.build.width - np.square(plane.x) / 900
        sheet = plane.cover(1.1 - np.abs(plane.y - curve - 3)) + plane.cover(0.9 - np.abs(plane.y - curve - 22))
        foam = plane.cover(8.5 - np.abs(plane.y - curve - 12.5))
        part += foam * (-955 - part)
        part += sheet * (-420 - part)

    def _paint_wall(self, z: float, hu: Array) -> None:
        """Paint skin, fat, muscle with its fat planes, and the soft tissue inside the cage."""
        plane, build = self.windows["body"][1], self.build
        skin = body_outline(z, build)
        muscle = skin - fat_thickness(z, build)
        cage = CAGE * np.float32(cage_scale(z) * build.width) + np.float32(RIB_THICKNESS_MM)
        muscle = np.maximum(muscle, cage + 2)
        for outline, value in ((skin, 40.0), (skin - 1.6, FAT_HU), (muscle, MUSCLE_HU)):
            hu += plane.inside(outline) * (np.float32(value) - hu)
        self._paint_fat_planes(z, hu, cage, muscle)
        fat = plane.inside(cage - RIB_THICKNESS_MM + 1.2)
        if z > 60:
            upper = float(np.clip((z - 60) / 40, 0, 1))
            fat *= np.maximum(1 - upper, plane.ellipse((0.0, 2.0), (36.0, 48.0), 2.5))
        hu += fat * (FAT_HU - hu)

    def _paint_fat_planes(self, z: float, hu: Array, cage: Array, muscle: Array) -> None:
        plane = self.windows["body"][1]
        gap = np.take(muscle - cage, plane.angle_index)
        inner = plane.radius - np.take(cage, plane.angle_index)
        for share, width, phase in ((0.3, 1.2, 0.0), (0.7, 0.9, 2.2)):
            wave = 2.4 * np.sin(plane.x / 13 + z / 9 + phase) + 1.8 * np.sin(plane.y / 9 - z / 15)
            breaks = width * np.sin(plane.x / 31 + phase) * np.cos(plane.y / 27 - z / 60 + phase) + 0.35
            line = np.minimum(breaks - np.abs(inner - share * gap - wave), gap / 6 - 1)
            hu += plane.cover(line) * np.float32(0.9) * (FAT_HU - hu)

    def _paint_erectors(self, hu: Array) -> None:
        window, plane = self.windows["erectors"]
        part = hu[window]
        for side in (-1, 1):
            part += plane.ellipse((side * 24.0, 86.0), (19.0, 15.0), 2.4) * (MUSCLE_HU - part)

    def _paint_abdomen(self, z: float, hu: Array) -> None:
        """Paint diaphragm, liver, stomach and spleen under the domes."""
        under = np.clip(0.5 + (self.dome_mm - z) / self.thickness_mm, 0, 1)
        if not under.any():
            return
        body, plane = self.windows["body"]
        part = hu[body]
        cage = np.float32(cage_scale(z) * self.build.width) * CAGE
        part += under * plane.inside(cage + 1) * (MUSCLE_HU - 6 - part)
        inner = np.clip(0.5 + (self.dome_mm - 4 - z) / self.thickness_mm, 0, 1) * plane.inside(cage - 3)
        part += inner * (FAT_HU + 4 - part)
        low = float(np.clip((-85 - z) / 60, 0, 1))
        edge = 24 + 34 * np.cos(np.clip(plane.y / 60, -1.5, 1.5)) - 44 * low - 10 * np.sin(plane.y / 14)
        liver = inner * plane.cover(edge - plane.x) * plane.cover(np.hypot(plane.x - 4, plane.y - 40) - 27)
        part += liver * (LIVER_HU + 0.22 * self.lift_hu - part)
        cover = np.zeros(hu.shape, np.float32)
        cover[body] = inner
        self._paint_left_abdomen(z, hu, cover)

    def _paint_left_abdomen(self, z: float, hu: Array, inner: Array) -> None:
        """Paint the stomach with its air on top, and the spleen."""
        window, plane = self.windows["left abdomen"]
        part, inside = hu[window], inner[window]
        depth = STOMACH.depth(plane.x, plane.y, z)
        stomach, lumen = inside * plane.cover(depth), inside * plane.cover(depth - 4)
        part += stomach * (48 + 0.1 * self.lift_hu - part)
        part += lumen * (np.where(plane.y < -24, GAS_HU, STOMACH_HU).astype(np.float32) - part)
        spleen = inside * plane.cover(SPLEEN.depth(plane.x, plane.y, z)) * (1 - stomach)
        part += spleen * (SPLEEN_HU + 0.28 * self.lift_hu - part)

    def _paint_heart(self, z: float, hu: Array) -> None:
        heart_outline, chambers = heart_parts(self.build)
        if not heart_outline.is_near(z, 8):
            return
        window, plane = self.windows["heart"]
        part = hu[window]
        outside = heart_outline.depth(plane.x, plane.y, z)
        muscle = outside - 1.5 + 2 * np.sin(plane.x / 11) * np.sin(plane.y / 13 + z / 9)
        for depth, value in ((outside + 4.4, 48.0), (outside + 3.2, FAT_HU), (muscle, 50 + 0.3 * self.lift_hu)):
            part += plane.cover(depth) * (np.float32(value) - part)
        for chamber, share in zip(chambers, (0.95, 0.9, 0.95, 1.0), strict=True):
            if chamber.is_near(z, 2):
                blood = np.float32(BLOOD_HU + share * self.lift_hu)
                part += plane.cover(chamber.depth(plane.x, plane.y, z)) * (blood - part)

    def _fissures(self, z: float) -> Array:
        """Return the extra density of the oblique fissures (both sides) and the horizontal one (right), in HU."""
        plane, width = self.windows["body"][1], max(self.thickness_mm * 0.7, 0.8)
        oblique_z = -12 + 0.95 * plane.y + 0.12 * np.abs(plane.x) + 5 * np.sin(plane.x / 22)
        oblique = np.clip(1 - np.abs(z - oblique_z) / (width + 0.7), 0, 1)
        level = 8 + 5 * np.sin(plane.x / 25) + 0.06 * plane.y
        horizontal = np.clip(1 - np.abs(z - level) / (width + 0.5), 0, 1) * (plane.x < 0) * (z > oblique_z)
        return (110 * oblique + 60 * horizontal).astype(np.float32)
