"""Outlines on the original slices as a Grayscale Softcopy Presentation State (PS3.3 A.33.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.content import ModalityLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset

from db.domain.exchange import ResultObject
from db.domain.findings import NewFinding
from db.domain.masks import MaskSlice
from dicom_node.results.contours import axes_on, contours_on, outlined_slices
from dicom_node.results.displayed import displayed_malignancy
from dicom_node.results.identity import SourceHeader, bear_identity
from dicom_node.results.job import ReportJob, result_object
from dicom_node.results.source import (
    content_moment,
    frame_header,
    frame_headers,
    header,
    is_multi_frame,
    read_identity,
    stamp,
)
from dicom_node.results.structured_report import outline, spacing_of
from dicom_node.results.summary_page import WINDOW
from dicom_node.sandbox.frames import FrameHeader
from inference.displayed import DisplayedProbability

Points = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LAYER = GraphicLayer("FINDINGS", order=1, description="Outlines of findings")
Rescale = tuple[float, float]
"""Slope and intercept."""


@dataclass(frozen=True, slots=True)
class OutlinedSlice:
    """A frame that a finding is outlined on, and the finding's number in the report."""

    number: int
    finding: NewFinding
    frame: MaskSlice


@dataclass(frozen=True, slots=True)
class OutlinedFrames:
    """Outlined slices whose frames have one rescale."""

    rescale: Rescale
    slices: tuple[OutlinedSlice, ...]


def outlined_frames(job: ReportJob) -> list[OutlinedFrames]:
    """Group the outlined slices of findings by the rescale of their frame, in the order of the findings.

    A presentation state has one modality LUT for all its frames (PS3.3 C.11.6), so each rescale needs a state of its
    own. Frames that state no rescale are left out.
    """
    groups: dict[Rescale, list[OutlinedSlice]] = {}
    for number, record in enumerate(job.findings, start=1):
        for frame in outlined_slices(record.finding):
            rescale = _rescale(frame_header(job, frame))
            if rescale is not None:
                groups.setdefault(rescale, []).append(OutlinedSlice(number, record.finding, frame))
    return [OutlinedFrames(rescale, tuple(slices)) for rescale, slices in groups.items()]


def presentation_states(job: ReportJob) -> list[ResultObject]:
    """Return the presentation states of a job: one for each rescale."""
    return [result_object(job, "pr", number) for number in range(1, len(outlined_frames(job)) + 1)]


def build_pr(job: ReportJob, result: ResultObject) -> GrayscaleSoftcopyPresentationState:
    """Build a presentation state: contours of measured findings on all their slices, circles of others, with labels.

    Parameters
    ----------
    result
        The object to build; its instance number is that of its group in ``outlined_frames``, from 1.
    """
    group = outlined_frames(job)[result.instance_number - 1]
    images = _images(job, group)
    annotations = [_annotation(job, one, images[one.frame.sop_instance_uid]) for one in group.slices]
    first = next(iter(images.values()))
    slope, intercept = group.rescale
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=list(images.values()),
        content_label="SECOND_READER",
        content_description="Second reader, not a diagnosis",
        graphic_annotations=annotations,
        graphic_layers=[LAYER],
        modality_lut_transformation=ModalityLUTTransformation(
            rescale_intercept=intercept, rescale_slope=slope, rescale_type="HU"
        ),
        voi_lut_transformations=[
            SoftcopyVOILUTTransformation(
                window_center=WINDOW[0], window_width=WINDOW[1], window_explanation="Lung", referenced_images=None
            )
        ],
        **header(job, result),
    )
    _name_frames(job, state, group.rescale)
    state.BodyPartExamined = "CHEST"  # unpaired: then Laterality is not asked for (PS3.3 C.7.3.1)
    bear_identity(state, first)
    moment = content_moment(job)
    stamp(state, moment)
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    del state.ContentDate, state.ContentTime  # no attributes of a presentation state
    return state


