"""Nodule measurement at a given point: diameters, volume, density and margin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from inference.nodules.boundary import RAY_STEP_MM, TUNING, Surface, find_surface
from inference.types import Abstention, CtVolume, Line, NoduleAxes

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

SOLID_ABOVE_HU = -300.0
BLURRED_RIM_MM = 1.5
"""Outer part that the scanner's blur mixes with lung; left out when density is judged."""
SOLID_SHARE = 0.75
GROUND_GLASS_SHARE = 0.10


class Density(StrEnum):
    """Density classes of nodules (MacMahon et al. 2017)."""

    SOLID = "solid"
    PART_SOLID = "part-solid"
    GROUND_GLASS = "ground-glass"


@dataclass(frozen=True, slots=True)
class NoduleMeasure:
    """Measurements of one nodule.

    Parameters
    ----------
    center_index
        Fractional ``(slice, row, column)`` of the centroid.
    longest_mm, perpendicular_mm
        Longest axial diameter over all slices and the widest extent at right angles to it, in the same slice.
    volume_mm3, equivalent_diameter_mm
        Of the star-shaped surface; the diameter is that of a ball of the same volume.
    mean_hu
        Within the surface, where the volume is.
    density
        By ``solid_share``: ``SOLID_SHARE`` or more is solid, below ``GROUND_GLASS_SHARE`` ground glass.
    solid_share
        Share above ``SOLID_ABOVE_HU`` of the part that lies ``BLURRED_RIM_MM`` or half a radius inside the border.
    mask, mask_box
        Voxels of the volume within the surface, and where this block lies in the volume.
    axes
        ``longest_mm`` and ``perpendicular_mm`` as lines on the nearest slice; None where no section has diameters.
    margin
        Shape, margin and histogram measures by name; see ``features``.
    """

    center_index: tuple[float, float, float]
    longest_mm: float
    perpendicular_mm: float
    volume_mm3: float
    equivalent_diameter_mm: float
    mean_hu: float
    density: Density
    solid_share: float
    mask: Mask
    mask_box: tuple[slice, slice, slice]
    axes: NoduleAxes | None
    margin: dict[str, float]

    @property
    def mean_diameter_mm(self) -> float:
        """Mean of long and short axis (MacMahon et al. 2017)."""
        return (self.longest_mm + self.perpendicular_mm) / 2.0

    def features(self) -> dict[str, float]:
        """Return all features for a classifier, in a fixed order, without positions."""
        return {
            "longest_mm": self.longest_mm,
            "perpendicular_mm": self.perpendicular_mm,
            "volume_mm3": self.volume_mm3,
            "equivalent_diameter_mm": self.equivalent_diameter_mm,
            "mean_hu": self.mean_hu,
            "solid_share": self.solid_share,
            **self.margin,
        }


def measure_nodule(volume: CtVolume, index: tuple[float, float, float]) -> NoduleMeasure | Abstention:
    """Measure the nodule nearest to ``index`` (fractional slice, row, column), at most 7 mm away.

    Returns
    -------
    NoduleMeasure | Abstention
        Abstains with ``outside_volume``, ``implausible_spacing`` or ``no_nodule_here``.
    """
    size = np.array(volume.volume_hu.shape)
    if not (np.isfinite(index).all() and (np.array(index) > -0.5).all() and (np.array(index) < size - 0.5).all()):
        return Abstention("outside_volume", "The place lies outside the series.")
    if not all(np.isfinite(s) and 0.1 <= s <= 15.0 for s in volume.spacing_mm):
        return Abstention("implausible_spacing", "The voxel spacing is missing or not that of a CT of a person.")
    surface = find_surface(volume, index)
    if surface.core_hu - surface.lung_hu < TUNING.min_contrast_hu:
        return Abstention("no_nodule_here", "Nothing at this place is denser than the lung around it.")
    return _measured(volume, surface)


