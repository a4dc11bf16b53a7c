"""Assembly of the instances of one series to a volume in HU with true geometry.

Headers are read first, without pixels; the gate and the geometry decide on them; only then are pixels decoded. Both
happen in a child process (``decode_process``), so that a damaged or hostile file cannot take the worker with it.
Slice index 0 is the lowest (most inferior) slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from db.domain.caveats import Caveat
from db.domain.reasons import Reason
from dicom_node.encoding.errors import RefusedError, UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeLimits, DecodeProcess
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.gate import is_localizer, why_not_headers
from dicom_node.series.geometry import SeriesStack, build_stack, order_frames, source_slice
from dicom_node.series.stack_choice import check_pixels, choose_stack, shown_frames
from dicom_node.series.types import LoadedSeries, SeriesGeometry, SourceSlice, StoredInstance
from inference.gate import GateThresholds
from inference.types import CtVolume


def load_series(
    instances: Sequence[StoredInstance],
    limits: DecodeLimits | None = None,
    thresholds: GateThresholds | None = None,
    *,
    overruled: frozenset[str] = frozenset(),
    process: DecodeProcess | None = None,
) -> LoadedSeries:
    """Read, check, order and decode one series.

    Parameters
    ----------
    instances
        Files of one series, in any order.
    limits
        What the decoding child may use.
    thresholds
        What the models were validated for.
    overruled
        Codes of refusals that a radiologist overruled (``db.analyses.overruling``).
    process
        A decoding child to use; None starts one for this series alone, so that no patient's files meet another's.

    Returns
    -------
    LoadedSeries
        The volume, int16 HU ``(slices, rows, columns)``, inferior to superior.

    Raises
    ------
    RefusedError
        The series is not fit for the models, or cannot be decoded.
    """
    limits, thresholds = limits or DecodeLimits(), thresholds or GateThresholds()
    with nullcontext(process) if process is not None else DecodeProcess(limits) as decoder:
        files = decoder.headers([instance.path for instance in instances])
        frames = [frame for file in files if file for frame in file]
        try:
            if None in files:
                raise UnfitImagesError(Reason("unreadable_headers", "Some images of the series cannot be read."))
            stack = _stack(decoder, frames, thresholds, overruled)
            _check_size(stack, limits)
            stack, volume_hu = check_pixels(stack, decoder.volume_hu(stack.frames), decoder, thresholds)
        except RefusedError as error:
            error.attributes = _attributes(frames)
            raise
    return LoadedSeries(
        geometry=stack.geometry,
        volume=CtVolume(volume_hu, stack.geometry.spacing_mm, stack.affine, _slice_thickness_mm(stack.frames)),
        attributes=_attributes(stack.frames),
        caveats=stack.caveats,
    )


def series_geometry(instances: Sequence[StoredInstance], process: DecodeProcess) -> SeriesGeometry:
    """Order the slices of a series anatomically, without pixels and without the gate, for display.

    Raises
    ------
    UnfitImagesError
        The series has no usable geometry.
    DecodeError
        The decoding child died, hung or ran out of memory.
    """
    frames = [frame for file in process.headers([i.path for i in instances]) if file for frame in file]
    return build_stack(shown_frames(order_frames(frames))).geometry


def listed_slices(instances: Sequence[StoredInstance], process: DecodeProcess) -> tuple[SourceSlice, ...]:
    """List the frames of a series that has no usable geometry, by image number; unreadable files are left out.

    Raises
    ------
    DecodeError
        The decoding child died, hung or ran out of memory.
    """
    frames = [frame for file in process.headers([i.path for i in instances]) if file for frame in file]
    frames.sort(key=lambda f: (f.instance_number is None, f.instance_number or 0, f.sop_instance_uid, f.frame_number))
    return tuple(source_slice(frame) for frame in frames)


def load_frame_hu(frame: FrameHeader, process: DecodeProcess) -> NDArray[np.int16]:
    """Decode one frame to HU, ``(rows, columns)`` int16, for display.

    Raises
    ------
    UnfitImagesError
        It has no HU.
    DecodeError
        It cannot be decoded.
    """
    if frame.slope is None or frame.intercept is None:
        raise UnfitImagesError(Reason("missing_rescale", "The image lacks Rescale Slope or Intercept."))
    return process.volume_hu([frame])[0]


def _stack(
    process: DecodeProcess, frames: list[FrameHeader], thresholds: GateThresholds, overruled: frozenset[str]
) -> SeriesStack:
    """Apply the gate to headers and order them: a regular stack."""
    caveats: tuple[Reason, ...] = ()
    localizers = sum(map(is_localizer, frames))
    if 0 < localizers < len(frames):
        frames = [frame for frame in frames if not is_localizer(frame)]
        caveats = (Caveat.LOCALIZERS_LEFT_OUT.stated(count=localizers),)
    if reason := why_not_headers(frames, overruled):
        raise UnfitImagesError(reason)
    return choose_stack(process, replace(order_frames(frames), caveats=caveats), thresholds)


def _check_size(stack: SeriesStack, limits: DecodeLimits) -> None:
    voxels = len(stack.frames) * stack.frames[0].rows * stack.frames[0].columns
    if voxels > limits.max_voxels:
        raise UnfitImagesError(Reason("too_large", "The series has more voxels than can be analysed."))


def _attributes(frames: Sequence[FrameHeader]) -> dict[str, str]:
    """Return acquisition attributes of the first frame, without identity."""
    return dict(frames[0].attributes) if frames else {}


def _slice_thickness_mm(frames: Sequence[FrameHeader]) -> float | None:
    """Return the greatest Slice Thickness of frames, mm; None where one states none."""
    thicknesses = [frame.attributes.get("SliceThickness", "") for frame in frames]
    try:
        thickest = max(map(float, thicknesses))
    except ValueError:
        return None
    return thickest if math.isfinite(thickest) and thickest > 0 else None