def _images(job: ReportJob, group: OutlinedFrames) -> dict[str, SourceHeader]:
    """Read the headers of the images of a group's slices, by SOP Instance UID."""
    sources = {source.sop_instance_uid: source for source in job.sources}
    images: dict[str, SourceHeader] = {}
    for one in group.slices:
        uid = one.frame.sop_instance_uid
        if uid not in images:
            images[uid] = read_identity(job, sources[uid])
            images[uid].SeriesInstanceUID = job.analysis.series_instance_uid
    return images


def _name_frames(job: ReportJob, state: Dataset, rescale: Rescale) -> None:
    """Restrict the state to the frames of multi-frame images that have its rescale (PS3.3 10.3)."""
    paths = {source.sop_instance_uid: source.path for source in job.sources}
    for series in state.ReferencedSeriesSequence:
        for image in series.ReferencedImageSequence:
            if is_multi_frame(image.ReferencedSOPClassUID):
                frames = frame_headers(paths[image.ReferencedSOPInstanceUID])
                numbers = [frame.frame_number for frame in frames if _rescale(frame) == rescale]
                if len(numbers) < len(frames):
                    image.ReferencedFrameNumber = numbers


def _rescale(frame: FrameHeader) -> Rescale | None:
    if frame.slope is None or frame.intercept is None or not math.isfinite(frame.slope * frame.intercept):
        return None
    return frame.slope, frame.intercept


def _annotation(job: ReportJob, one: OutlinedSlice, image: Dataset) -> GraphicAnnotation:
    graphics = _graphics(job, one, image)
    return GraphicAnnotation(
        referenced_images=[image],
        referenced_frame_number=one.frame.frame_number if is_multi_frame(image.SOPClassUID) else None,
        graphic_layer=LAYER,
        graphic_objects=[
            GraphicObject(graphic_type=kind, graphic_data=points.astype(np.float64), units=AnnotationUnitsValues.PIXEL)
            for kind, points in graphics
        ],
        text_objects=[
            TextObject(
                text_value=_label(one),
                units=AnnotationUnitsValues.PIXEL,
                anchor_point=_label_point(graphics[0][1], float(image.Columns)),
                anchor_point_visible=False,
            )
        ],
    )


def _label(one: OutlinedSlice) -> str:
    """Return the number of a finding, with its probability on its own slice."""
    displayed = displayed_malignancy(one.finding)
    is_own = one.frame == MaskSlice(one.finding.sop_instance_uid, one.finding.frame_number)
    if is_own and isinstance(displayed, DisplayedProbability):
        return f"{one.number}: {displayed.bounds}"
    return f"{one.number}"


def _graphics(job: ReportJob, one: OutlinedSlice, image: Dataset) -> list[tuple[GraphicTypeValues, Points]]:
    """Return the contours and axes of a finding on a frame; on its own one a circle or point if it has no contour."""
    lines = [*contours_on(one.finding, one.frame), *axes_on(one.finding, one.frame)]
    if lines:
        return [(GraphicTypeValues.POLYLINE, _within(points, image, is_circle=False)) for points in lines]
    finding = one.finding
    kind, points = outline((finding.row, finding.column), finding.diameter_mm, spacing_of(job, finding))
    points = _within(points, image, is_circle=kind is GraphicTypeValues.CIRCLE)
    return [(GraphicTypeValues(kind.value), points)]


def _within(points: Points, image: Dataset, *, is_circle: bool) -> Points:
    """Clip an outline to the image, as graphics must lie inside it (PS3.3 C.10.5)."""
    columns, rows = float(image.Columns), float(image.Rows)
    if is_circle and points[1, 0] > columns:  # any point of the circumference gives its radius
        points = np.array([points[0], 2 * points[0] - points[1]])
    return np.clip(points, 0.0, (columns, rows))


def _label_point(points: Points, columns: float) -> Sequence[float]:
    """Return the position of a label: right of the outline."""
    return min(float(points[:, 0].max() + 2), columns), float(points[0, 1])
