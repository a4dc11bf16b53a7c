"""Bones as chains of tubes: ribs along the cage, vertebrae with their processes, sternum, shoulder girdle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.phantom.anatomy import BODY, CAGE, RIB_THICKNESS_MM, Build, Plane, cage_scale
from dicom_node.phantom.geometry import Array, Tube, tubes_along

CORTEX_HU, MARROW_HU, CARTILAGE_HU, DISC_HU, CORD_HU = 980.0, 230.0, 105.0, 88.0, 35.0
VERTEBRA_MM = 23.0
"""Height of a thoracic vertebra with its disc."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Tubes by tissue; marrow is the same tubes, thinner."""

    bones: list[Tube]
    cartilage: list[Tube]

    @property
    def marrow(self) -> list[Tube]:
        """Inside of the bones."""
        return [bone.scaled(0.95, -1.3) for bone in self.bones if min(bone.start_radius_mm, bone.end_radius_mm) > 1.9]


def _polar(radius: float, angle: float, side: int, z: float) -> tuple[float, float, float]:
    """Return the point at an angle (degrees from the front) on the body's left (+1) or right (-1)."""
    return side * radius * float(np.sin(np.radians(angle))), -radius * float(np.cos(np.radians(angle))), z


def _table(outline: Array, angle: float) -> float:
    return float(outline[round(angle / 180 * (len(outline) - 1))])


def _rib(number: int, side: int) -> tuple[list[Tube], list[Tube]]:
    """Return bone and cartilage of one rib; number 0 is the first."""
    top = 128 - VERTEBRA_MM * number
    drop = 34 + 13 * min(number, 5)
    angles = np.linspace(163, 24 if number < 7 else 60 + 12 * (number - 7), 26)
    points = []
    for angle in angles:
        z = top + 4 - drop * ((163 - angle) / 139) ** 1.05
        radius = (max(_table(CAGE, angle), 92 if angle > 150 else 0)) * max(cage_scale(z), 0.42)
        points.append(_polar(radius + RIB_THICKNESS_MM / 2, angle, side, z))
    head = (side * 19.0, 50.0, top + 3)
    cut = len(points) if number >= 7 else len(points) - 4
    radii = [4.6, *[4.3] * (cut - 1), 4.6]
    bone = tubes_along([head, *points[:cut]], radii)
    cartilage = tubes_along([*points[cut - 1 :], _sternal_end(number, side)], [4.8] * 9) if number < 7 else []
    return bone, cartilage


def _sternal_end(number: int, side: int) -> tuple[float, float, float]:
    z = 88 - 20.0 * number
    return side * 17.0, -87.0 * cage_scale(z), z


def _vertebra(z: float) -> list[Tube]:
    """Return arch and processes of one vertebra (the body is a shape of its own)."""
    tubes = [Tube((0, 70, z + 2), (0, 98, z - 13), 3.2, 3.4)]
    for side in (-1, 1):
        pedicle = (side * 11.5, 54.0, z + 4)
        lateral = (side * 13.0, 64.0, z + 3)
        tubes += tubes_along([pedicle, lateral, (0, 72, z + 1)], [3.4, 4.0, 3.2])
        tubes += tubes_along([lateral, (side * 27.0, 83.0, z + 5)], [4.0, 3.2])
    return tubes


def _shoulder(side: int, build: Build) -> list[Tube]:
    """Return clavicle, shoulder blade and the head of the humerus, arms raised."""
    tubes = tubes_along(
        [(side * 21, -70, 99), (side * 58, -70, 110), (side * 105, -42, 124), (side * 140, -18, 132)], [7, 5.2, 5, 6]
    )
    for angle in np.linspace(110, 142, 27):
        low, high = 24 + 0.16 * (angle - 127) ** 2, 122 - 0.45 * (angle - 110)
        bow = 9 + 4 * np.sin((angle - 110) / 32 * np.pi)
        points = [_polar(_table(BODY, angle) * build.width - bow, angle, side, float(z)) for z in (low, high)]
        edge = abs(angle - 126) > 14.5
        tubes += tubes_along(points, [3.2 if edge else 1.5, 3.0 if edge else 1.7])
    spine = [
        _polar(_table(BODY, angle) * build.width + 2, angle, side, 92 + (141 - angle) * 0.9)
        for angle in (141, 126, 112)
    ]
    tubes += tubes_along(spine, [3.0, 4.5, 8])
    tubes.append(Tube((side * 158.0, -2.0, 128.0), (side * 162.0, -4.0, 160.0), 22, 20))
    return tubes


def skeleton(build: Build, bottom_mm: float, top_mm: float) -> Skeleton:
    """Return all bones of a body between two heights."""
    bones: list[Tube] = []
    cartilage: list[Tube] = []
    for side in (-1, 1):
        for number in range(11):
            bone, soft = _rib(number, side)
            bones += bone
            cartilage += soft
        bones += _shoulder(side, build)
    for level in vertebra_levels(bottom_mm, top_mm):
        bones += _vertebra(level)
    return Skeleton(bones, cartilage)


def vertebra_levels(bottom_mm: float, top_mm: float) -> list[float]:
    """Return the heights of the vertebral bodies' centres."""
    first, last = (int(np.floor(height / VERTEBRA_MM)) for height in (bottom_mm, top_mm))
    return [(number + 0.5) * VERTEBRA_MM for number in range(first, last + 1)]


def paint_spine(plane: Plane, z: float, hu: Array) -> None:
    """Mix vertebral body, disc, canal and cord of one slice into it."""
    phase = (z / VERTEBRA_MM) % 1.0
    disc = float(np.clip((0.11 - min(phase, 1 - phase)) / 0.03, 0, 1))
    waist = 1 - 0.09 * np.sin(np.pi * phase)
    body = plane.ellipse((0.0, 38.0), (18.0 * waist, 15.5 * waist), 2.3)
    inner = plane.ellipse((0.0, 38.0), (18.0 * waist - 1.3, 15.5 * waist - 1.3), 2.3)
    rim = (1 - disc) * CORTEX_HU * 0.75 + disc * DISC_HU
    endplate = 190.0 * float(np.exp(-(((min(phase, 1 - phase) - 0.16) / 0.035) ** 2)))
    core = (1 - disc) * (MARROW_HU - 35 + endplate) + disc * DISC_HU
    hu += body * (rim - hu)
    hu += inner * (core - hu)
    canal, cord = plane.ellipse((0.0, 62.5), (9.5, 7.6)), plane.ellipse((0.0, 62.5), (5.2, 4.0))
    hu += canal * (8.0 - hu)
    hu += cord * (CORD_HU - hu)


def paint_sternum(plane: Plane, z: float, hu: Array) -> None:
    """Mix manubrium and body of the sternum into a slice."""
    if not -62 < z < 98:
        return
    half_width = 15 + 8 * float(np.clip((z - 45) / 25, 0, 1)) - 4 * float(np.clip((-30 - z) / 30, 0, 1))
    center = (0.0, -89.0 * cage_scale(z) + 3 * float(np.clip((z - 60) / 40, 0, 1)))
    joint = float(np.exp(-(((z - 47) / 2.5) ** 2)))
    outer, inner = plane.ellipse(center, (half_width, 5.6), 3), plane.ellipse(center, (half_width - 1.6, 4.1), 3)
    hu += outer * ((1 - joint) * CORTEX_HU * 0.6 + joint * CARTILAGE_HU - hu)
    hu += inner * ((1 - joint) * (MARROW_HU - 60) + joint * CARTILAGE_HU - hu)
