"""Types of a series: slices in order and their source instances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from db.domain.reasons import Reason
from inference.types import Abstention, CtVolume


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A stored instance of a series (a DICOM file, PS3.10)."""

    sop_instance_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class SourceSlice:
    """Source of one slice of a volume; ``frame_number`` is 1-based (1 for single-frame CT)."""

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int
    instance_number: int | None
    position_mm: tuple[float, float, float]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class SeriesGeometry:
    """The slices of one series in anatomical order, without pixels.

    ``spacing_mm`` is ``(slice, row, column)``; ``orientation`` the six direction cosines (PS3.3 C.7.6.2.1.1).
    """

    slices: tuple[SourceSlice, ...]
    spacing_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    frame_of_reference_uid: str


@dataclass(frozen=True, slots=True)
class LoadedSeries:
    """A series ready for inference: ``volume.volume_hu[i]`` was read from ``geometry.slices[i]``."""

    geometry: SeriesGeometry
    volume: CtVolume
    attributes: dict[str, str]
    """Acquisition attributes without identity: ``Manufacturer``, ``ConvolutionKernel``, ``KVP``, ..."""
    caveats: tuple[Reason, ...] = ()
    """Caveats of reading the series (``db.domain.caveats``)."""


def reason_of(abstention: Abstention) -> Reason:
    """Convert an abstention of the models to the reason that is recorded."""
    return Reason(abstention.code, abstention.text)
