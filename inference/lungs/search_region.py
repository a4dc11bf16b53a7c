"""Lung segmentation: a coarse search region for nodules, or an abstention.

The volume is averaged to about 2.5 mm. Air that the body encloses and that has the density of lung (not of
free gas) is lung; the airway is cut away, the lungs are parted, and each is closed so that nodules on the
pleura and at the hilum fall inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.types import Abstention, CtVolume, Remark

WORKING_SPACING_MM = 2.5
AIR_BELOW_HU = -400.0
FREE_GAS_BELOW_HU = -950.0
"""Air outside the patient, in the airway and in bowel; lung is denser except in severe emphysema."""
CLOSING_RADIUS_MM = 11.0
MASS_CLOSING_RADIUS_MM = 24.0
SMALLEST_PART_ML = 8.0
SMALL_PART_REACH_MM = 12.0
"""A part below a tenth of the largest counts only this near to a large one; bowel lies farther away."""
SMALLEST_LUNG_ML = 40.0
SMALLEST_LUNG_CM2 = 20.0
LARGEST_LUNG_ML = 14_000.0
AIRWAY_LIMIT_ML = 160.0

_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = ndi.generate_binary_structure(2, 1)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


class LungExtent(StrEnum):
    """Coverage of the lungs by the volume."""

    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class LungSegmentation:
    """The lungs on a working grid of whole-voxel blocks.

    Parameters
    ----------
    mask
        Search region ``(s, r, c)``: closed lungs, with juxtapleural and hilar nodules inside or at its border.
    mass_mask
        The same, closed widely: masses with a broad base on the pleura are inside, and so is much of the hilum.
    aerated
        The air-filled lung alone, without airway, vessels and solid nodules.
    block
        Voxels of the full grid per working voxel, ``(slice, row, column)``.
    spacing_mm
        Of the working grid, ``(slice, row, column)``.
    right_ml, left_ml, total_ml
        Volume of ``aerated``; right and left as the patient's.
    extent
        Whether both lungs are seen from end to end; ``remarks`` say what is missing.
    sides
        ``aerated`` by the patient's side: 1 right, 2 left, 0 elsewhere; None where the lungs were not parted.
    superior_is_last
        Whether the last slice is the one nearest to the head.
    """

    mask: Mask
    mass_mask: Mask
    aerated: Mask
    block: tuple[int, int, int]
    full_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    right_ml: float
    left_ml: float
    total_ml: float
    extent: LungExtent
    remarks: tuple[Remark, ...] = ()
    sides: NDArray[np.int8] | None = None
    superior_is_last: bool = True

    def working_index(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map full-resolution ``(n, 3)`` slice-row-column indices to fractional working ones."""
        return (np.asarray(indices, float) + 0.5) / self.block - 0.5

    def contains(self, indices: NDArray[np.float64], *, margin_mm: float = 0.0) -> Mask:
        """Return whether each of ``(n, 3)`` full-resolution indices is in the search region or within ``margin_mm``."""
        region = self.mask if margin_mm <= 0 else self.distance_mm() <= margin_mm
        nearest = np.rint(self.working_index(np.atleast_2d(indices))).astype(int)
        inside = ((nearest >= -1) & (nearest <= np.array(region.shape))).all(axis=1)
        clamped = np.clip(nearest, 0, np.array(region.shape) - 1)
        return inside & region[tuple(clamped.T)]

    def distance_mm(self) -> Floats:
        """Distance of each working voxel outside the search region to the region, 0 inside."""
        return ndi.distance_transform_edt(~self.mask, sampling=self.spacing_mm).astype(np.float32)

    def bounding_box(self, *, margin_mm: float = 0.0) -> tuple[slice, slice, slice]:
        """Full-resolution box around the search region."""
        box = []
        for axis, extent in enumerate(ndi.find_objects(self.mask.astype(np.uint8))[0]):
            margin = int(np.ceil(margin_mm / self.spacing_mm[axis] * self.block[axis]))
            start = max(0, extent.start * self.block[axis] - margin)
            stop = min(self.full_shape[axis], extent.stop * self.block[axis] + margin)
            if extent.stop == self.mask.shape[axis]:  # the remainder that fills no block
                stop = self.full_shape[axis]
            box.append(slice(start, stop))
        return box[0], box[1], box[2]


