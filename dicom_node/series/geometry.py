"""Geometry of a series: frame headers in any order to slices from inferior to superior, or the reason for refusal.

Slices are ordered by Image Position (Patient) projected on the normal of Image Orientation (Patient) (PS3.3
C.7.6.2.1.1). Spacing comes from positions; Slice Thickness is only ever compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from db.domain.caveats import Caveat
from db.domain.reasons import Reason
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.types import SeriesGeometry, SourceSlice

SAME_POSITION_MM = 0.02
"""Slices nearer than this to each other count as one position; the thinnest reconstructions are 0.2 mm apart."""
UNEVEN_FRACTION = 0.1
"""Share of the slice spacing by which a position may lie off the line through all of them, and a distance between
neighbours off the spacing. A sampled volume is then nowhere off by more than a tenth of a slice."""
UNEVEN_MM = 0.1
"""The same in millimetres, for thin slices: a seventh of a usual pixel."""
ROUNDING_MM = (1.0, 0.5, 0.1)
"""Steps to which writers round positions, coarsest first."""
MAX_ROUNDING = 0.5
"""Coarsest rounding that is believed of positions alone, in slice spacings. Rounded positions lie at most half a step,
here a quarter of a spacing, off a line; with coarser steps one missing slice may look like rounding."""
MAX_NUMBERED_ROUNDING = 0.9
"""The same where image numbers follow each other without a gap, so that no slice can be missing unseen."""
GAP_FACTOR = 1.5
"""A distance of more than this many usual ones means that slices are missing in between."""
ROUNDED_GAP_FACTOR = 1.75
"""The same against the median distance, which rounding may have made as small as 2/3 of the spacing."""
ROUNDING_SLACK = 0.05
"""Of the slice spacing, for what a fitted line misses of rounded positions."""
POSITION_EPSILON_MM = 1e-3
"""Precision of positions that are written in full; decimal strings of 16 characters and float32 are finer."""
WINDOW = 4
"""Slices over which the usual spacing is taken; rounding weighs a quarter there."""
MAX_SHEAR_DEG = 2.0
"""Between the normal and the direction of the stack; more is a tilted gantry."""
NOTABLE_SHEAR_DEG = 0.5
"""A tilt above this is stated as a caveat."""
THICK_MM = 2.5
"""Thicker slices are stated as a caveat; screening asks for 2.5 mm or less (ACR-STR Practice Parameter for Lung
Cancer Screening CT)."""
MAX_REPEATED_FRACTION = 0.05
"""Share of positions that may hold a second, different image (overlapping table positions)."""


@dataclass(frozen=True, slots=True)
class OrderedFrames:
    """Frames of one stack, inferior to superior; ``along_mm`` is each one's position along the normal."""

    frames: tuple[FrameHeader, ...]
    along_mm: NDArray[np.float64]
    normal: NDArray[np.float64]
    caveats: tuple[Reason, ...] = ()
    """Caveats of the choice of these frames."""


@dataclass(frozen=True, slots=True)
class SeriesStack:
    """A regular stack of frames; ``affine`` maps ``(slice, row, column, 1)`` to patient millimetres (LPS)."""

    frames: tuple[FrameHeader, ...]
    geometry: SeriesGeometry
    affine: NDArray[np.float64]
    caveats: tuple[Reason, ...]


def order_frames(frames: Sequence[FrameHeader]) -> OrderedFrames:
    """Sort frames along their common normal, inferior to superior; frames of one position stay adjacent.

    Raises
    ------
    UnfitImagesError
        The frames cannot be one volume.
    """
    if reason := _incomparable(frames):
        raise UnfitImagesError(reason)
    normal = _normal(frames[0])
    along = [float(np.dot(normal, frame.position_mm or (0.0, 0.0, 0.0))) for frame in frames]
    order = sorted(range(len(frames)), key=lambda i: (along[i], _number(frames[i]), frames[i].sop_instance_uid))
    return OrderedFrames(tuple(frames[i] for i in order), np.array([along[i] for i in order]), normal)


