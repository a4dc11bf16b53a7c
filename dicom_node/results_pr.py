"""The outlines on the original slices, as a Grayscale Softcopy Presentation State (PS3.3 A.33.1)."""

from __future__ import annotations

from collections.abc import Sequence

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

from db.domain import NewFinding
from dicom_node.results_displayed import displayed_malignancy
from dicom_node.results_job import ReportJob, ResultObject
from dicom_node.results_page import WINDOW
from dicom_node.results_source import content_moment, first_of, header, keep_character_set, read_identity, stamp
from dicom_node.results_sr import outline, spacing_of
from inference.displayed import DisplayedProbability

Points = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LAYER = GraphicLayer("FINDINGS", order=1, description="Outlines of findings")


def build_pr(job: ReportJob, named: ResultObject) -> GrayscaleSoftcopyPresentationState:
    """Draw the outline of every finding on its slice, with its number and probability beside it.

    A presentation state has one modality LUT for all its images: slices whose rescale is not that of the first
    finding's slice are left to the report.
    """
    shown = _shown_slices(job)
    images = list(shown.values())
    annotations = [
        _annotation(number, record.finding, shown[record.finding.sop_instance_uid])
        for number, record in enumerate(job.findings, start=1)
        if record.finding.sop_instance_uid in shown
    ]
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=images,
        content_label="SECOND_READER",
        content_description="Second reader, not a diagnosis",
        graphic_annotations=annotations,
        graphic_layers=[LAYER],
        modality_lut_transformation=_modality_lut(images[0]),
        voi_lut_transformations=[
            SoftcopyVOILUTTransformation(
                window_center=WINDOW[0], window_width=WINDOW[1], window_explanation="Lung", referenced_images=None
            )
        ],
        **header(job, named),
    )
    state.BodyPartExamined = "CHEST"  # unpaired: then Laterality is not asked for (PS3.3 C.7.3.1)
    keep_character_set(state, images[0])
    moment = content_moment(job)
    stamp(state, moment)
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    del state.ContentDate, state.ContentTime  # no attributes of a presentation state
    return state


def _shown_slices(job: ReportJob) -> dict[str, Dataset]:
    """Headers of the slices that findings lie on, by SOP Instance UID; the first finding's rescale decides."""
    sources = {source.sop_instance_uid: source for source in job.sources}
    shown: dict[str, Dataset] = {}
    rescale: tuple[float, float] | None = None
    for record in job.findings:
        uid = record.finding.sop_instance_uid
        if uid in shown:
            continue
        ds = read_identity(job, sources[uid])
        ds.SeriesInstanceUID = job.analysis.series_instance_uid
        rescale = rescale or _rescale(ds)
        if _rescale(ds) == rescale:
            shown[uid] = ds
    return shown


def _rescale(ds: Dataset) -> tuple[float, float]:
    slope = first_of(ds, "RescaleSlope", "PixelValueTransformationSequence")
    intercept = first_of(ds, "RescaleIntercept", "PixelValueTransformationSequence")
    return float(1 if slope is None else slope), float(0 if intercept is None else intercept)


def _modality_lut(ds: Dataset) -> ModalityLUTTransformation:
    slope, intercept = _rescale(ds)
    return ModalityLUTTransformation(rescale_intercept=intercept, rescale_slope=slope, rescale_type="HU")


def _annotation(number: int, finding: NewFinding, image: Dataset) -> GraphicAnnotation:
    is_multi_frame = "NumberOfFrames" in image
    displayed = displayed_malignancy(finding)
    label = f"{number}: {displayed.bounds}" if isinstance(displayed, DisplayedProbability) else f"{number}"
    kind, points = outline((finding.row, finding.column), finding.diameter_mm, spacing_of(image))
    points = _within(points, image, is_circle=kind is GraphicTypeValues.CIRCLE)
    return GraphicAnnotation(
        referenced_images=[image],
        referenced_frame_number=finding.frame_number if is_multi_frame else None,
        graphic_layer=LAYER,
        graphic_objects=[
            GraphicObject(
                graphic_type=GraphicTypeValues(kind.value),
                graphic_data=points.astype(np.float64),
                units=AnnotationUnitsValues.PIXEL,
            )
        ],
        text_objects=[
            TextObject(
                text_value=label,
                units=AnnotationUnitsValues.PIXEL,
                anchor_point=_beside(points, float(image.Columns)),
                anchor_point_visible=False,
            )
        ],
    )


def _within(points: Points, image: Dataset, *, is_circle: bool) -> Points:
    """Keep an outline at the image's border inside it, as graphics must be (PS3.3 C.10.5)."""
    columns, rows = float(image.Columns), float(image.Rows)
    if is_circle and points[1, 0] > columns:  # any point of the circumference tells its radius
        points = np.array([points[0], 2 * points[0] - points[1]])
    return np.clip(points, 0.0, (columns, rows))


def _beside(points: Points, columns: float) -> Sequence[float]:
    """Where a label stands: right of the outline."""
    return min(float(points[:, 0].max() + 2), columns), float(points[0, 1])