def segment_lungs(volume: CtVolume) -> LungSegmentation | Abstention:
    """Segment the lungs of a chest CT, complete or partial, supine or prone.

    Returns
    -------
    LungSegmentation | Abstention
        Abstains with ``implausible_spacing``, ``no_lung_in_view`` or ``implausible_lung_volume``.
    """
    if not _is_plausible_spacing(volume.spacing_mm):
        return Abstention("implausible_spacing", "The voxel spacing is missing or not that of a CT of a person.")
    block = _block(volume)
    working_hu = block_mean(volume.volume_hu, block)
    spacing_mm = tuple(s * b for s, b in zip(volume.spacing_mm, block, strict=True))
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0

    lung = _lung_density_parts(working_hu, _enclosed_air(working_hu), spacing_mm)
    lung = _without_gas_pockets(working_hu, lung, spacing_mm)
    superior_is_last = bool(volume.affine[2, 0] > 0)
    lung = _without_airway(working_hu, lung, spacing_mm, superior_is_last=superior_is_last)
    largest_cm2 = float(lung.sum(axis=(1, 2)).max()) * spacing_mm[1] * spacing_mm[2] / 100.0
    total_ml = float(lung.sum()) * voxel_ml
    if total_ml < SMALLEST_LUNG_ML or largest_cm2 < SMALLEST_LUNG_CM2:
        return Abstention(
            "no_lung_in_view",
            "No lung was found in this series: there is too little air-filled tissue inside the body.",
        )
    if total_ml > LARGEST_LUNG_ML:
        return Abstention(
            "implausible_lung_volume", "The lungs would be larger than a person's: the voxel spacing is probably wrong."
        )
    sides = _part_sides(lung, spacing_mm, left_is_last=bool(volume.affine[0, 2] > 0))
    right_ml, left_ml = (float((sides == side).sum()) * voxel_ml for side in (1, 2))
    remarks = tuple(_what_is_missing(lung, spacing_mm, right_ml, left_ml))
    mask = _closed(sides, spacing_mm, CLOSING_RADIUS_MM)
    return LungSegmentation(
        mask=mask,
        mass_mask=mask | _closed_coarsely(sides, spacing_mm),
        aerated=lung,
        sides=sides,
        superior_is_last=superior_is_last,
        block=block,
        full_shape=(volume.volume_hu.shape[0], volume.volume_hu.shape[1], volume.volume_hu.shape[2]),
        spacing_mm=(spacing_mm[0], spacing_mm[1], spacing_mm[2]),
        right_ml=right_ml,
        left_ml=left_ml,
        total_ml=total_ml,
        extent=LungExtent.PARTIAL if remarks else LungExtent.COMPLETE,
        remarks=remarks,
    )


def block_mean(volume_hu: NDArray[np.int16], block: tuple[int, int, int]) -> Floats:
    """Return block means, float32; an incomplete block at the far end is dropped."""
    depth, height, width = (n // b for n, b in zip(volume_hu.shape, block, strict=True))
    complete = volume_hu[:, : height * block[1], : width * block[2]]
    means = np.empty((depth, height, width), np.float32)

    def fill(layer: int) -> None:
        sums = np.zeros((height, width), np.int32)
        for slice_hu in complete[layer * block[0] : (layer + 1) * block[0]]:  # strided adds of one slice stay in cache
            rows = sum((slice_hu[k :: block[1]] for k in range(1, block[1])), slice_hu[:: block[1]].astype(np.int32))
            for k in range(block[2]):
                sums += rows[:, k :: block[2]]
        np.divide(sums, np.float32(np.prod(block)), out=means[layer], casting="same_kind")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(fill, range(depth)))
    return means


def _is_plausible_spacing(spacing_mm: tuple[float, float, float]) -> bool:
    slice_mm, row_mm, column_mm = spacing_mm
    in_plane = all(np.isfinite(s) and 0.1 <= s <= 3.0 for s in (row_mm, column_mm))
    return bool(in_plane and np.isfinite(slice_mm) and 0.1 <= slice_mm <= 15.0)