def repeated_positions(ordered: OrderedFrames) -> tuple[tuple[int, ...], ...]:
    """Return the indices of frames that share one position, a tuple for each such position."""
    groups: list[list[int]] = [[0]]
    for index in range(1, len(ordered.frames)):
        if ordered.along_mm[index] - ordered.along_mm[groups[-1][0]] < SAME_POSITION_MM:
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups if len(group) > 1)


def without(ordered: OrderedFrames, dropped: Sequence[int]) -> OrderedFrames:
    """Return the stack without some of its frames."""
    dropped_indices = set(dropped)
    remaining = [index for index in range(len(ordered.frames)) if index not in dropped_indices]
    frames = tuple(ordered.frames[i] for i in remaining)
    return replace(ordered, frames=frames, along_mm=ordered.along_mm[remaining])


def build_stack(ordered: OrderedFrames) -> SeriesStack:
    """Check that the positions are regular and straight, and compute the affine.

    Raises
    ------
    UnfitImagesError
        They are not.
    """
    if reason := _irregular(ordered):
        raise UnfitImagesError(reason)
    positions = np.array([frame.position_mm for frame in ordered.frames], dtype=np.float64)  # (slices, 3)
    start, step = fit_line(positions)
    if reason := _crooked(positions - start, step, ordered):
        raise UnfitImagesError(reason)
    spacing = (float(np.dot(step, ordered.normal)), *_pixel_spacing(ordered.frames[0]))
    return SeriesStack(
        frames=ordered.frames,
        geometry=_geometry(ordered.frames, spacing),
        affine=_affine(ordered.frames[0], start, step),
        caveats=(*ordered.caveats, *_caveats(ordered, step, spacing[0])),
    )


