"""Measures of the reconstructions of a study, from headers and a few slices each (``db.domain.reconstructions``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db.domain.reconstructions import Reconstruction
from dicom_node.encoding.errors import RefusedError
from dicom_node.sandbox.decode_process import DecodeLimits, DecodeProcess
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.gate import is_localizer, why_not_headers
from dicom_node.series.geometry import SeriesStack, order_frames, slice_thickness_mm
from dicom_node.series.stack_choice import choose_stack
from dicom_node.series.types import StoredInstance
from inference.gate import GateThresholds

MEASURED_SLICES = 16
"""Slices that are decoded of a series, evenly spaced."""
MIN_AXIAL = 0.9
"""Least share of z in the normal of a stack that is compared with others."""
MAX_VALUES = 16
"""More different values of an attribute in a series say nothing about its acquisition."""
BODY_ABOVE_HU, LUNG_BELOW_HU = -300, -500
SIDE = 128
"""Pixels on a side, about, on which the body is outlined."""
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d)?([0-5]\d|60)?(\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class _Measured:
    """A series of which headers were read; ``stack`` is None if it would be refused."""

    reconstruction: Reconstruction
    stack: SeriesStack | None = None


def measure_reconstructions(
    series: Mapping[str, Sequence[StoredInstance]],
    measured: Sequence[Reconstruction],
    thresholds: GateThresholds,
    limits: DecodeLimits,
) -> dict[str, Reconstruction]:
    """Measure the series of one study; pixels only of those that share their acquisition with another one.

    Parameters
    ----------
    series
        Files of each series to measure.
    measured
        The other series of the study.
    thresholds
        What the models were validated for.
    limits
        What the decoding child may use.
    """
    with DecodeProcess(limits) as process:
        read = {name: _read(instances, process, thresholds, limits) for name, instances in series.items()}
        of_study = [*measured, *(each.reconstruction for each in read.values())]
        return {
            name: _with_pixels(each, process, thresholds)
            if sum(each.reconstruction.is_of_acquisition(other) for other in of_study) > 1  # itself is one
            else each.reconstruction
            for name, each in read.items()
        }


def _read(
    instances: Sequence[StoredInstance], process: DecodeProcess, thresholds: GateThresholds, limits: DecodeLimits
) -> _Measured:
    """Read the headers of a series and choose its stack, as ``assembly.load_series`` does."""
    try:
        files = process.headers([instance.path for instance in instances])
        frames = [frame for file in files if file for frame in file]
        frames = [frame for frame in frames if not is_localizer(frame)] or frames
        reason = why_not_headers(frames)
        if reason is not None or None in files:
            return _Measured(Reconstruction(refusal=reason.code if reason else "unreadable_headers"))
        ordered = order_frames(frames)
    except RefusedError as error:
        return _Measured(Reconstruction(refusal=error.reason.code))
    if abs(float(ordered.normal[2])) < MIN_AXIAL:
        return _Measured(Reconstruction(refusal="not_axial"))
    try:
        stack = choose_stack(process, ordered, thresholds)
    except RefusedError as error:
        return _Measured(replace(_of_frames(ordered.frames), refusal=error.reason.code))
    reconstruction = _of_frames(stack.frames)
    if len(stack.frames) * stack.frames[0].rows * stack.frames[0].columns > limits.max_voxels:
        return _Measured(replace(reconstruction, refusal="too_large"))
    slice_mm = max(stack.geometry.spacing_mm[0], slice_thickness_mm(stack.frames) or 0.0)
    return _Measured(replace(reconstruction, slice_mm=round(slice_mm, 3), caveat_count=len(stack.caveats)), stack)


def _with_pixels(measured: _Measured, process: DecodeProcess, thresholds: GateThresholds) -> Reconstruction:
    """Measure lung volume, noise and kernel on a few slices."""
    from inference.ood.surroundings import plain_lung_statistics, unvalidated_measures

    stack, reconstruction = measured.stack, measured.reconstruction
    if stack is None:
        return reconstruction
    count = len(stack.frames)
    shown = np.unique(((np.arange(MEASURED_SLICES) + 0.5) * count / MEASURED_SLICES).astype(int))
    try:
        slices_hu = process.volume_hu([stack.frames[index] for index in shown])
    except RefusedError as error:
        return replace(reconstruction, refusal=error.reason.code)
    slice_mm, row_mm, column_mm = stack.geometry.spacing_mm
    lung = _lung(slices_hu)
    lung_ml = float(np.count_nonzero(lung)) * row_mm * column_mm * slice_mm * count / len(shown) / 1000
    statistics = plain_lung_statistics(slices_hu.astype(np.float32), lung)
    return replace(
        reconstruction,
        lung_ml=round(lung_ml, 1),
        noise_hu=round(statistics.noise_hu, 2) if statistics else None,
        unvalidated=unvalidated_measures(statistics, thresholds),
    )


def _lung(slices_hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Mark the air within the body, ``(slices, rows, columns)``."""
    from scipy.ndimage import binary_fill_holes

    _, rows, columns = slices_hu.shape
    step = max(1, min(rows, columns) // SIDE)
    body = np.stack([binary_fill_holes(slice_hu[::step, ::step] > BODY_ABOVE_HU) for slice_hu in slices_hu])
    within = body.repeat(step, axis=1)[:, :rows].repeat(step, axis=2)[:, :, :columns]
    return np.asarray(within & (slices_hu < LUNG_BELOW_HU))


def _of_frames(frames: Sequence[FrameHeader]) -> Reconstruction:
    """Return what headers say of the acquisition of axial frames."""
    heights_mm = [frame.position_mm[2] for frame in frames if frame.position_mm]
    return Reconstruction(
        frame_of_reference_uid=frames[0].frame_of_reference_uid,
        patient_position=frames[0].attributes.get("PatientPosition", ""),
        coverage_mm=(round(min(heights_mm), 2), round(max(heights_mm), 2)),
        acquisition_dates=_distinct(_date(frame) for frame in frames),
        acquisition_times_s=_range(_time_s(frame) for frame in frames),
        acquisition_numbers=_distinct(frame.properties.get("AcquisitionNumber", "") for frame in frames),
        irradiation_event_uids=_distinct(frame.properties.get("IrradiationEventUID", "") for frame in frames),
    )


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    values = sorted({text for text in texts if text})
    return tuple(values) if len(values) <= MAX_VALUES else ()


def _date(frame: FrameHeader) -> str:
    """Return the acquisition date, ``YYYYMMDD``; empty if missing or no date."""
    text = frame.properties.get("AcquisitionDateTime", "")[:8] or frame.properties.get("AcquisitionDate", "")
    return text if len(text) == 8 and text.isascii() and text.isdigit() else ""


def _time_s(frame: FrameHeader) -> float | None:
    """Return the acquisition time in seconds since midnight (PS3.5 6.2, VR TM and DT); None if missing or no time."""
    text = re.split(r"[+-]", frame.properties.get("AcquisitionDateTime", ""))[0][8:]
    match = _TIME.fullmatch(text or frame.properties.get("AcquisitionTime", ""))
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(fraction)


def _range(values: Iterable[float | None]) -> tuple[float, float] | None:
    present = [value for value in values if value is not None]
    return (min(present), max(present)) if present else None