def _measured(volume: CtVolume, surface: Surface) -> NoduleMeasure:
    mask, box = _voxels(volume, surface)
    _, volume_mm3 = surface.centroid()
    diameters = _axial_diameters(surface)
    equivalent_mm = float(np.cbrt(6.0 * volume_mm3 / np.pi))
    depths_mm = surface.depths_mm
    share = depths_mm / surface.radii_mm[:, None]  # (rays, steps)
    inner_mm = np.maximum(surface.radii_mm - BLURRED_RIM_MM, 0.5 * surface.radii_mm)[:, None]
    real = surface.is_real if (surface.is_real & (depths_mm <= inner_mm)).any() else np.ones_like(surface.is_real)
    weight = depths_mm**2 * real  # each sample stands for a piece of its shell
    within = (share <= 1.0) & real
    values, weights = surface.profiles_hu[within], np.broadcast_to(weight, share.shape)[within]
    inner = within & (depths_mm <= inner_mm)
    inner_weights = np.broadcast_to(weight, share.shape)[inner]
    solid_share = float(np.average(surface.profiles_hu[inner] > SOLID_ABOVE_HU, weights=inner_weights))
    centre = surface.centre
    return NoduleMeasure(
        center_index=(float(centre[0]), float(centre[1]), float(centre[2])),
        longest_mm=diameters.longest_mm if diameters else 0.0,
        perpendicular_mm=diameters.perpendicular_mm if diameters else 0.0,
        volume_mm3=volume_mm3,
        equivalent_diameter_mm=equivalent_mm,
        mean_hu=float(np.average(values, weights=weights)),
        density=_density(solid_share),
        solid_share=solid_share,
        mask=mask,
        mask_box=box,
        axes=_axes(volume, surface, diameters, box) if diameters else None,
        margin=_shape(surface, volume_mm3) | _margin(surface, depths_mm) | _histogram(values, weights),
    )


def _density(solid_share: float) -> Density:
    if solid_share >= SOLID_SHARE:
        return Density.SOLID
    return Density.GROUND_GLASS if solid_share < GROUND_GLASS_SHARE else Density.PART_SOLID


def _voxels(volume: CtVolume, surface: Surface) -> tuple[Mask, tuple[slice, slice, slice]]:
    """Return the mask of voxels with centres within the surface; at least the nearest one."""
    reach = surface.radii_mm.max() / np.array(volume.spacing_mm)
    size = np.array(volume.volume_hu.shape)
    low = np.clip(np.floor(surface.centre - reach).astype(int), 0, size - 1)
    high = np.clip(np.ceil(surface.centre + reach).astype(int) + 1, low + 1, size)
    axes = [(np.arange(low[k], high[k]) - surface.centre[k]) * volume.spacing_mm[k] for k in range(3)]
    mask = surface.contains(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    if not mask.any():
        nearest = np.clip(np.rint(surface.centre).astype(int) - low, 0, np.array(mask.shape) - 1)
        mask[tuple(nearest)] = True
    first, end = [int(v) for v in low], [int(v) for v in high]
    return mask, (slice(first[0], end[0]), slice(first[1], end[1]), slice(first[2], end[2]))


@dataclass(frozen=True, slots=True)
class _Diameters:
    """Longest diameter of an axial section, and the extent at right angles to it.

    ``lines_mm`` are both as ``(ends, (row, column))`` from the centre of the surface, ``height_mm`` is along slices.
    """

    longest_mm: float
    perpendicular_mm: float
    height_mm: float
    lines_mm: tuple[Doubles, Doubles]


def _axial_diameters(surface: Surface) -> _Diameters | None:
    """Longest diameter over axial sections of the surface, and the widest extent perpendicular to it there."""
    corners = surface.sphere.directions * _without_spikes(surface)[:, None]
    angles = np.arange(0.0, np.pi, np.pi / 60)
    across = np.stack([np.sin(angles), np.cos(angles)])  # (2, 60)
    best: tuple[Doubles, float, int, Doubles] | None = None
    edges = surface.sphere.edges
    for height_mm in np.arange(corners[:, 0].min(), corners[:, 0].max(), 1.0) + 0.5:
        first, second = corners[edges[:, 0]], corners[edges[:, 1]]
        cut = (first[:, 0] - height_mm) * (second[:, 0] - height_mm) < 0
        if cut.sum() < 3:
            continue
        part = (height_mm - first[cut, 0]) / (second[cut, 0] - first[cut, 0])
        section = first[cut, 1:] + part[:, None] * (second[cut, 1:] - first[cut, 1:])
        widths = np.ptp(section @ across, axis=0)
        longest = int(np.argmax(widths))
        if best is None or widths[longest] > best[0][best[2]]:
            best = (widths, float(height_mm), longest, section)
    if best is None:
        return None
    widths, height_mm, longest, section = best
    perpendicular = (longest + 30) % 60
    along, aside = across[:, longest], across[:, perpendicular]
    lines_mm = _extent(section, along, aside), _extent(section, aside, along)
    return _Diameters(float(widths[longest]), float(widths[perpendicular]), height_mm, lines_mm)


def _extent(section: Doubles, along: Doubles, aside: Doubles) -> Doubles:
    """Ends ``(2, 2)`` of the line along a direction that spans a section, midway between its outermost points."""
    position = section @ along
    outermost = section[[int(np.argmin(position)), int(np.argmax(position))]]
    offset = float((outermost @ aside).mean())
    return np.array([position.min() * along + offset * aside, position.max() * along + offset * aside])


def _axes(volume: CtVolume, surface: Surface, diameters: _Diameters, box: tuple[slice, slice, slice]) -> NoduleAxes:
    """Draw the diameters on the nearest slice of the box."""
    nearest = round(float(surface.centre[0]) + diameters.height_mm / volume.spacing_mm[0])

    def line(ends_mm: Doubles) -> Line:
        (row, column), (end_row, end_column) = surface.centre[1:] + ends_mm / np.array(volume.spacing_mm[1:])
        return (float(row), float(column)), (float(end_row), float(end_column))

    long, short = diameters.lines_mm
    return NoduleAxes(min(max(nearest, box[0].start), box[0].stop - 1), line(long), line(short))


def _without_spikes(surface: Surface) -> Doubles:
    """Radii (mm), at most 15 % beyond their opening over two rings of rays: vessels lengthen no diameter."""
    around = np.column_stack([np.arange(len(surface.radii_mm)), surface.sphere.neighbours])
    radii_mm = surface.radii_mm
    for reduce in (np.min, np.min, np.max, np.max):
        radii_mm = reduce(radii_mm[around], axis=1)
    return np.minimum(1.15 * radii_mm, surface.radii_mm)


def _shape(surface: Surface, volume_mm3: float) -> dict[str, float]:
    """Sphericity, elongation and roughness of the border."""
    corners = surface.corners_mm
    a, b, c = (corners[surface.sphere.faces[:, k]] for k in range(3))
    area_mm2 = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2.0)
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(corners.T)), 1e-9))
    mean_mm = surface.radii_mm.mean()
    smooth_mm = surface.radii_mm
    for _ in range(6):
        smooth_mm = smooth_mm[surface.sphere.neighbours].mean(axis=1)
    return {
        "sphericity": float(np.pi ** (1 / 3) * (6.0 * volume_mm3) ** (2 / 3) / area_mm2),
        "elongation": float(axes[2] / axes[1]),
        "flatness": float(axes[0] / axes[1]),
        "radius_variation": float(surface.radii_mm.std() / mean_mm),
        "roughness": float(np.abs(surface.radii_mm - smooth_mm).mean() / mean_mm),
    }