def _block(volume: CtVolume) -> tuple[int, int, int]:
    per_axis = [
        max(1, min(round(WORKING_SPACING_MM / spacing), size))
        for spacing, size in zip(volume.spacing_mm, volume.volume_hu.shape, strict=True)
    ]
    return per_axis[0], per_axis[1], per_axis[2]


def _enclosed_air(working_hu: Floats) -> Mask:
    """Return air without an in-plane connection to the outside, where the field of view's edge counts as closed."""
    padding = _touching_border(working_hu <= -1023.0)
    if padding.any():  # blocks at its edge mix padding with what is beside it
        padding = _grown_in_plane(padding, steps=1)
    rim = ~padding & _grown_in_plane(padding, steps=1)
    rim[:, [0, -1], :] = rim[:, :, [0, -1]] = True
    air = working_hu < AIR_BELOW_HU
    cut_lung = rim & ~padding & (working_hu > FREE_GAS_BELOW_HU)
    way_out = _touching_border(air & ~cut_lung, also=padding)
    return air & ~way_out & ~padding


def _touching_border(region: Mask, also: Mask | None = None) -> Mask:
    """Parts of ``region``, joined within slices, that touch the image border (or ``also``)."""
    labels, count = ndi.label(region, structure=_IN_PLANE)
    touching = np.zeros(count + 1, bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        touching[edge] = True
    if also is not None:
        touching[labels[also]] = True
    touching[0] = False
    return touching[labels]


def _grown_in_plane(region: Mask, *, steps: int) -> Mask:
    size = 2 * steps + 1
    return ndi.maximum_filter(region.view(np.uint8), size=(1, size, size)).view(np.bool_)


def _lung_density_parts(working_hu: Floats, air: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """Keep connected parts of ``air`` that have the density of lung and lie deep in tissue."""
    labels, count = ndi.label(air)
    if count == 0:
        return np.zeros_like(air)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    volumes_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    keep = np.zeros(count + 1, bool)
    boxes = ndi.find_objects(labels)
    for label in np.flatnonzero(volumes_ml[1:] >= SMALLEST_PART_ML) + 1:
        box = _padded(boxes[label - 1], air.shape, 4)
        part = labels[box] == label
        keep[label] = _is_lung_like(working_hu[box], part) and _is_deep(working_hu[box], part, spacing_mm)
    volumes_ml[~keep] = 0.0
    small = keep & (volumes_ml < 0.1 * volumes_ml.max())
    if small.any():
        reach = [2 * round(SMALL_PART_REACH_MM / s) + 1 for s in spacing_mm]
        near = ndi.maximum_filter((keep & ~small)[labels].view(np.uint8), size=reach).view(np.bool_)
        keep &= ~small | (np.bincount(labels[near], minlength=count + 1) > 0)
    return keep[labels]


def _padded(box: tuple[slice, ...], shape: tuple[int, ...], margin: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, shape, strict=True))


def _is_lung_like(working_hu: Floats, part: Mask) -> bool:
    """Return whether the core has lung density, unlike gas in bowel, stomach, sinuses or a mattress."""
    core = ndi.binary_erosion(part, _IN_PLANE)
    if core.sum() < max(4, 0.05 * part.sum()):  # a sheet, such as the edge of the field of view
        return False
    values = working_hu[core]
    lung_share = float(((values > FREE_GAS_BELOW_HU) & (values < -500.0)).mean())
    return lung_share >= 0.25 and float(np.median(values)) < -550.0


def _is_deep(working_hu: Floats, part: Mask, spacing_mm: tuple[float, ...], *, min_tissue: float = 0.5) -> bool:
    """Return whether a shell 4 to 8 mm outside is mostly tissue or air of the body, unlike around foam."""
    steps = max(1, round(3.0 / spacing_mm[1])), max(2, round(8.0 / spacing_mm[1]))
    shell = _grown_in_plane(part, steps=steps[1]) & ~_grown_in_plane(part, steps=steps[0])
    return bool(shell.any()) and float((working_hu[shell] > -300.0).mean()) >= min_tissue


def _without_gas_pockets(working_hu: Floats, lung: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """Cut away bowel and stomach gas joined to the lung through a thin diaphragm: free gas with tissue all around."""
    gas = ndi.binary_opening(lung & (working_hu < FREE_GAS_BELOW_HU), _IN_PLANE)
    labels, count = ndi.label(gas)
    if count == 0:
        return lung
    least = 2000.0 / float(np.prod(spacing_mm))
    volumes = np.bincount(labels.ravel())
    removed = np.zeros_like(lung)
    boxes = ndi.find_objects(labels)
    for label in np.flatnonzero(volumes[1:] >= least) + 1:
        box = _padded(boxes[label - 1], lung.shape, 4)
        part = labels[box] == label
        if _is_deep(working_hu[box], part, spacing_mm, min_tissue=0.6):
            removed[box] |= ndi.binary_dilation(part, iterations=2)
    return lung & ~removed


def _without_airway(working_hu: Floats, lung: Mask, spacing_mm: tuple[float, ...], *, superior_is_last: bool) -> Mask:
    """Cut trachea and main bronchi away where they are joined to the lung."""
    seeds = _trachea(working_hu, lung, spacing_mm, superior_is_last=superior_is_last)
    if not seeds.any():
        return lung
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    for below_hu in (-890.0, -910.0, -930.0, -950.0, -970.0):
        labels, count = ndi.label(lung & (working_hu < below_hu))
        reached = np.zeros(count + 1, bool)
        reached[labels[seeds]] = True
        reached[0] = False
        airway = reached[labels]
        if 0 < airway.sum() * voxel_ml <= AIRWAY_LIMIT_ML:
            wall = ndi.binary_dilation(airway) & (working_hu < AIR_BELOW_HU)
            return _lung_density_parts(working_hu, lung & ~wall, spacing_mm)
    return lung


def _trachea(working_hu: Floats, lung: Mask, spacing_mm: tuple[float, ...], *, superior_is_last: bool) -> Mask:
    """Find the tube of free gas, 80 to 700 mm2 across, that runs 25 mm or more through the upper half of the lungs."""
    shown = np.flatnonzero(lung.any(axis=(1, 2)))
    none = np.zeros_like(lung)
    if len(shown) == 0:
        return none
    middle = int(shown[0] + shown[-1]) // 2
    upper = lung & (working_hu < -930.0)
    upper[: middle if superior_is_last else 0] = False
    upper[len(upper) if superior_is_last else middle + 1 :] = False
    labels, _ = ndi.label(upper)
    best, length_mm = 0, 25.0
    for label, box in enumerate(ndi.find_objects(labels), start=1):
        extent_mm = (box[0].stop - box[0].start) * spacing_mm[0]
        if extent_mm <= length_mm:
            continue
        mean_mm2 = (labels[box] == label).sum() / (box[0].stop - box[0].start) * spacing_mm[1] * spacing_mm[2]
        if 80.0 <= mean_mm2 <= 700.0:
            best, length_mm = label, extent_mm
    return labels == best if best else none


def _part_sides(lung: Mask, spacing_mm: tuple[float, ...], *, left_is_last: bool) -> NDArray[np.int8]:
    """Label the patient's right lung 1 and left lung 2, parting them where they are joined in front of the heart."""
    labels, count = ndi.label(lung)
    if count == 0:
        return labels.astype(np.int8)
    volumes = np.bincount(labels.ravel())[1:]
    if volumes.max() > 0.8 * volumes.sum():
        labels = _split_largest(lung, spacing_mm)
        count = int(labels.max())
        volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    at = np.flatnonzero(labels)
    columns = np.bincount(labels.ravel()[at], weights=at % lung.shape[2], minlength=count + 1)[1:] / volumes
    order = np.argsort(volumes)[::-1]
    if count > 1 and volumes[order[1]] > 0.1 * volumes[order[0]]:
        middle = columns[order[:2]].mean()
    else:
        middle = (lung.shape[2] - 1) / 2
    is_last = columns > middle
    side_of = np.concatenate([[0], np.where(is_last == left_is_last, 2, 1)]).astype(np.int8)
    return side_of[labels]


def _split_largest(lung: Mask, spacing_mm: tuple[float, ...]) -> NDArray[np.int32]:
    """Part lungs joined by a thin bridge: erode until two large parts remain, then give each voxel the nearer one."""
    box = ndi.find_objects(lung.astype(np.uint8))[0]
    inside = lung[box]
    labels = np.zeros(lung.shape, np.int32)
    labels[box] = ndi.label(inside)[0]
    depth_mm = ndi.distance_transform_edt(inside, sampling=spacing_mm)
    for radius_mm in (3.0, 5.0, 7.0, 10.0):
        cores, count = ndi.label(depth_mm > radius_mm)
        if count < 2:
            continue
        volumes = np.bincount(cores.ravel())[1:]
        first, second = np.argsort(volumes)[::-1][:2] + 1
        if volumes[second - 1] > 0.15 * volumes[first - 1]:
            markers = np.where(cores == first, 1, np.where(cores == second, 2, 0))
            nearest = ndi.distance_transform_edt(markers == 0, return_distances=False, return_indices=True)
            labels[box] = np.where(inside, markers[tuple(nearest)], 0)
            break
    return labels


def _closed_coarsely(sides: NDArray[np.int8], spacing_mm: tuple[float, ...]) -> Mask:
    """Close by ``MASS_CLOSING_RADIUS_MM`` on a coarse grid of about 5 mm."""
    step = [max(1, round(5.0 / s)) for s in spacing_mm]
    coarse = _closed(
        sides[:: step[0], :: step[1], :: step[2]],
        tuple(s * k for s, k in zip(spacing_mm, step, strict=True)),
        MASS_CLOSING_RADIUS_MM,
    )
    fine = coarse.repeat(step[0], 0).repeat(step[1], 1).repeat(step[2], 2)
    return fine[: sides.shape[0], : sides.shape[1], : sides.shape[2]]


def _closed(sides: NDArray[np.int8], spacing_mm: tuple[float, ...], radius_mm: float) -> Mask:
    """Close each lung by a ball and fill the holes of every slice."""
    closed = np.zeros(sides.shape, bool)
    with ThreadPoolExecutor(2) as threads:
        for box, part in threads.map(lambda side: _closed_part(sides == side, spacing_mm, radius_mm), (1, 2)):
            closed[box] |= part
    outside = _touching_border(~closed)
    return ~outside


def _closed_part(part: Mask, spacing_mm: tuple[float, ...], radius_mm: float) -> tuple[tuple[slice, ...], Mask]:
    """Close one lung by a ball; return its box and the closed mask in it."""
    if not part.any():
        return (slice(0),), part[:0]
    margin = [int(np.ceil(radius_mm / s)) + 1 for s in spacing_mm]
    box: tuple[slice, ...] = ndi.find_objects(part.view(np.uint8))[0]
    padded = np.pad(part[box], [(m, m) for m in margin])
    grown = ndi.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    shrunk = ndi.distance_transform_edt(grown, sampling=spacing_mm) > radius_mm
    inner = tuple(slice(m, n - m) for m, n in zip(margin, padded.shape, strict=True))
    return box, (shrunk | padded)[inner]


def _what_is_missing(lung: Mask, spacing_mm: tuple[float, ...], right_ml: float, left_ml: float) -> Iterator[Remark]:
    areas_cm2 = lung.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2] / 100.0
    if max(areas_cm2[0], areas_cm2[-1]) > 15.0:
        yield Remark("LUNGS_BEYOND_SLICES")
    edges = (lung[:, 0], lung[:, -1], lung[:, :, 0], lung[:, :, -1])
    if sum(int(edge.sum()) for edge in edges) * spacing_mm[0] * spacing_mm[1] > 1000.0:
        yield Remark("LUNGS_CUT_BY_FIELD_OF_VIEW")
    if min(right_ml, left_ml) < 0.15 * max(right_ml, left_ml):
        yield Remark("ONE_LUNG")
    if right_ml + left_ml < 1000.0:
        yield Remark("LITTLE_LUNG")
