"""Choice of the images to analyse in a series: its largest complete stack, where it holds more than one.

Stacks are separated by headers (``acquisitions``). What is left out is stated as a caveat; a series in which no stack
is complete is refused. Pixels are checked independently afterwards (``coherence``), and a volume that headers passed
for one is parted again, or refused.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from db.domain.caveats import Caveat
from db.domain.reasons import Reason
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.series.acquisitions import Separation, separate
from dicom_node.series.coherence import is_mixed
from dicom_node.series.gate import why_not_stack
from dicom_node.series.geometry import (
    MAX_REPEATED_FRACTION,
    OrderedFrames,
    SeriesStack,
    build_stack,
    order_frames,
    repeated_positions,
    without,
)
from inference.gate import GateThresholds

SUSPECT = frozenset({"repeated_positions", "uneven_spacing", "gaps"})
"""Refusals that two stacks in one series may be the cause of."""
SIMILAR_EXTENT = 0.9
"""Of the largest extent, that a stack must have to be chosen for its number of slices."""


def choose_stack(process: DecodeProcess, ordered: OrderedFrames, thresholds: GateThresholds) -> SeriesStack:
    """Return the stack to analyse, with a caveat where others are left out.

    Raises
    ------
    UnfitImagesError
        There is none.
    """
    ordered = _without_copies(process, ordered)
    separation = separate(ordered)
    if not separation.is_mixed:
        try:
            return _stack(process, ordered, thresholds)
        except UnfitImagesError as error:
            if error.reason.code not in SUSPECT:
                raise
            separation = separate(ordered, is_suspect=True)
            if not separation.is_mixed:
                raise
    return _largest(process, separation, thresholds)


def check_pixels(
    stack: SeriesStack, volume_hu: NDArray[np.int16], process: DecodeProcess, thresholds: GateThresholds
) -> tuple[SeriesStack, NDArray[np.int16]]:
    """Return the stack and its volume if its slices belong together, else its largest coherent part.

    Raises
    ------
    UnfitImagesError
        No part is coherent.
    """
    if not is_mixed(volume_hu, thresholds):
        return stack, volume_hu
    separation = separate(replace(order_frames(stack.frames), caveats=stack.caveats), is_suspect=True)
    with suppress(UnfitImagesError):
        part = _largest(process, separation, thresholds)
        index = {id(frame): number for number, frame in enumerate(stack.frames)}
        part_hu = volume_hu[[index[id(frame)] for frame in part.frames]]
        if not is_mixed(part_hu, thresholds):
            return part, part_hu
    raise UnfitImagesError(
        Reason(
            "mixed_stacks",
            "The images of several acquisitions alternate in this series: neighbouring slices do not match.",
        )
    )


def shown_frames(ordered: OrderedFrames) -> OrderedFrames:
    """Return one image of each position, for display: those of the largest stack where positions repeat."""
    if repeated_positions(ordered):
        separation = separate(ordered)
        ordered = (separation if separation.is_mixed else separate(ordered, is_suspect=True)).stacks[0]
    return without(ordered, [index for group in repeated_positions(ordered) for index in group[1:]])


def _largest(process: DecodeProcess, separation: Separation, thresholds: GateThresholds) -> SeriesStack:
    """Return the largest complete stack: of those with nearly the largest extent, the one with most slices."""
    complete = []
    for ordered in separation.stacks:
        with suppress(UnfitImagesError):
            complete.append(_stack(process, ordered, thresholds))
    attributes = ", ".join(separation.attributes)
    if not complete:
        raise UnfitImagesError(
            Reason(
                "mixed_stacks",
                "The series mixes {count} image stacks (differing in {attributes}), none of which is complete.".format(
                    count=len(separation.stacks), attributes=attributes
                ),
            )
        )
    furthest = max(map(_extent_mm, complete))
    chosen = max(
        (stack for stack in complete if _extent_mm(stack) >= SIMILAR_EXTENT * furthest),
        key=lambda stack: len(stack.frames),
    )
    caveat = Caveat.OTHER_ACQUISITIONS_LEFT_OUT.stated(
        stacks=len(separation.stacks),
        attribute=attributes,
        count=len(chosen.frames),
        total=sum(len(each.frames) for each in separation.stacks),
    )
    others = (each for each in chosen.caveats if each.code != Caveat.IMAGE_NUMBERS_SKIP.code)
    return replace(chosen, caveats=(caveat, *others))


def _extent_mm(stack: SeriesStack) -> float:
    return len(stack.frames) * stack.geometry.spacing_mm[0]


def _stack(process: DecodeProcess, ordered: OrderedFrames, thresholds: GateThresholds) -> SeriesStack:
    stack = build_stack(_one_image_per_position(process, ordered))
    if reason := why_not_stack(stack, thresholds):
        raise UnfitImagesError(reason)
    return stack


def _without_copies(process: DecodeProcess, ordered: OrderedFrames) -> OrderedFrames:
    """Drop duplicates where all images of all repeated positions are alike."""
    groups = repeated_positions(ordered)
    if not groups or _differing(process, ordered, groups):
        return ordered
    return without(ordered, [index for group in groups for index in group[1:]])


def _differing(process: DecodeProcess, ordered: OrderedFrames, groups: tuple[tuple[int, ...], ...]) -> int:
    """Return the number of positions whose images are not all alike."""
    repeated = [index for group in groups for index in group]
    digests = dict(zip(repeated, process.digests([ordered.frames[i] for i in repeated]), strict=True))
    return sum(len({digests[index] for index in group}) > 1 for group in groups)


def _one_image_per_position(process: DecodeProcess, ordered: OrderedFrames) -> OrderedFrames:
    """Drop duplicates: identical images everywhere, different ones only at few positions.

    A table position may overlap the next one by a few slices; then the image with the lower number stays. More is a
    second reconstruction or a repeated (4D, perfusion) acquisition that headers do not distinguish.
    """
    groups = repeated_positions(ordered)
    if not groups:
        return ordered
    differing = _differing(process, ordered, groups)
    position_count = len(ordered.frames) - sum(len(group) - 1 for group in groups)
    if differing > MAX_REPEATED_FRACTION * position_count:
        raise UnfitImagesError(
            Reason(
                "repeated_positions",
                "The series holds several different images at {differing} of {places} positions.".format(
                    differing=differing, places=position_count
                ),
            )
        )
    if differing:
        caveat = Caveat.REPEATED_POSITIONS.stated(count=differing, total=position_count)
        ordered = replace(ordered, caveats=(*ordered.caveats, caveat))
    return without(ordered, [index for group in groups for index in group[1:]])
