"""Records of nodules, independent of the folder layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.types import CtVolume


class DataError(Exception):
    """The data folder is unusable."""


@dataclass(frozen=True, slots=True)
class NoduleRow:
    """One line of ``labels.csv``, or of a user's ``nodules.csv``."""

    file: str
    patient_id: str
    diameter_mm: float
    mean_malignancy: float
    n_readers: int
    ratings_ok: bool
    slice_mm: float
    pixel_mm: float
    split: str
    ratings: tuple[float, ...] = ()
    """Ratings of the readers, 1 to 5, if the table has them."""

    @property
    def is_labelled(self) -> bool:
        """Return True if the ratings are usable and their mean is not 3."""
        return self.ratings_ok and np.isfinite(self.mean_malignancy) and self.mean_malignancy != 3.0

    @property
    def is_malignant(self) -> bool:
        """Mean rating above 3."""
        return self.mean_malignancy > 3.0


@dataclass(frozen=True, slots=True)
class NoduleCrop:
    """One nodule with its centre (slice, row, column) and the readers' consensus mask.

    ``z_extent_mm`` says how much of a whole series may be seen above and below, as in serving; a crop ends by itself.
    """

    row: NoduleRow
    volume: CtVolume
    mask: NDArray[np.bool_]
    centre: tuple[float, float, float]
    z_extent_mm: tuple[float, float] | None = None
