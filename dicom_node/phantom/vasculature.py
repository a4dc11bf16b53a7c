"""Vessels and airways: the great vessels by their usual course, the trees of the lungs by filling their volume.

The trees follow Tawhai et al. 2004 (J Appl Physiol 97:2310): a branch grows towards the centre of the points that it
is to supply, which are then split between its children, until every point has a twig. Radii follow from the number of
twigs behind a branch (Murray's law with exponent 2.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.phantom.geometry import Tube, tubes_along

Points = NDArray[np.float64]
BLOOD_HU = 45.0

_PATHS: dict[str, tuple[list[tuple[float, float, float]], list[float]]] = {
    "aorta": (
        [(2, -20, -18), (-8, -24, 8), (-12, -27, 34), (-9, -25, 52), (4, -16, 63), (18, -2, 65), (28, 16, 57),
         (32, 28, 42), (31, 36, 12), (28, 39, -40), (22, 38, -95), (12, 34, -170)],
        [15, 16.5, 16.5, 15.5, 14.5, 13.5, 13, 12.5, 12.5, 12, 11.5, 11],
    ),
    "superior vena cava": ([(-27, -16, 84), (-29, -14, 50), (-30, -10, 4)], [8.5, 9.5, 10.5]),
    "right brachiocephalic vein": ([(-27, -16, 82), (-31, -14, 104), (-38, -10, 150)], [8, 7, 6.5]),
    "left brachiocephalic vein": ([(-27, -16, 80), (0, -36, 86), (22, -32, 94), (40, -16, 112), (44, -8, 150)],
                                  [7.5, 6.5, 6.5, 6.5, 6]),
    "brachiocephalic artery": ([(-6, -20, 66), (-13, -12, 92), (-26, -4, 118), (-34, 2, 150)], [6.5, 6.2, 5.5, 4]),
    "left carotid": ([(8, -12, 68), (13, -6, 100), (20, 0, 150)], [4.2, 3.9, 3.8]),
    "left subclavian": ([(19, 4, 70), (27, 10, 104), (48, 10, 122), (80, -4, 128)], [5.5, 5, 4.8, 4.5]),
    "right subclavian": ([(-26, -4, 118), (-50, 4, 124), (-84, -4, 128)], [4.8, 4.6, 4.4]),
    "pulmonary trunk": ([(14, -44, -12), (20, -36, 10), (24, -20, 24), (26, -12, 28)], [13, 14.5, 14, 12.5]),
    "right pulmonary artery": ([(24, -16, 26), (6, -8, 22), (-14, -3, 20), (-36, 0, 16)], [12, 11, 10.5, 9.5]),
    "left pulmonary artery": ([(25, -14, 28), (36, 4, 32), (44, 14, 24)], [12, 11, 9]),
    "right interlobar artery": ([(-36, 0, 16), (-46, 8, 2), (-50, 16, -18)], [8, 7, 6]),
    "left descending artery": ([(44, 14, 24), (48, 22, 4), (50, 24, -16)], [8, 7, 6]),
    "right superior vein": ([(-8, 8, -10), (-30, -4, 0), (-42, -8, 12)], [8, 6.5, 6]),
    "right inferior vein": ([(-8, 12, -16), (-28, 16, -20), (-42, 22, -24)], [8, 6.5, 6]),
    "left superior vein": ([(12, 6, -8), (32, -4, 6), (42, -10, 14)], [7.5, 6, 5.5]),
    "left inferior vein": ([(14, 10, -16), (32, 20, -22), (44, 24, -26)], [7.5, 6, 5.5]),
    "inferior vena cava": ([(-20, 2, -48), (-22, 8, -85), (-20, 14, -170)], [12, 11.5, 11]),
    "right hepatic vein": ([(-20, 6, -88), (-48, 14, -98), (-92, 18, -112)], [4.5, 3.5, 1.6]),
    "middle hepatic vein": ([(-20, 4, -90), (-36, -24, -102), (-48, -58, -116)], [4.5, 3.5, 1.6]),
    "left hepatic vein": ([(-20, 4, -90), (0, -22, -104), (10, -48, -112)], [4.2, 3, 1.5]),
    "azygos": ([(-28, -2, 46), (-14, 16, 52), (-7, 26, 40), (-6, 27, -60), (-5, 26, -170)], [4.2, 4.4, 4, 3.6, 3]),
}  # fmt: skip

TRACHEA = ([(0, 4, 170), (-1, 4, 120), (-2, 5, 80), (0, 8, 46)], [8.8, 8.8, 9, 9.5])
RIGHT_BRONCHUS = ([(-2, 9, 44), (-16, 13, 30), (-32, 14, 19)], [7.8, 7.2, 6.4])
LEFT_BRONCHUS = ([(2, 9, 44), (20, 15, 28), (42, 21, 13)], [7.2, 6.4, 5.6])
OESOPHAGUS = (
    [(4, 22, 170), (5, 22, 90), (5, 24, 30), (6, 22, -30), (16, 14, -85), (26, 4, -110)],
    [7, 7, 6.5, 7, 8, 9],
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A grown tree: its tubes, and how many twigs each carries."""

    tubes: list[Tube]
    twigs: list[int]


