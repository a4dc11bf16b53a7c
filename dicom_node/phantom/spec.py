"""Specification of a phantom: size of the series and its nodules, and the generated volume with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class NoduleKind(StrEnum):
    """Appearance of a nodule."""

    SOLID = "solid"
    LOBULATED = "lobulated"
    SPICULATED = "spiculated"
    PART_SOLID = "part-solid"
    GROUND_GLASS = "ground-glass"
    CALCIFIED = "calcified"


class Attachment(StrEnum):
    """Structure that a nodule is attached to."""

    NONE = "none"
    PLEURA = "pleura"
    VESSEL = "vessel"


@dataclass(frozen=True, slots=True)
class NoduleSpec:
    """A nodule to place: anywhere in a lung where it fits, or exactly at ``position_mm``."""

    kind: NoduleKind
    diameter_mm: float
    attachment: Attachment = Attachment.NONE
    side: str | None = None
    """``left`` or ``right`` (the patient's); None takes either."""
    position_mm: tuple[float, float, float] | None = None
    """Centre in the patient's frame (LPS, mm); None chooses one by the seed."""


@dataclass(frozen=True, slots=True)
class PlacedNodule:
    """A nodule in the volume: the ground truth."""

    kind: NoduleKind
    attachment: Attachment
    diameter_mm: float
    """Diameter of the sphere of equal volume that its outline follows, spicules not counted."""
    index: tuple[float, float, float]
    """Centre as fractional ``(slice, row, column)``."""
    position_mm: tuple[float, float, float]
    """Centre in the patient's frame (LPS, mm)."""


DEFAULT_NODULES = (
    NoduleSpec(NoduleKind.SPICULATED, 19.0, side="right"),
    NoduleSpec(NoduleKind.SOLID, 8.0, side="left"),
    NoduleSpec(NoduleKind.PART_SOLID, 14.0, side="left"),
    NoduleSpec(NoduleKind.GROUND_GLASS, 11.0, side="right"),
    NoduleSpec(NoduleKind.CALCIFIED, 6.0, side="right"),
    NoduleSpec(NoduleKind.LOBULATED, 12.0, Attachment.PLEURA, side="left"),
)


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """Size, seed and content of a phantom; the same spec always gives the same voxels."""

    slices: int = 120
    slice_spacing_mm: float = 2.5
    rows: int = 512
    columns: int = 512
    pixel_spacing_mm: float = 0.7
    seed: int = 1
    noise_hu: float = 22.0
    """Standard deviation of the noise in soft tissue at the centre of the body; 0 for none."""
    kernel: str = "standard"
    """``standard`` (softer) or ``lung`` (sharper, noisier)."""
    contrast_hu: float = 190.0
    """HU by which contrast medium raises blood above its 45 HU; 0 without contrast."""
    vessels: bool = True
    nodules: tuple[NoduleSpec, ...] = DEFAULT_NODULES

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if min(self.slices, self.rows, self.columns) < 1 or min(self.slice_spacing_mm, self.pixel_spacing_mm) <= 0:
            raise ValueError("A phantom needs at least one voxel of positive size")
        if self.kernel not in {"standard", "lung"}:
            raise ValueError("The kernel is 'standard' or 'lung'")


@dataclass(frozen=True, slots=True)
class Phantom:
    """A generated volume with its ground truth.

    ``volume_hu`` is ``(slices, rows, columns)`` int16, slices from feet to head; ``spacing_mm`` is
    ``(slice, row, column)``; ``origin_mm`` is the centre of the first voxel (LPS, mm).
    """

    spec: PhantomSpec
    volume_hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    nodules: tuple[PlacedNodule, ...]
