"""Position of a nodule in words: the patient's side, and the third of that lung from apex to base.

Never a lobe: fissures are not segmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.lungs.search_region import LungExtent, LungSegmentation

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
    working = lungs.working_index(np.array([index]))[0]
    distances_mm = {side: _distance_mm(lungs, label, working) for label, side in LABELS.items()}
    side = min(distances_mm, key=lambda name: distances_mm[name])
    near, far = sorted(distances_mm.values())
    if near > REACH_MM or far - near < AMBIGUOUS_MM:
        return None
    return LungLocation(side, _third(lungs, side, float(working[0])))


def _distance_mm(lungs: LungSegmentation, label: int, working: NDArray[np.float64]) -> float:
    """Distance of a working index to the nearest voxel of one lung; infinite where the volume shows none of it."""
    reach = [int(np.ceil(REACH_MM / spacing)) + 1 for spacing in lungs.spacing_mm]
    low = np.clip(np.floor(working).astype(int) - reach, 0, None)
    high = np.floor(working).astype(int) + np.array(reach) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, np.maximum(high, 0), strict=True))
    voxels = np.argwhere(lungs.sides[box] == label)
    if len(voxels) == 0:
        return float("inf")
    return float(np.linalg.norm((voxels + low - working) * lungs.spacing_mm, axis=1).min())


def _third(lungs: LungSegmentation, side: Side, working_slice: float) -> Third | None:
    if lungs.extent is not LungExtent.COMPLETE:
        return None
    label = next(number for number, name in LABELS.items() if name is side)
    shown = np.flatnonzero((lungs.sides == label).any(axis=(1, 2)))
    share = (working_slice - shown[0] + 0.5) / (shown[-1] - shown[0] + 1)
    from_apex = 1.0 - share if lungs.superior_is_last else share
    return tuple(Third)[min(2, max(0, int(from_apex * 3)))]