@dataclass(frozen=True, slots=True)
class GrowthRule:
    """Growth of a tree: twig radius (mm), Murray exponent, fraction of the way to the centre per branch."""

    twig_radius_mm: float = 0.5
    exponent: float = 2.6
    share: float = 0.42
    bend: float = 0.09

    def radius(self, twigs: int) -> float:
        """Return the radius (mm) of a branch that carries this many twigs."""
        return self.twig_radius_mm * twigs ** (1 / self.exponent)


def great_vessels() -> dict[str, list[Tube]]:
    """Return the large vessels of the mediastinum by name."""
    return {name: tubes_along(*path) for name, path in _PATHS.items()}


def grow(
    root: tuple[float, float, float],
    heading: tuple[float, float, float],
    points: Points,
    rule: GrowthRule,
    rng: np.random.Generator,
) -> Tree:
    """Grow a tree from ``root`` that ends in every one of ``points`` (n, 3)."""
    tree = Tree([], [])
    pending = [(np.array(root, float), np.array(heading, float), points, rule.radius(len(points)))]
    while pending:
        start, direction, mine, before = pending.pop()
        end = _end_of_branch(start, direction, mine, rule)
        radius = rule.radius(len(mine))
        _add_bent(tree, (start, end), (min(before, radius * 1.25), radius), len(mine), rng.normal(0, rule.bend, 3))
        if len(mine) > 1:
            heading_now = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
            pending += [(end, heading_now, half, radius) for half in _split(end, heading_now, mine, rng)]
    return tree


def _end_of_branch(start: Points, direction: Points, points: Points, rule: GrowthRule) -> Points:
    """Return the end of a branch: part of the way to the centre of its points, turned to its old heading."""
    if len(points) == 1:
        return points[0]
    way = points.mean(axis=0) - start
    length = float(np.linalg.norm(way))
    return start + rule.share * (0.85 * way + 0.15 * direction * length)


def _split(at: Points, heading: Points, points: Points, rng: np.random.Generator) -> list[Points]:
    """Split points by a plane through the branch's end, across the way they spread most sideways."""
    offset = points - at
    sideways = offset - np.outer(offset @ heading, heading)
    sideways -= sideways.mean(axis=0)
    _, _, axes = np.linalg.svd(sideways + rng.normal(0, 1e-3, sideways.shape), full_matrices=False)
    along = sideways @ axes[0]
    order = np.argsort(along)
    uneven = rng.uniform(0.36, 0.64)
    cut = int(np.clip(round(len(points) * uneven), 1, len(points) - 1))
    return [points[order[:cut]], points[order[cut:]]]


def _add_bent(
    tree: Tree, ends: tuple[Points, Points], radii: tuple[float, float], twigs: int, bend: NDArray[np.float64]
) -> None:
    start, end = ends
    middle = (start + end) / 2 + bend * float(np.linalg.norm(end - start))
    tree.tubes.extend(tubes_along([start, middle, end], [radii[0], radii[1], radii[1]]))
    tree.twigs.extend((twigs, twigs))


def bronchi(arteries: Tree, side: int, smallest_mm: float = 1.5) -> list[Tube]:
    """Return airways (their lumen) along a lung's arteries as far as these are larger than ``smallest_mm``."""
    airways = []
    for tube, twigs in zip(arteries.tubes, arteries.twigs, strict=True):
        if tube.end_radius_mm < smallest_mm or twigs < 2:
            continue
        shift = np.array([-side * 0.7, 0.55, 0.45]) * (1.75 * tube.end_radius_mm + 0.6)
        start, end = np.array(tube.start) + shift, np.array(tube.end) + shift
        airways += tubes_along([start, end], [0.78 * tube.start_radius_mm, 0.78 * tube.end_radius_mm])
    return airways
