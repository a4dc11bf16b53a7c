"""Preprocessing of Hounsfield units for the networks; the specification is part of the bundle.

The functions take NumPy's arrays and torch's tensors alike, to the bit, so that a process whose networks run in
OpenVINO need not import torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[np.float32], "Tensor")


@dataclass(frozen=True, slots=True)
class PreprocessingSpec:
    """Cropping, windowing and normalisation of a network's input; stored in ``bundle.json``.

    Parameters
    ----------
    field_mm
        Side of the square (or cube) field of view around the nodule's centre, millimetres.
    size
        Side of the network's input in pixels (or voxels).
    window_center, window_width
        Display window in HU, applied as LINEAR_EXACT (PS3.3 C.11.2.1.3.2).
    mean, std
        Normalisation of the windowed 0..1 image.
    """

    field_mm: float = 32.0
    size: int = 224
    window_center: float = -400.0
    window_width: float = 1400.0
    mean: float = 0.5
    std: float = 0.5

    def to_json(self) -> dict[str, float | int]:
        """Return JSON values for ``bundle.json``."""
        return asdict(self)


def apply_window(hu: Array, center: float, width: float) -> Array:
    """Map HU to 0..1, linear inside the window and clipped outside (PS3.3 C.11.2.1.3.2)."""
    return ((hu - (center - width / 2)) / width).clip(0.0, 1.0)


def normalise(hu: Array, spec: PreprocessingSpec) -> Array:
    """Window HU and normalise, any shape; the one function that training and serving share."""
    return (apply_window(hu, spec.window_center, spec.window_width) - spec.mean) / spec.std


def normalise_grey(grey: Tensor, spec: PreprocessingSpec) -> Tensor:
    """Normalise an already windowed picture in 0..1, any shape."""
    return (grey - spec.mean) / spec.std
