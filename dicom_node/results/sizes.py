"""Sizes of a finding for the structured report: axes with their coordinates, diameters, volume (TID 300, TID 1419)."""

from __future__ import annotations

from highdicom.sr import (
    CoordinatesForMeasurement,
    GraphicTypeValues,
    Measurement,
    MeasurementProperties,
    SourceImageForRegion,
)
from pydicom.sr.codedict import codes

from db.domain.findings import NewFinding
from dicom_node.results.contours import line_points
from dicom_node.results.job import ReportJob
from dicom_node.results.source import axes_slice, is_multi_frame
from inference.nodules.limits import DENSITY_MAX_SLICE_MM, DENSITY_MIN_DIAMETER_MM

MM, MM3 = codes.UCUM.Millimeter, codes.UCUM.CubicMillimeter
DENSITY_LIMITS = {
    "slice_thickness": f"No density class: slices thicker than {DENSITY_MAX_SLICE_MM:g} mm",
    "size": f"No density class: mean diameter below {DENSITY_MIN_DIAMETER_MM:g} mm",
}
"""Sentences by the attribute ``density_limit`` (``inference.nodules.limits``)."""


def size_measurements(finding: NewFinding) -> list[Measurement]:
    """Return diameter, mean diameter and volume, as far as they were measured."""
    measured = []
    if finding.diameter_mm is not None:
        measured.append(Measurement(codes.SCT.Diameter, round(finding.diameter_mm, 2), MM))
    mean_mm = number_of(finding, "mean_diameter_mm")
    if mean_mm is not None:
        measured.append(Measurement(codes.SCT.Diameter, round(mean_mm, 2), MM, derivation=codes.SCT.Mean))
    volume_mm3 = number_of(finding, "volume_mm3")
    if volume_mm3 is not None:
        measured.append(Measurement(codes.SCT.Volume, round(volume_mm3, 1), MM3, properties=_uncertainty(finding)))
    return measured


def axis_measurements(job: ReportJob, finding: NewFinding) -> list[Measurement]:
    """Return long and short axis, inferred from coordinates, where they were measured.

    They extend a group of TID 1410 or 1411, both extensible: the measurements of TID 1419 have no coordinates.
    """
    frame, short_mm = axes_slice(finding), number_of(finding, "perpendicular_mm")
    if frame is None or finding.mask is None or finding.mask.axes is None or finding.diameter_mm is None:
        return []
    axes = finding.mask.axes
    lengths = ((codes.SCT.LongAxis, finding.diameter_mm, axes.long), (codes.SCT.ShortAxis, short_mm, axes.short))
    image = source_image(job, frame.sop_instance_uid, frame.frame_number)
    return [
        Measurement(
            name,
            round(length_mm, 2),
            MM,
            referenced_coordinates=[CoordinatesForMeasurement(GraphicTypeValues.POLYLINE, line_points(line), image)],
        )
        for name, length_mm, line in lengths
        if length_mm is not None
    ]


def _uncertainty(finding: NewFinding) -> MeasurementProperties | None:
    """Return by how much a volume may differ in a repeated scan (TID 310)."""
    share, volume_mm3 = number_of(finding, "volume_repeatability"), number_of(finding, "volume_mm3")
    if share is None or volume_mm3 is None:
        return None
    change_mm3 = round(share * volume_mm3, 1)
    return MeasurementProperties(upper_measurement_uncertainty=change_mm3, lower_measurement_uncertainty=change_mm3)


def size_comments(finding: NewFinding) -> list[str]:
    """Return the sentences on what the sizes bear, the same in every object."""
    share, limit = number_of(finding, "volume_repeatability"), finding.attributes.get("density_limit")
    texts = []
    if share is not None and number_of(finding, "volume_mm3") is not None:
        texts.append(f"A change of volume below {share:.0%} is within repeatability".replace("%", " %"))
    if isinstance(limit, str) and limit in DENSITY_LIMITS:
        texts.append(DENSITY_LIMITS[limit])
    return texts


def number_of(finding: NewFinding, name: str) -> float | None:
    """Return a positive number among a finding's attributes; None without one."""
    value = finding.attributes.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None


def source_image(job: ReportJob, sop_instance_uid: str, frame_number: int) -> SourceImageForRegion:
    """Return the reference to a frame of a source image."""
    sop_class_uid = next(s.sop_class_uid for s in job.sources if s.sop_instance_uid == sop_instance_uid)
    return SourceImageForRegion(
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=sop_instance_uid,
        referenced_frame_numbers=[frame_number] if is_multi_frame(sop_class_uid) else None,
    )
