"""Measured masks of findings: run-length encoded voxels in a box of slices, and the diameters as lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.domain.errors import InvalidRecordError
from db.domain.uids import is_uid

MAX_SLICES = 1024
MAX_SIDE = 4096
"""Maximum rows and columns of a box, those of a frame."""
MAX_RUNS = 1 << 18
"""Maximum number of runs; a sphere of 64 mm at 0.4 mm has some 40,000."""

Line = tuple[tuple[float, float], tuple[float, float]]
"""Two fractional ``(row, column)`` points, 0-based in stored pixels."""


@dataclass(frozen=True, slots=True)
class MaskSlice:
    """A frame that a slice of a mask lies on; ``frame_number`` is 1-based."""

    sop_instance_uid: str
    frame_number: int


@dataclass(frozen=True, slots=True)
class FindingAxes:
    """Long and short axis of a finding on one slice of its mask, counted from 0."""

    slice_index: int
    long: Line
    short: Line


@dataclass(frozen=True, slots=True)
class FindingMask:
    """Measured voxels of a finding, validated on construction.

    Parameters
    ----------
    slices
        Frames of the box, in the order of the series' volume.
    row, column, rows, columns
        First row and column (0-based, stored pixels) and size of the box in each slice.
    runs
        Lengths of runs by slice, row and column, alternately outside and inside; the first, outside, may be 0.
    axes
        None where no axes were measured.

    Raises
    ------
    InvalidRecordError
        A value is not a number of its range, or the runs do not fill the box.
    """

    slices: tuple[MaskSlice, ...]
    row: int
    column: int
    rows: int
    columns: int
    runs: tuple[int, ...]
    axes: FindingAxes | None = None

    def __post_init__(self) -> None:
        """Check every value, as records come from databases and other processes."""
        _check_slices(self.slices)
        _check_numbers("mask corner", (self.row, self.column), 0, MAX_SIDE - 1)
        _check_numbers("mask size", (self.rows, self.columns), 1, MAX_SIDE)
        if not 2 <= len(self.runs) <= MAX_RUNS:
            raise InvalidRecordError("mask runs", f"are not 2 to {MAX_RUNS}")
        _check_numbers("mask runs", self.runs, 0, MAX_SLICES * MAX_SIDE * MAX_SIDE)
        if any(length == 0 for length in self.runs[1:]):
            raise InvalidRecordError("mask runs", "have an empty run")
        if sum(self.runs) != math.prod(self.shape):
            raise InvalidRecordError("mask runs", "do not fill the box")
        if self.axes is not None:
            _check_axes(self.axes, len(self.slices))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the box."""
        return len(self.slices), self.rows, self.columns


def _check_slices(slices: Sequence[MaskSlice]) -> None:
    if not 1 <= len(slices) <= MAX_SLICES:
        raise InvalidRecordError("mask slices", f"are not 1 to {MAX_SLICES}")
    if not all(isinstance(one.sop_instance_uid, str) and is_uid(one.sop_instance_uid) for one in slices):
        raise InvalidRecordError("mask slices", "do not name instances")
    _check_numbers("mask frame numbers", [one.frame_number for one in slices], 1, 1 << 20)
    if len(set(slices)) != len(slices):
        raise InvalidRecordError("mask slices", "name a frame twice")


def _check_numbers(field: str, values: Sequence[int], low: int, high: int) -> None:
    if not all(type(value) is int and low <= value <= high for value in values):
        raise InvalidRecordError(field, f"are not whole numbers from {low} to {high}")


def _check_axes(axes: FindingAxes, slice_count: int) -> None:
    _check_numbers("mask axes", (axes.slice_index,), 0, slice_count - 1)
    for line in (axes.long, axes.short):
        numbers = [number for point in line for number in point]
        is_line = len(line) == 2 and all(len(point) == 2 for point in line)
        if not is_line or not all(type(number) is float and abs(number) <= 2 * MAX_SIDE for number in numbers):
            raise InvalidRecordError("mask axes", "are not lines of an image")


def axes_json(axes: FindingAxes | None) -> dict[str, object] | None:
    """Return axes as plain JSON values."""
    if axes is None:
        return None
    long, short = ([list(point) for point in line] for line in (axes.long, axes.short))
    return {"slice": axes.slice_index, "long": long, "short": short}


def axes_of_json(value: object) -> FindingAxes | None:
    """Return the axes of ``axes_json``.

    Raises
    ------
    InvalidRecordError
        The value is not a record of axes.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or type(value.get("slice")) is not int:
        raise InvalidRecordError("mask axes", "are not a record of axes")
    return FindingAxes(value["slice"], _line(value.get("long")), _line(value.get("short")))


def _line(value: object) -> Line:
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidRecordError("mask axes", "are not lines of an image")
    start, end = (_point(point) for point in value)
    return start, end


def _point(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(number) in (int, float) for number in value):
        raise InvalidRecordError("mask axes", "are not lines of an image")
    return float(value[0]), float(value[1])