def fit_line(positions_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit positions by slice index, least squares; return the first point of the line and the step per slice.

    Parameters
    ----------
    positions_mm
        ``(slices, 3)`` or ``(slices,)``, at least two, in slice order.
    """
    index = np.arange(len(positions_mm), dtype=np.float64)
    index -= index.mean()
    step = index @ positions_mm / (index @ index)
    return np.asarray(positions_mm.mean(axis=0) + index[0] * step), np.asarray(step)


def _geometry(frames: Sequence[FrameHeader], spacing_mm: tuple[float, float, float]) -> SeriesGeometry:
    slices = tuple(source_slice(frame) for frame in frames)
    orientation = frames[0].orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return SeriesGeometry(slices, spacing_mm, orientation, frames[0].frame_of_reference_uid)


def source_slice(frame: FrameHeader) -> SourceSlice:
    """Return the source of a slice; a frame without a position (only ever displayed) gets the origin."""
    return SourceSlice(
        sop_instance_uid=frame.sop_instance_uid,
        sop_class_uid=frame.sop_class_uid,
        frame_number=frame.frame_number,
        instance_number=frame.instance_number,
        position_mm=frame.position_mm or (0.0, 0.0, 0.0),
        rows=frame.rows,
        columns=frame.columns,
    )


def _affine(first: FrameHeader, start: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the map of ``(slice, row, column, 1)`` to LPS millimetres (PS3.3 C.7.6.2.1.1)."""
    cosines = np.array(first.orientation, dtype=np.float64)
    between_rows, between_columns = _pixel_spacing(first)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = cosines[3:] * between_rows
    affine[:3, 2] = cosines[:3] * between_columns
    affine[:3, 3] = start
    return affine


def _pixel_spacing(frame: FrameHeader) -> tuple[float, float]:
    return frame.pixel_spacing_mm or (math.nan, math.nan)


def _number(frame: FrameHeader) -> tuple[int, int]:
    return (frame.instance_number if frame.instance_number is not None else 1 << 31, frame.frame_number)


def _normal(frame: FrameHeader) -> NDArray[np.float64]:
    """Return the unit normal of the slices, pointing to the head (for sagittal and coronal ones: left, back)."""
    cosines = np.array(frame.orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    normal /= np.linalg.norm(normal)
    largest = int(np.argmax(np.abs(normal)))
    return normal if normal[largest] > 0 else -normal


def _incomparable(frames: Sequence[FrameHeader]) -> Reason | None:
    """Return why these frames cannot be one volume."""
    if not frames:
        return Reason("no_images", "The series holds no image that can be read.")
    if any(f.position_mm is None or f.orientation is None or not _is_plane(f.orientation) for f in frames):
        return Reason("no_geometry", "Image Position or Orientation (Patient) is missing.")
    if any(f.pixel_spacing_mm is None or min(f.pixel_spacing_mm) <= 0 for f in frames):
        return Reason("no_pixel_spacing", "Pixel Spacing of the images is missing.")
    return _mixed(frames)


def _mixed(frames: Sequence[FrameHeader]) -> Reason | None:
    first = frames[0]
    if any((f.rows, f.columns) != (first.rows, first.columns) for f in frames):
        return Reason("mixed_size", "The images of the series differ in their number of rows or columns.")
    if any(not np.allclose(f.orientation or (), first.orientation or (), atol=2e-3) for f in frames):
        return Reason("mixed_orientation", "The images of the series are oriented differently.")
    if any(not np.allclose(_pixel_spacing(f), _pixel_spacing(first), rtol=1e-3) for f in frames):
        return Reason("mixed_pixel_spacing", "The images of the series differ in pixel size.")
    if any(f.frame_of_reference_uid != first.frame_of_reference_uid for f in frames):
        return Reason("mixed_frame_of_reference", "The images of the series do not share one frame of reference.")
    return None


def _is_plane(orientation: Sequence[float]) -> bool:
    """Return True if the cosines are two unit vectors at a right angle."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return bool(np.allclose(lengths, 1.0, atol=1e-2) and abs(np.dot(row, column)) < 1e-2)


def _irregular(ordered: OrderedFrames) -> Reason | None:
    """Return the refusal of gaps and uneven distances."""
    if len(ordered.frames) < 2:
        return Reason("too_few_slices", "The series has a single slice; a volume cannot be made of it.")
    distances = np.diff(ordered.along_mm)
    if float(np.median(distances)) < SAME_POSITION_MM:
        return Reason("repeated_positions", "The series holds several different images at the same positions.")
    if not is_even(ordered):
        return _gaps(ordered) or Reason("uneven_spacing", "The slices are not evenly spaced.")
    if _is_thinned(ordered.frames, float(np.median(distances))):
        return Reason("gaps", "Slices are missing: image numbers skip and the slices are thinner than their distance.")
    return None


def _gaps(ordered: OrderedFrames) -> Reason | None:
    distances = np.diff(ordered.along_mm)
    window = min(WINDOW, len(distances))
    usual = float(np.median(ordered.along_mm[window:] - ordered.along_mm[:-window])) / window
    wide = (distances > GAP_FACTOR * usual) | (distances > ROUNDED_GAP_FACTOR * np.median(distances))
    gaps = int(np.sum(wide))
    if not gaps:
        return None
    missing = int(np.sum(np.maximum(np.rint(distances[wide] / usual) - 1, 1)))
    return Reason(
        "gaps", "About {missing} slices are missing in {gaps} gaps of the stack.".format(missing=missing, gaps=gaps)
    )


def is_even(ordered: OrderedFrames) -> bool:
    """Return True if the positions along the normal are those of evenly spaced slices, precise or rounded.

    A line is fitted through the positions by slice index. Each position may lie a tenth of the spacing off it, each
    distance between neighbours a tenth off the spacing. Where all positions are multiples of a coarser step they may
    lie half that step off the line.
    """
    along_mm = ordered.along_mm
    start, spacing = fit_line(along_mm)
    offsets = along_mm - start - spacing * np.arange(len(along_mm))
    largest = max(np.max(np.abs(offsets)), np.max(np.abs(np.diff(along_mm) - spacing)))
    if largest <= max(UNEVEN_MM, UNEVEN_FRACTION * float(spacing)) + POSITION_EPSILON_MM:
        return True
    rounding = _rounding_mm(along_mm)
    max_rounding = MAX_NUMBERED_ROUNDING if _is_numbered(ordered.frames) else MAX_ROUNDING
    return bool(rounding <= max_rounding * spacing and np.ptp(offsets) <= rounding + ROUNDING_SLACK * spacing)


def _rounding_mm(along_mm: NDArray[np.float64]) -> float:
    """Return the coarsest common rounding step of all positions, 0 where they are more precise."""
    for step in ROUNDING_MM:
        if np.all(np.abs(along_mm - step * np.rint(along_mm / step)) < POSITION_EPSILON_MM):
            return step
    return 0.0


def _is_numbered(frames: Sequence[FrameHeader]) -> bool:
    """Return True if image or frame numbers go up or down by one from slice to slice."""
    numbers = [_number(frame) for frame in frames]
    steps = {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(numbers)}
    return steps in ({(1, 0)}, {(-1, 0)}, {(0, 1)}, {(0, -1)})


def _is_thinned(frames: Sequence[FrameHeader], usual_mm: float) -> bool:
    """Return True if every second (third, ...) image is absent: numbers and thickness must both say so."""
    numbers = sorted({f.instance_number for f in frames if f.instance_number is not None})
    if len(numbers) != len(frames) or len(numbers) < 3:
        return False
    steps = np.diff(numbers)
    thickness = slice_thickness_mm(frames)
    return bool(np.median(steps) >= 2 and thickness is not None and usual_mm > GAP_FACTOR * thickness)


def slice_thickness_mm(frames: Sequence[FrameHeader]) -> float | None:
    """Return the median Slice Thickness, mm; None where no frame states one."""
    stated = [value for frame in frames if (value := _positive(frame.attributes.get("SliceThickness", "")))]
    return float(np.median(stated)) if stated else None


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _shear_deg(step: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Return the angle between the direction of a stack and the normal of its slices, degrees."""
    return math.degrees(math.acos(min(1.0, float(np.dot(step, normal) / np.linalg.norm(step)))))


def _crooked(from_start: NDArray[np.float64], step: NDArray[np.float64], ordered: OrderedFrames) -> Reason | None:
    """Return the refusal of a tilted gantry, or of slices shifted against each other."""
    if _shear_deg(step, ordered.normal) > MAX_SHEAR_DEG:
        return Reason("gantry_tilt", "The stack is sheared: it was acquired with a tilted gantry.")
    offsets = from_start - np.arange(len(from_start))[:, None] * step  # (slices, 3)
    across = offsets - np.outer(offsets @ ordered.normal, ordered.normal)
    if np.max(np.linalg.norm(across, axis=1)) > max(1.0, *_pixel_spacing(ordered.frames[0])):
        return Reason("shifted_slices", "The slices of the stack are shifted against each other.")
    return None


def _caveats(ordered: OrderedFrames, step: NDArray[np.float64], spacing_mm: float) -> tuple[Reason, ...]:
    """Return caveats that do not stop an analysis."""
    frames, caveats = ordered.frames, []
    numbers = sorted({f.instance_number for f in frames if f.instance_number is not None})
    is_single_frame = len({f.sop_instance_uid for f in frames}) == len(frames)
    if is_single_frame and numbers and (numbers[0] > 1 or numbers[-1] - numbers[0] + 1 > len(frames)):
        caveats.append(Caveat.IMAGE_NUMBERS_SKIP.stated())
    thickness = slice_thickness_mm(frames)
    if thickness is not None and spacing_mm > GAP_FACTOR * thickness:
        caveats.append(
            Caveat.SPACING_EXCEEDS_THICKNESS.stated(spacing=f"{spacing_mm:.1f}", thickness=f"{thickness:.1f}")
        )
    if (size := max(thickness or 0.0, spacing_mm)) > THICK_MM:
        caveats.append(Caveat.THICK_SLICES.stated(size=f"{size:.1f}"))
    if (degrees := _shear_deg(step, ordered.normal)) > NOTABLE_SHEAR_DEG:
        caveats.append(Caveat.TILTED.stated(degrees=f"{degrees:.1f}"))
    if any(not frame.frame_of_reference_uid for frame in frames):
        caveats.append(Caveat.NO_FRAME_OF_REFERENCE.stated())
    return tuple(caveats)
