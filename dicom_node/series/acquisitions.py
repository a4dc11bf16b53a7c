"""Separation of mixed stacks within one series by their headers.

Two acquisitions, kernels or phases under one Series Instance UID may make one regular stack by position alone. What
gives them away is an attribute that alternates along the stack: the images that share a value, or those below some
value, are evenly spaced by themselves, and the others lie between them. Values that merely differ (a number for each
rotation, a time for each slice) or that come in blocks along the patient are normal, and stay one stack.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description

from dicom_node.sandbox.frames import PROPERTIES, FrameHeader
from dicom_node.series.geometry import SAME_POSITION_MM, OrderedFrames, is_even, without

MIN_STACK = 6
"""Fewest images that are evenly spaced by no chance."""
MIN_OVERLAP_FRACTION = 0.05
"""Of all images, that must lie between those of another stack; less is an overlap of table positions."""
MIN_REGULAR_FRACTION = 0.9
"""Share of the positions of a stack that hold equally many images."""
CUTS = 8
"""Largest steps of an ordered attribute, and of the position in its order, at which it may part two stacks."""
WEAK = frozenset({"ContentTime", "InstanceCreationTime", "XRayTubeCurrent", "Exposure", "ExposureTime"})
"""Attributes that scanners write in odd orders; they count where position or pixels show a mix already."""
INSTANCE_NUMBER = "InstanceNumber"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Separation:
    """Stacks of one series; ``attributes`` are the names of the attributes that alternate."""

    stacks: tuple[OrderedFrames, ...]
    attributes: tuple[str, ...] = ()

    @property
    def is_mixed(self) -> bool:
        """Return True if there is more than one."""
        return len(self.stacks) > 1


def separate(ordered: OrderedFrames, *, is_suspect: bool = False) -> Separation:
    """Separate the frames of a series into stacks that belong together.

    Parameters
    ----------
    ordered
        All frames, sorted along their normal.
    is_suspect
        Positions or pixels show that stacks are mixed: weak attributes and image numbers count too, and a single
        image in between is enough.
    """
    keywords = [*PROPERTIES, *sorted({k for f in ordered.frames for k in f.properties} - PROPERTIES.keys())]
    if not is_suspect:
        keywords = [keyword for keyword in keywords if keyword not in WEAK]
    least = 1 if is_suspect else max(3, int(MIN_OVERLAP_FRACTION * len(ordered.frames)))
    names = [*keywords, INSTANCE_NUMBER] if is_suspect else keywords
    stacks, used = [], []
    remaining = [ordered]
    while remaining:
        group = remaining.pop()
        parted = next(((name, mask) for name in names if (mask := _alternating(group, name, least)) is not None), None)
        if parted is None:
            stacks.append(group)
            continue
        name, mask = parted
        used.append(_description(name))
        remaining += [without(group, np.flatnonzero(mask).tolist()), without(group, np.flatnonzero(~mask).tolist())]
    return Separation(tuple(sorted(stacks, key=_rank)), tuple(dict.fromkeys(used)))


def _rank(stack: OrderedFrames) -> tuple[int, tuple[str, int, int]]:
    """Return the sort key of a stack: the largest first, then the earliest."""
    return -len(stack.frames), min(map(_moment, stack.frames))


def _moment(frame: FrameHeader) -> tuple[str, int, int]:
    properties = frame.properties
    time = properties.get("AcquisitionDateTime") or properties.get("AcquisitionTime") or ""
    last = 1 << 31
    return (
        time,
        last if frame.acquisition_number is None else frame.acquisition_number,
        last if frame.instance_number is None else frame.instance_number,
    )


def _description(name: str) -> str:
    return dictionary_description(name.partition(".")[0])


def _alternating(ordered: OrderedFrames, name: str, least: int) -> Mask | None:
    """Return the mask of a stack by an attribute that alternates along the others, or None.

    Of several such parts, one with fewest images a position, then the largest.
    """
    values = [_value(frame, name) for frame in ordered.frames]
    if len(set(values)) < 2:
        return None
    best, fewest = None, (0, 0)
    for mask in _candidates(ordered, values):
        repeats = _repeats(ordered, mask) if _is_between(ordered, mask, least) else 0
        rank = (repeats, -int(np.count_nonzero(mask)))
        if repeats and (best is None or rank < fewest):
            best, fewest = mask, rank
    return best


def _value(frame: FrameHeader, name: str) -> str:
    if name == INSTANCE_NUMBER:
        return "" if frame.instance_number is None else str(frame.instance_number)
    return frame.properties.get(name, "")


def _candidates(ordered: OrderedFrames, values: Sequence[str]) -> Iterator[Mask]:
    """Yield the frames of each frequent value, then those below and above likely cuts of ordered values."""
    array = np.array(values)
    for value, count in Counter(values).most_common(CUTS):
        if count >= MIN_STACK:
            yield array == value
    if not all(_NUMBER.fullmatch(value) for value in values):
        return
    numbers = np.array([float(value) for value in values])
    order = np.argsort(numbers, kind="stable")
    steps, along = np.diff(numbers[order]), ordered.along_mm[order]
    jumps = np.abs(np.diff(along))
    ends = [position + shift for position in (np.argmin(along), np.argmax(along)) for shift in (-1, 0)]
    likely = dict.fromkeys([*np.argsort(-steps)[:CUTS], *np.argsort(-jumps)[:CUTS], *ends])
    for cut in likely:
        if 0 <= cut < len(steps) and steps[cut] > 0:
            below = numbers <= numbers[order[cut]]
            yield below
            yield ~below


def _is_between(ordered: OrderedFrames, mask: Mask, least: int) -> bool:
    """Return True if enough images of either part lie within the range of the other."""
    own, others = ordered.along_mm[mask], ordered.along_mm[~mask]
    if not len(own) or not len(others):
        return False
    inside = [
        np.count_nonzero((part >= other.min() - SAME_POSITION_MM) & (part <= other.max() + SAME_POSITION_MM))
        for part, other in ((own, others), (others, own))
    ]
    return bool(min(inside) >= least)


def _repeats(ordered: OrderedFrames, mask: Mask) -> int:
    """Return the images per position of one part, 0 where the part is not an evenly spaced stack."""
    part = without(ordered, np.flatnonzero(~mask).tolist())
    starts = np.flatnonzero(np.diff(part.along_mm, prepend=-np.inf) >= SAME_POSITION_MM)
    if len(starts) < MIN_STACK:
        return 0
    images = np.diff([*starts, len(part.frames)])
    usual = int(np.median(images))
    if np.mean(images == usual) < MIN_REGULAR_FRACTION:
        return 0
    positions = OrderedFrames(tuple(part.frames[i] for i in starts), part.along_mm[starts], part.normal)
    return int(np.max(images)) if is_even(positions) else 0
