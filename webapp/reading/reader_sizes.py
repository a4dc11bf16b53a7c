"""Sizes that readers measure in the viewer, in millimetres by the frame's own geometry."""

from __future__ import annotations

import math

from db.domain.errors import InvalidRecordError
from db.domain.findings import FindingRecord, ReaderSize
from db.domain.masks import Line
from webapp.api.models_studies import NewSize
from webapp.http.errors import UnfitInputError
from webapp.ports import SliceReference
from webapp.services.registry import current_services


def measured_size(record: FindingRecord, new: NewSize) -> ReaderSize:
    """Return the size of two axes on a frame of the finding's series, the longer one first.

    Raises
    ------
    UnfitInputError
        The series has no such frame, the frame has no pixel spacing, an end lies outside it, or a length is out of
        range.
    """
    slices = current_services().images.slices(record.study_instance_uid, record.series_instance_uid)
    named = (new.sop_instance_uid, new.frame_number)
    frame = next((one for one in slices if (one.sop_instance_uid, one.frame_number) == named), None)
    if frame is None:
        raise UnfitInputError(422, "no_such_frame", "The finding's series has no such image.")
    axes = sorted(((length_mm(axis, frame), axis) for axis in new.axes), reverse=True)
    (long_mm, long_axis), (short_mm, short_axis) = axes
    try:
        return ReaderSize(*named, long_axis, short_axis, long_mm, short_mm)
    except InvalidRecordError:
        raise UnfitInputError(422, "bad_size", "An axis must be 0.5 to 400 mm long.") from None


def length_mm(line: Line, frame: SliceReference) -> float:
    """Return the length of a line on a frame.

    Raises
    ------
    UnfitInputError
        The frame has no pixel spacing, or an end lies outside it.
    """
    if not frame.row_spacing_mm or not frame.column_spacing_mm:
        raise UnfitInputError(422, "no_spacing", "This image has no pixel spacing: nothing can be measured on it.")
    if any(not (row <= frame.rows and column <= frame.columns) for row, column in line):
        raise UnfitInputError(422, "outside_image", "The point lies outside the image.")
    (top, left), (bottom, right) = line
    return math.hypot((bottom - top) * frame.row_spacing_mm, (right - left) * frame.column_spacing_mm)
