"""Position of a nodule in words: the patient's side, and the third of that lung from apex to base.

Never a lobe: fissures are not segmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.lungs.search_region import LungExtent, LungSegmentation, Mask

REACH_MM = 20.0
"""A centre farther than this from aerated lung has no side: it is not clear which lung it belongs to."""
AMBIGUOUS_MM = 3.0
"""A centre whose distances to both lungs differ by less has no side."""


class Side(StrEnum):
    """The patient's side."""

    RIGHT = "right"
    LEFT = "left"


class Third(StrEnum):
    """Third of the height of one lung."""

    UPPER = "upper"
    MIDDLE = "middle"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class LungLocation:
    """Side and third of a position; ``third`` is None where the volume does not show both lungs from end to end."""

    side: Side
    third: Third | None

    def to_json(self) -> dict[str, str | None]:
        """Return it as recorded in a finding's attributes."""
        return {"side": self.side.value, "third": self.third.value if self.third else None}


LABELS = {1: Side.RIGHT, 2: Side.LEFT}
"""Sides of the labels of ``LungSegmentation.sides``."""


def lung_location(lungs: LungSegmentation, index: tuple[float, float, float]) -> LungLocation | None:
    """Return the location of a full-resolution ``(slice, row, column)`` index, or None where the side is not clear."""
    if lungs.sides is None:
        return None
    working = lungs.working_index(np.array([index]))[0]
    spacing_mm = np.array(lungs.spacing_mm)
    distances_mm = {side: _distance_mm(lungs.sides == label, working, spacing_mm) for label, side in LABELS.items()}
    side = min(distances_mm, key=lambda name: distances_mm[name])
    near, far = sorted(distances_mm.values())
    if near > REACH_MM or far - near < AMBIGUOUS_MM:
        return None
    if lungs.extent is not LungExtent.COMPLETE:
        return LungLocation(side, None)
    label = next(number for number, name in LABELS.items() if name is side)
    return LungLocation(side, _third(lungs.sides == label, float(working[0]), lungs.superior_is_last))


def _distance_mm(lung: Mask, working: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> float:
    """Distance of a working index to the nearest voxel of one lung; infinite where none is within reach."""
    reach = np.ceil(REACH_MM / spacing_mm).astype(int) + 1
    low = np.clip(np.floor(working).astype(int) - reach, 0, None)
    high = np.clip(np.floor(working).astype(int) + reach + 1, 0, None)
    voxels = np.argwhere(lung[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))])
    if len(voxels) == 0:
        return float("inf")
    return float(np.linalg.norm((voxels + low - working) * spacing_mm, axis=1).min())


def _third(lung: Mask, working_slice: float, superior_is_last: bool) -> Third:
    """Return the third of the height of one lung that a slice lies in; beyond its ends, the nearest."""
    shown = np.flatnonzero(lung.any(axis=(1, 2)))
    share = (working_slice - shown[0] + 0.5) / (shown[-1] - shown[0] + 1)
    from_apex = 1.0 - share if superior_is_last else share
    return tuple(Third)[min(2, max(0, int(from_apex * 3)))]
