"""Attention of the network as a Parametric Map over the source slices of the findings (PS3.3 A.75).

One frame for each slice that a finding lies on: the network's own attention, 0 to 1, laid over the whole slice; where
two views overlap, the stronger one. It says where the network looked, never why it answered as it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from highdicom.content import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

from db.domain.exchange import ResultObject
from dicom_node.results.identity import SourceHeader, bear_identity
from dicom_node.results.job import ReportJob
from dicom_node.results.source import content_moment, header, read_identity, stamp
from dicom_node.results.verified_report import SCHEME
from inference.networks.attention import place_on_slice

ATTENTION = "attention"
"""Name of the attribute of a finding that holds the weights, and the side of their view in millimetres."""
MEANING = CodedConcept("attention", SCHEME, "Spatial attention of the network")

Frame = NDArray[np.float32]


def build_pm(job: ReportJob, result: ResultObject) -> ParametricMap:
    """Map the attention on every finding over its slice; ``result`` exists only where there is one."""
    frames = _frames(job)
    sources = [image for image, _ in frames.values()]
    mapping = RealWorldValueMapping(
        lut_label="ATTENTION",
        lut_explanation="0 least, 1 most",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=MEANING,
    )
    pm = ParametricMap(
        source_images=sources,
        pixel_array=np.stack([frame for _, frame in frames.values()]),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="ATTENTION",
        content_description="Where the network looked, not a diagnosis",
        content_creator_name="lungnode^",
        **header(job, result),
    )
    pm.BodyPartExamined = "CHEST"
    bear_identity(pm, sources[0])
    _fix_dimensions(pm, job.uid("pm", "dimensions"))
    stamp(pm, content_moment(job))
    return pm


def _frames(job: ReportJob) -> dict[str, tuple[SourceHeader, Frame]]:
    """Return the attention over each slice by SOP Instance UID, with the slice's header."""
    paths = {source.sop_instance_uid: source for source in job.sources}
    frames: dict[str, tuple[SourceHeader, Frame]] = {}
    for record in job.findings:
        finding, attention_map = record.finding, record.finding.attributes.get(ATTENTION)
        source = paths[finding.sop_instance_uid]
        if not isinstance(attention_map, Mapping) or source.sop_class_uid != CTImageStorage:
            continue
        image, previous = frames.get(finding.sop_instance_uid) or (read_identity(job, source), np.float32(0))
        image.SeriesInstanceUID = job.analysis.series_instance_uid
        if "FrameOfReferenceUID" not in image:  # of type 1, and left out by some
            image.FrameOfReferenceUID = job.uid("pm", "frame of reference")
        mapped = _mapped(attention_map, image, (finding.row, finding.column))
        frames[finding.sop_instance_uid] = image, np.maximum(mapped, previous)
    shape = next(frame.shape for _, frame in frames.values())
    return {uid: (image, frame) for uid, (image, frame) in frames.items() if frame.shape == shape}


def _mapped(attention_map: Mapping[str, Any], image: Dataset, center: tuple[float, float]) -> Frame:
    weights = np.asarray(attention_map["weights"], dtype=np.float32)
    spacing_mm = float(image.PixelSpacing[0]), float(image.PixelSpacing[1])
    return place_on_slice(
        weights, (int(image.Rows), int(image.Columns)), center, spacing_mm, float(attention_map["field_mm"])
    )


def _fix_dimensions(pm: Dataset, uid: str) -> None:
    """Set a derived dimension UID: highdicom draws a new one each time, and content must give equal bytes."""
    for organization in pm.DimensionOrganizationSequence:
        organization.DimensionOrganizationUID = uid
    for index in pm.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid
