"""Surroundings check: noise, grain and HU of the lung around a nodule against the validated ranges.

A wrong number shown with confidence is worse than none: another dose, kernel or calibration of the scanner moves the
networks' margins, by an unknown amount beyond the range of the training crops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.gate import GateThresholds
from inference.types import Abstention, CtVolume

HALF_MM = (4.0, 15.0, 15.0)
"""Half extent (slice, row, column) of the measured box, about that of a research crop."""
LUNG_BELOW_HU = -650.0
MIN_VOXELS = 150
"""Minimum number of voxels of plain lung; every training crop had more."""
MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Statistics of plain lung around a point.

    Parameters
    ----------
    noise_hu
        Robust standard deviation of a pixel against the mean of its four neighbours in the slice.
    grain
        Correlation of this difference with that of the second pixel along the row: the kernel's mark, -1..1.
    lung_hu
        Median of plain lung.
    """

    noise_hu: float
    grain: float
    lung_hu: float


LIMITED = {
    "noise_hu": Abstention("noise", "the image noise around it is outside {low} to {high} HU, the validated range"),
    "grain": Abstention("kernel", "the reconstruction kernel differs from those validated"),
    "lung_hu": Abstention("hu_offset", "the lung around it is outside {low} to {high} HU, the validated range"),
}
"""Abstentions by measure; the limits are filled in."""
NO_LUNG = Abstention("no_lung_around", "not enough lung around it to check image quality")


def surroundings_of(volume: CtVolume, index: tuple[float, float, float]) -> Surroundings | None:
    """Measure the lung around ``index`` (slice, row, column); None if there is too little of it.

    Where a mass fills the box, one of twice the size is looked at.
    """
    return _surroundings(volume, index, 1.0) or _surroundings(volume, index, 2.0)


def _surroundings(volume: CtVolume, index: tuple[float, float, float], times: float) -> Surroundings | None:
    box = tuple(
        slice(max(0, round(at - times * half / spacing)), max(1, round(at + times * half / spacing) + 1))
        for at, half, spacing in zip(index, HALF_MM, volume.spacing_mm, strict=True)
    )
    return plain_lung_statistics(volume.volume_hu[box].astype(np.float32))


def plain_lung_statistics(hu: NDArray[np.float32], within: NDArray[np.bool_] | None = None) -> Surroundings | None:
    """Measure the plain lung of slices ``(slices, rows, columns)`` in HU; None if there is too little of it.

    ``within`` marks the voxels that count, all by default.
    """
    if hu.shape[1] < 5 or hu.shape[2] < 5:
        return None
    lung = _plain_lung(hu) if within is None else _plain_lung(hu) & within
    if lung.sum() < MIN_VOXELS:
        return None
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32)[None] / 4.0
    rough = hu - ndi.correlate(hu, cross, mode="nearest")
    values = rough[lung]
    pairs = lung[:, :, 2:] & lung[:, :, :-2]
    first, second = rough[:, :, 2:][pairs], rough[:, :, :-2][pairs]
    spread = float(np.sqrt(np.mean(first**2) * np.mean(second**2))) if pairs.any() else 0.0
    return Surroundings(
        noise_hu=float(MAD_TO_SD * np.median(np.abs(values - np.median(values)))),
        grain=float(np.mean(first * second)) / spread if spread > 0 else 0.0,
        lung_hu=float(np.median(hu[lung])),
    )


def _plain_lung(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels of lung at least a pixel away from vessels, nodule and wall, judged on the smoothed slice."""
    smooth = ndi.uniform_filter(hu, size=(1, 3, 3), mode="nearest")
    return ndi.binary_erosion(smooth < LUNG_BELOW_HU, structure=np.ones((1, 3, 3), bool), border_value=1)


def unvalidated_measures(surroundings: Surroundings | None, gate: GateThresholds) -> tuple[str, ...]:
    """Return the measures outside the gate's limits; all that have limits where there is too little lung."""
    return tuple(
        measure
        for measure, (low, high) in _limits(gate).items()
        if surroundings is None or not low <= getattr(surroundings, measure) <= high
    )


def why_unlike(surroundings: Surroundings | None, gate: GateThresholds) -> tuple[Abstention, ...]:
    """Return abstentions for measures outside the gate's limits, or for too little lung."""
    limits = _limits(gate)
    if surroundings is None:
        return (NO_LUNG,) if limits else ()
    reasons = []
    for measure in unvalidated_measures(surroundings, gate):
        (low, high), why = limits[measure], LIMITED[measure]
        reasons.append(replace(why, text=why.text.format(low=f"{low:.0f}", high=f"{high:.0f}")))
    return tuple(reasons)


def _limits(gate: GateThresholds) -> dict[str, tuple[float, float]]:
    return {measure: limit for measure in LIMITED if (limit := getattr(gate, measure)) is not None}
