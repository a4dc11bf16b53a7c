"""Measured masks as a Segmentation: one object for a series, one segment for each measured finding (PS3.3 A.51)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from db.domain.exchange import ResultObject
from db.domain.masks import FindingMask, MaskSlice
from dicom_node.results.identity import SourceHeader, bear_identity
from dicom_node.results.job import MANUFACTURER, ReportJob, segment_numbers, tracking_identifier
from dicom_node.results.source import (
    SourceUnreadableError,
    content_moment,
    frame_header,
    frame_headers,
    header,
    is_multi_frame,
    plain,
    read_identity,
    stamp,
)
from inference.nodules.mask import decode_runs

Labels = NDArray[np.uint16]
"""``(frames, rows, columns)`` segment numbers, or ``(frames, rows, columns, segments)`` of 0 and 1."""


def build_seg(job: ReportJob, result: ResultObject) -> Segmentation:
    """Build the segmentation of a job; it exists only where a finding has a mask (``segment_numbers``)."""
    measured = {number: job.findings[number - 1] for number in segment_numbers(job)}
    masks = [mask for record in measured.values() if (mask := record.finding.mask) is not None]
    frames, images = _source_frames(job, masks)
    seg = Segmentation(
        source_images=images,
        pixel_array=_labels(masks, frames, (int(images[0].Rows), int(images[0].Columns))),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(job, number, segment) for segment, number in enumerate(measured, start=1)],
        content_label="NODULES",
        content_description="Measured findings, not a diagnosis",
        content_creator_name="lungnode^",
        **header(job, result),
    )
    seg.BodyPartExamined = "CHEST"
    bear_identity(seg, images[0])
    _fix_dimensions(seg, job.uid("seg", "dimensions"))
    stamp(seg, content_moment(job))
    return seg


def _description(job: ReportJob, number: int, segment: int) -> SegmentDescription:
    model = job.analysis.model
    uid, identifier = tracking_identifier(job, number)
    return SegmentDescription(
        segment_number=segment,
        segment_label=identifier,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=plain(model.name, 64),
            family=codes.DCM.ArtificialIntelligence,
            version=plain(model.version, 64),
            source=MANUFACTURER,
        ),
        tracking_uid=uid,
        tracking_id=identifier,
        anatomic_regions=[codes.SCT.Lung],
    )


def _source_frames(job: ReportJob, masks: Sequence[FindingMask]) -> tuple[list[MaskSlice], list[SourceHeader]]:
    """Return the frames of the object in their order, and the headers of their images.

    Of a multi-frame image all frames are source frames; of single-frame ones those that a mask lies on.
    """
    sources = {source.sop_instance_uid: source for source in job.sources}
    used = list(dict.fromkeys(one for mask in masks for one in mask.slices))
    images = []
    for uid in dict.fromkeys(one.sop_instance_uid for one in used):
        image = read_identity(job, sources[uid])
        image.SOPInstanceUID, image.SOPClassUID = uid, sources[uid].sop_class_uid
        image.SeriesInstanceUID = job.analysis.series_instance_uid
        if "FrameOfReferenceUID" not in image:  # of type 1, and left out by some
            image.FrameOfReferenceUID = job.uid("seg", "frame of reference")
        if not image.get("SliceThickness") and not is_multi_frame(image.SOPClassUID):
            image.SliceThickness = _thickness_mm(job, masks)
        images.append(image)
    if not is_multi_frame(images[0].SOPClassUID):
        return used, images
    first = images[0].SOPInstanceUID
    count = len(frame_headers(sources[first].path))
    return [MaskSlice(first, number) for number in range(1, count + 1)], images[:1]


def _labels(masks: Sequence[FindingMask], frames: Sequence[MaskSlice], size: tuple[int, int]) -> Labels:
    """Return segment numbers by frame, row and column; an array for each segment where two of them overlap."""
    rows = {frame: index for index, frame in enumerate(frames)}
    labels = np.zeros((len(frames), *size), np.uint16)
    pieces = []
    for number, mask in enumerate(masks, start=1):
        inside = decode_runs(mask.runs, mask.shape)
        box = np.ix_(
            [rows[one] for one in mask.slices],
            range(mask.row, mask.row + mask.rows),
            range(mask.column, mask.column + mask.columns),
        )
        pieces.append((box, inside))
        labels[box] = np.where(inside, number, labels[box])
    if all(np.array_equal(labels[box] == number, inside) for number, (box, inside) in enumerate(pieces, start=1)):
        return labels
    layers = np.zeros((*labels.shape, len(masks)), np.uint16)
    for layer, (box, inside) in enumerate(pieces):
        layers[..., layer][box] = inside
    return layers


def _thickness_mm(job: ReportJob, masks: Sequence[FindingMask]) -> float:
    """Return the distance of slices, for images that state no thickness (of type 1 here)."""
    stated = job.analysis.measures.get("spacing_mm")
    if isinstance(stated, list | tuple) and stated and isinstance(stated[0], int | float) and stated[0] > 0:
        return float(stated[0])
    for mask in masks:
        positions_mm = [at for one in mask.slices[:2] if (at := frame_header(job, one).position_mm) is not None]
        if len(positions_mm) == 2:
            return math.dist(*positions_mm)
    raise SourceUnreadableError("the slices state neither thickness nor position")


def _fix_dimensions(seg: Dataset, uid: str) -> None:
    """Set a derived dimension UID: highdicom draws a new one each time, and content must give equal bytes."""
    for organization in seg.DimensionOrganizationSequence:
        organization.DimensionOrganizationUID = uid
    for index in seg.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid
