"""Views of patches for networks: one plane or a cube, in one window or several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.volumes.patches import Patch, sample_view
from inference.volumes.preprocessing import Array, PreprocessingSpec, normalise

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """A network's view of a patch: one plane (2D) or a cube (3D), and the windows stacked as channels."""

    windows: tuple[PreprocessingSpec, ...]
    volumetric: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points (z, y, x)."""
        size = self.windows[0].size
        return (size, size, size) if self.volumetric else (1, size, size)

    @property
    def field_mm(self) -> tuple[float, float, float]:
        """Extent (z, y, x) in millimetres."""
        field = self.windows[0].field_mm
        return (field if self.volumetric else 1.0, field, field)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One input of the network, ``(channels, ...)``."""
        return (len(self.windows), *(self.shape if self.volumetric else self.shape[1:]))

    def network_input(self, hu: Array) -> Array:
        """Convert ``(n, z, y, x)`` HU to the network's ``(n, channels, ...)``."""
        hu = hu[:, None] if self.volumetric else hu
        return concatenated([normalise(hu, spec) for spec in self.windows], 1)

    def inputs(self, patches: Sequence[Patch], device: torch.device | str = "cpu") -> Tensor:
        """Return the network's input of patches, ``(n, channels, ...)`` on ``device``."""
        import torch

        hu = np.stack([sample_view(patch, shape=self.shape, field_mm=self.field_mm) for patch in patches])
        return self.network_input(torch.from_numpy(hu).to(device))

    def to_json(self) -> dict[str, object]:
        """Return JSON values for ``bundle.json``."""
        return {"volumetric": self.volumetric, "windows": [spec.to_json() for spec in self.windows]}

    @classmethod
    def from_json(cls, values: dict[str, object]) -> ViewSpec:
        """Parse the output of ``to_json``."""
        windows = values["windows"]
        if not isinstance(windows, list):
            raise TypeError("windows must be a list")
        return cls(tuple(PreprocessingSpec(**spec) for spec in windows), volumetric=bool(values["volumetric"]))


def concatenated(parts: Sequence[Array], axis: int) -> Array:
    """Join arrays of NumPy or tensors of torch along an axis."""
    joined: Array = _library_of(parts[0]).concatenate(parts, axis)
    return joined


def _library_of(array: object) -> Any:
    """Return NumPy or torch; both know the functions used here by the same names and order of parameters."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def rotate(inputs: Array, number: int) -> Array:
    """Return one of the eight in-plane rotations by 90 degrees (0 to 3) and flips (4 to 7) of ``(..., size, size)``.

    The same, to the bit, as sampling the patch through a rotated grid, since grids are square and centred.
    """
    library = _library_of(inputs)
    rotated: Array = library.rot90(inputs, -(number % 4), (-2, -1))
    if number >= 4:
        rotated = library.flip(rotated, (-1,))
    return rotated
