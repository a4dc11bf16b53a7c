"""Nodules: placement, and drawing of each kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dicom_node.phantom.geometry import FULL, Array, Grid, Tube, average_parts, blend, cover_tubes, raise_cover
from dicom_node.phantom.spec import Attachment, NoduleKind, NoduleSpec, PlacedNodule

Cover = NDArray[np.uint8]
SOLID_HU, GROUND_GLASS_HU, CALCIUM_HU = 52.0, -560.0, 620.0
BONE_FROM_HU = 320.0
"""HU above which tissue is rib, which a nodule at the pleura does not replace."""


class NoSpaceForNoduleError(ValueError):
    """A requested nodule does not fit in the lungs."""

    def __init__(self, nodule: NoduleSpec) -> None:
        super().__init__(f"no position in the lungs fits a {nodule.kind} nodule of {nodule.diameter_mm} mm")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Anatomy that decides where a nodule fits, on every ``step``-th row and column."""

    step: int
    depth_mm: Array
    """Distance to the lung's surface."""
    vessel: Cover
    x: Array

    @classmethod
    def of(cls, grid: Grid, lung: Cover, vessel: Cover) -> Surroundings:
        """Measure the lungs of a grid."""
        step = max(1, round(3.6 / grid.spacing_mm[1]))
        inside = lung[:, ::step, ::step] > FULL // 2
        sampling = (grid.spacing_mm[0], grid.spacing_mm[1] * step, grid.spacing_mm[2] * step)
        padded = np.pad(inside, 1)
        depth = distance_transform_edt(padded, sampling=sampling)[1:-1, 1:-1, 1:-1]
        return cls(step, depth.astype(np.float32), vessel[:, ::step, ::step], grid.axis(2)[::step])


def place_nodule(
    grid: Grid, around: Surroundings, spec: NoduleSpec, taken: list[PlacedNodule], rng: np.random.Generator
) -> PlacedNodule:
    """Return a position for a nodule, clear of those already placed.

    Raises
    ------
    NoSpaceForNoduleError
        Nothing fits.
    """
    if spec.position_mm is not None:
        return PlacedNodule(
            spec.kind, spec.attachment, spec.diameter_mm, grid.index(spec.position_mm), spec.position_mm
        )
    radius = spec.diameter_mm / 2
    low, high = radius * 1.7 + 3, 400.0
    if spec.attachment is Attachment.PLEURA:  # at least as wide as the sampled positions lie apart
        low, high = radius * 0.5, max(radius * 0.8, radius * 0.5 + around.step * grid.spacing_mm[1])
    fits = (around.depth_mm >= low) & (around.depth_mm <= high)
    margin = int(np.ceil(spec.diameter_mm / grid.spacing_mm[0])) + 1
    fits[:margin] = fits[max(len(fits) - margin, 0) :] = False
    if spec.side is not None:
        fits &= (around.x > 0 if spec.side == "left" else around.x < 0)[None, None, :]
    if spec.attachment is Attachment.PLEURA:
        fits &= (np.abs(around.x) > 75)[None, None, :]
    candidates = np.argwhere(fits)
    if not len(candidates):
        raise NoSpaceForNoduleError(spec)
    picked = candidates[rng.permutation(len(candidates))[:200]]
    ranked = sorted(picked.tolist(), key=lambda at: _crowding(grid, around, at, spec))
    for at in ranked:
        nodule = _placed(grid, around.step, at, spec)
        if all(_apart(nodule, other) for other in taken):
            return nodule
    raise NoSpaceForNoduleError(spec)


def _crowding(grid: Grid, around: Surroundings, at: list[int], spec: NoduleSpec) -> float:
    """Return how much vessel lies within the nodule (little is better, unless it is attached to one)."""
    reach = spec.diameter_mm / 2 + 2
    spacing = (grid.spacing_mm[0], grid.spacing_mm[1] * around.step, grid.spacing_mm[2] * around.step)
    box = tuple(
        slice(max(center - int(reach / mm) - 1, 0), center + int(reach / mm) + 2)
        for center, mm in zip(at, spacing, strict=True)
    )
    share = float(around.vessel[box].mean()) / FULL
    return abs(share - 0.12) if spec.attachment is Attachment.VESSEL else share


def _placed(grid: Grid, step: int, at: list[int], spec: NoduleSpec) -> PlacedNodule:
    index = (float(at[0]), float(at[1] * step), float(at[2] * step))
    position = tuple(
        start + part * mm for start, part, mm in zip(grid.origin_mm, index[::-1], grid.spacing_mm[::-1], strict=True)
    )
    return PlacedNodule(spec.kind, spec.attachment, spec.diameter_mm, index, position)  # type: ignore[arg-type]


def _apart(one: PlacedNodule, other: PlacedNodule) -> bool:
    gap = np.linalg.norm(np.subtract(one.position_mm, other.position_mm))
    return bool(gap > (one.diameter_mm + other.diameter_mm) / 2 + 15)