def _margin(surface: Surface, depths_mm: Doubles) -> dict[str, float]:
    """Return steepness, attached share and spicule length of the border."""
    rays = np.arange(len(surface.radii_mm))

    def at(depth_mm: Doubles) -> tuple[Floats, Mask]:
        step = np.clip((depth_mm / RAY_STEP_MM).astype(int), 0, len(depths_mm) - 1)
        return surface.profiles_hu[rays, step], surface.is_real[rays, step]

    radii_mm = surface.radii_mm
    (outer, real), (inner, _), (beyond, beyond_real) = at(radii_mm + 0.8), at(radii_mm - 0.8), at(radii_mm + 2.0)
    real = real if real.any() else ~real
    beyond_real = beyond_real if beyond_real.any() else ~beyond_real
    slope = (inner - outer)[real] / 1.6
    dense = (surface.profiles_hu > surface.border_hu) & (depths_mm > radii_mm[:, None]) & surface.is_real
    spikes_mm = dense.sum(axis=1) * RAY_STEP_MM
    return {
        "border_slope_hu_per_mm": float(slope.mean()),
        "border_slope_spread": float(slope.std()),
        "attached_share": float((beyond > surface.border_hu)[beyond_real].mean()),
        "spike_mm": float(np.minimum(spikes_mm, 5.0).mean()),
        "surround_hu": float(beyond[beyond_real].mean()),
        "core_hu": surface.core_hu,
        "lung_hu": surface.lung_hu,
    }


def _histogram(values_hu: Floats, weights: Doubles) -> dict[str, float]:
    order = np.argsort(values_hu)
    total = np.cumsum(weights[order])
    mean = float(np.average(values_hu, weights=weights))
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    ranks = np.searchsorted(total, np.array(levels) * total[-1])
    return {f"hu_{round(q * 100):02d}": float(values_hu[order[p]]) for q, p in zip(levels, ranks, strict=True)} | {
        "hu_spread": float(np.sqrt(np.average((values_hu - mean) ** 2, weights=weights)))
    }
