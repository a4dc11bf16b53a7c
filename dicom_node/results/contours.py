"""Contours of measured masks and both axes in image coordinates: the first pixel is (0, 0) to (1, 1) (PS3.3 C.18.6)."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from db.domain.findings import NewFinding
from db.domain.masks import FindingMask, Line, MaskSlice
from inference.nodules.mask import decode_runs

Points = NDArray[np.float64]
"""``(n, 2)``: column and row."""
_Corner = tuple[int, int]


def outlined_slices(finding: NewFinding) -> list[MaskSlice]:
    """Return the frames that a finding is outlined on: its own first, then all that its mask lies on."""
    own = MaskSlice(finding.sop_instance_uid, finding.frame_number)
    return list(dict.fromkeys([own, *(finding.mask.slices if finding.mask is not None else ())]))


def contours_on(finding: NewFinding, frame: MaskSlice) -> list[Points]:
    """Return closed polygons around the mask of a finding on a frame; the last point of each is its first."""
    mask = finding.mask
    if mask is None or frame not in mask.slices:
        return []
    return contours_of(mask, mask.slices.index(frame))


def axes_on(finding: NewFinding, frame: MaskSlice) -> list[Points]:
    """Return long and short axis of a finding, where they lie on a frame."""
    axes = finding.mask.axes if finding.mask is not None else None
    if finding.mask is None or axes is None or finding.mask.slices[axes.slice_index] != frame:
        return []
    return [line_points(axes.long), line_points(axes.short)]


def line_points(line: Line) -> Points:
    """Return a line of stored pixels, whose centres have whole numbers, in image coordinates."""
    return np.array([(column + 0.5, row + 0.5) for row, column in line])


def contours_of(mask: FindingMask, index: int) -> list[Points]:
    """Return closed polygons along the edges of pixels around a slice of a mask, holes among them."""
    inside = decode_runs(mask.runs, mask.shape)[index]
    return [
        np.array([(mask.column + column, mask.row + row) for row, column in polygon], dtype=np.float64)
        for polygon in _polygons(_edges(inside))
    ]


def _edges(inside: NDArray[np.bool_]) -> dict[_Corner, list[_Corner]]:
    """Return edges between inside and outside by their first corner ``(row, column)``, the inside on their right."""
    padded = np.pad(inside, 1)
    edges: dict[_Corner, list[_Corner]] = defaultdict(list)
    for row, column in np.argwhere(inside).tolist():
        if not padded[row, column + 1]:
            edges[row, column].append((row, column + 1))
        if not padded[row + 1, column + 2]:
            edges[row, column + 1].append((row + 1, column + 1))
        if not padded[row + 2, column + 1]:
            edges[row + 1, column + 1].append((row + 1, column))
        if not padded[row + 1, column]:
            edges[row + 1, column].append((row, column))
    return edges


def _polygons(edges: dict[_Corner, list[_Corner]]) -> list[list[_Corner]]:
    """Join edges to closed polygons, without corners that do not turn."""
    polygons = []
    while edges:
        first = min(edges)
        polygon = [first]
        while len(polygon) == 1 or polygon[-1] != first:
            ends = edges[polygon[-1]]
            corner = ends.pop()
            if not ends:
                del edges[polygon[-1]]
            if len(polygon) > 1 and _is_straight(polygon[-2], polygon[-1], corner):
                polygon.pop()
            polygon.append(corner)
        polygons.append(polygon)
    return polygons


def _is_straight(before: _Corner, middle: _Corner, after: _Corner) -> bool:
    return before[0] == middle[0] == after[0] or before[1] == middle[1] == after[1]