@dataclass(frozen=True, slots=True)
class Surface:
    """A star-shaped surface: a sphere with low bumps, scaled to the volume of the unit sphere."""

    directions: Array
    amplitudes: Array
    phases: Array

    @classmethod
    def drawn(cls, rng: np.random.Generator, roughness: float) -> Surface:
        """Draw bumps; ``roughness`` is their root mean square fraction of the radius."""
        count = 7
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions *= rng.uniform(1.5, 5.0, (count, 1))
        amplitudes = rng.uniform(0.5, 1, count)
        amplitudes *= roughness / np.sqrt(np.sum(np.square(amplitudes)) / 2)
        return cls(*(part.astype(np.float32) for part in (directions, amplitudes, rng.uniform(0, 6.28, count))))

    def level(self, unit: tuple[Array, Array, Array]) -> Array:
        """Return the radius over each unit vector (x, y, z), about 1."""
        bumps = np.float32(1)
        for (a, b, c), amplitude, phase in zip(self.directions, self.amplitudes, self.phases, strict=True):
            bumps = bumps + amplitude * np.sin(a * unit[0] + b * unit[1] + c * unit[2] + phase)
        return np.asarray(bumps, dtype=np.float32)

    def mean_radius(self) -> float:
        """Return the radius of the sphere of equal volume."""
        k = np.arange(2000) + 0.5
        polar, azimuth = np.arccos(1 - 2 * k / 2000), np.pi * (1 + 5**0.5) * k
        unit = (np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar))
        return float(np.mean(self.level(tuple(part.astype(np.float32) for part in unit)) ** 3) ** (1 / 3))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Blob:
    center_mm: tuple[float, float, float]
    radius_mm: float
    surface: Surface
    edge_mm: float


def _cover_blob(grid: Grid, cover: Cover, blob: _Blob) -> None:
    reach = blob.radius_mm * 1.6 + blob.edge_mm + grid.spacing_mm[0]
    center = np.array(blob.center_mm)
    box = grid.box(center - reach, center + reach)
    if box is None:
        return
    z, y, x = grid.coordinates(box, grid.parts)
    dx, dy, dz = x - np.float32(center[0]), y - np.float32(center[1]), z - np.float32(center[2])
    distance = np.sqrt(dx * dx + dy * dy + dz * dz)
    safe = np.maximum(distance, 1e-3)
    radius = blob.radius_mm * blob.surface.level((dx / safe, dy / safe, dz / safe)) / blob.surface.mean_radius()
    values = np.clip(0.5 + (radius - distance) / max(blob.edge_mm, grid.spacing_mm[2]), 0, 1)
    raise_cover(cover, box, average_parts(values.astype(np.float32), grid.parts))


def _spicules(nodule: PlacedNodule, rng: np.random.Generator) -> list[Tube]:
    center, radius = np.array(nodule.position_mm), nodule.diameter_mm / 2
    tubes = []
    for _ in range(int(30 + 3 * nodule.diameter_mm)):
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        start, end = center + way * radius * 0.7, center + way * radius * rng.uniform(1.25, 1.9)
        tubes.append(Tube(tuple(start.tolist()), tuple(end.tolist()), rng.uniform(0.1, 0.22) * radius, 0.3))
    return tubes


_ROUGHNESS = {
    NoduleKind.LOBULATED: 0.14,
    NoduleKind.SPICULATED: 0.13,
    NoduleKind.PART_SOLID: 0.12,
    NoduleKind.GROUND_GLASS: 0.14,
}


def paint_nodule(grid: Grid, volume: Array, scratch: Cover, nodule: PlacedNodule, rng: np.random.Generator) -> None:
    """Mix one nodule into a volume; ``scratch`` is an empty cover and is left empty."""
    radius, kind = nodule.diameter_mm / 2, nodule.kind
    surface = Surface.drawn(rng, _ROUGHNESS.get(kind, 0.07))
    hazy = kind in {NoduleKind.GROUND_GLASS, NoduleKind.PART_SOLID}
    layers: list[tuple[_Blob, float]] = [
        (_Blob(nodule.position_mm, radius, surface, 2.2 if hazy else 0.0), GROUND_GLASS_HU if hazy else SOLID_HU)
    ]
    if kind is NoduleKind.PART_SOLID:
        aside = np.array(nodule.position_mm) + rng.normal(0, 0.12 * radius, 3)
        core = _Blob(tuple(aside.tolist()), 0.5 * radius, Surface.drawn(rng, 0.1), 0.8)
        layers.append((core, SOLID_HU - 20))
    if kind is NoduleKind.CALCIFIED:
        layers.append((_Blob(nodule.position_mm, 0.72 * radius, surface, 0.6), CALCIUM_HU))
    for number, (blob, hu) in enumerate(layers):
        _cover_blob(grid, scratch, blob)
        if kind is NoduleKind.SPICULATED and number == 0:
            cover_tubes(grid, scratch, _spicules(nodule, rng))
        blend(volume, scratch, hu, spare_hu=BONE_FROM_HU)
        scratch[:] = 0
