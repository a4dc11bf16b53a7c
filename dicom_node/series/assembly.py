"""Assembly of the instances of one series to a volume in HU with true geometry, or the reason for refusal.

Headers are read first, without pixels; the gate and the geometry decide on them; only then are pixels decoded. Both
happen in a child process (``decode_process``), so that a damaged or hostile file cannot take the worker with it.
Slice index 0 is the lowest (most inferior) slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from db.domain.caveats import Caveat
from db.domain.records import Reason
from dicom_node.sandbox.decode_process import DecodeError, DecodeLimits, DecodeProcess
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.gate import GateThresholds, is_localizer, why_not_headers
from dicom_node.series.geometry import SeriesStack, build_stack, order_frames, source_slice
from dicom_node.series.stack_choice import check_pixels, choose_stack, shown_frames
from dicom_node.series.types import LoadedSeries, Refusal, SeriesGeometry, SourceSlice, StoredInstance
from inference.types import CtVolume


def load_series(
    instances: Sequence[StoredInstance],
    limits: DecodeLimits | None = None,
    thresholds: GateThresholds | None = None,
    *,
    process: DecodeProcess | None = None,
) -> LoadedSeries | Refusal:
    """Read, check, order and decode one series.

    Parameters
    ----------
    instances
        Files of one series, in any order.
    limits
        What the decoding child may use.
    thresholds
        What the models were validated for.
    process
        A decoding child to use; None starts one for this series alone, so that no patient's files meet another's.

    Returns
    -------
    LoadedSeries | Refusal
        The volume, int16 HU ``(slices, rows, columns)``, inferior to superior; or why there is none.
    """
    limits = limits or DecodeLimits()
    thresholds = thresholds or GateThresholds()
    try:
        if process is not None:
            return _load(process, instances, limits, thresholds)
        with DecodeProcess(limits) as own:
            return _load(own, instances, limits, thresholds)
    except DecodeError as error:
        return Refusal(error.code, error.text)


def _load(
    process: DecodeProcess, instances: Sequence[StoredInstance], limits: DecodeLimits, thresholds: GateThresholds
) -> LoadedSeries | Refusal:
    stack = _read_stack(process, instances, thresholds)
    if isinstance(stack, Refusal):
        return stack
    if refusal := _too_large(stack, limits):
        return refusal
    checked = check_pixels(stack, process.volume_hu(stack.frames), process, thresholds)
    if isinstance(checked, Refusal):
        return replace(checked, attributes=_attributes(stack.frames))
    stack, volume_hu = checked
    return LoadedSeries(
        geometry=stack.geometry,
        volume=CtVolume(volume_hu, stack.geometry.spacing_mm, stack.affine),
        attributes=_attributes(stack.frames),
        caveats=stack.caveats,
    )


def series_geometry(instances: Sequence[StoredInstance], process: DecodeProcess) -> SeriesGeometry | Refusal:
    """Order the slices of a series anatomically, without pixels and without the gate, for display.

    Raises
    ------
    DecodeError
        The decoding child died, hung or ran out of memory.
    """
    frames = [frame for file in process.headers([i.path for i in instances]) if file for frame in file]
    ordered = order_frames(frames)
    if isinstance(ordered, Refusal):
        return ordered
    stack = build_stack(shown_frames(ordered))
    return stack if isinstance(stack, Refusal) else stack.geometry


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


def load_frame_hu(frame: FrameHeader, process: DecodeProcess) -> NDArray[np.int16] | Refusal:
    """Decode one frame to HU, ``(rows, columns)`` int16, for display."""
    if frame.slope is None or frame.intercept is None:
        return Refusal("missing_rescale", "The image lacks Rescale Slope or Intercept.")
    try:
        return process.volume_hu([frame])[0]
    except DecodeError as error:
        return Refusal(error.code, error.text)


def _read_stack(
    process: DecodeProcess, instances: Sequence[StoredInstance], thresholds: GateThresholds
) -> SeriesStack | Refusal:
    """Read headers, apply the gate and order: a regular stack or the reason for refusal."""
    files = process.headers([instance.path for instance in instances])
    if any(file is None for file in files):
        return Refusal("unreadable_headers", "Some images of the series cannot be read.")
    frames = [frame for file in files if file for frame in file]
    stack = _stack(process, frames, thresholds)
    return replace(stack, attributes=_attributes(frames)) if isinstance(stack, Refusal) and frames else stack


def _stack(process: DecodeProcess, frames: list[FrameHeader], thresholds: GateThresholds) -> SeriesStack | Refusal:
    caveats: tuple[Reason, ...] = ()
    localizers = sum(map(is_localizer, frames))
    if 0 < localizers < len(frames):
        frames = [frame for frame in frames if not is_localizer(frame)]
        caveats = (Caveat.LOCALIZERS_LEFT_OUT.stated(count=localizers),)
    if refusal := why_not_headers(frames, thresholds.overruled):
        return refusal
    ordered = order_frames(frames)
    if isinstance(ordered, Refusal):
        return ordered
    return choose_stack(process, replace(ordered, caveats=caveats), thresholds)


def _too_large(stack: SeriesStack, limits: DecodeLimits) -> Refusal | None:
    voxels = len(stack.frames) * stack.frames[0].rows * stack.frames[0].columns
    if voxels > limits.max_voxels:
        return Refusal("too_large", "The series has more voxels than can be analysed.")
    return None


def _attributes(frames: Sequence[FrameHeader]) -> dict[str, str]:
    """Return acquisition attributes of the first slice, without identity."""
    return dict(frames[0].attributes)
