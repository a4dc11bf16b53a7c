"""Sizes of a finding for the structured report: axes with their coordinates, diameters, volume (TID 300, TID 1419).

In a verified report the axes that the reader measured override the model's, whose volume is left out with them.
"""

from __future__ import annotations

from dataclasses import replace

from highdicom.sr import (
    CodedConcept,
    CoordinatesForMeasurement,
    GraphicTypeValues,
    Measurement,
    MeasurementProperties,
    SourceImageForRegion,
)
from pydicom.sr.codedict import codes

from db.domain.findings import FindingRecord, NewFinding, ReaderSize
from db.domain.masks import Line
from dicom_node.results.contours import line_points
from dicom_node.results.job import Purpose, ReportJob
from dicom_node.results.source import axes_slice, is_multi_frame
from dicom_node.results.verified_report import SCHEME
from inference.nodules.limits import DENSITY_MAX_SLICE_MM, DENSITY_MIN_DIAMETER_MM

MM, MM3 = codes.UCUM.Millimeter, codes.UCUM.CubicMillimeter
DENSITY_LIMITS = {
    "slice_thickness": f"No density class: slices thicker than {DENSITY_MAX_SLICE_MM:g} mm",
    "size": f"No density class: mean diameter below {DENSITY_MIN_DIAMETER_MM:g} mm",
}
"""Sentences by the attribute ``density_limit`` (``inference.nodules.limits``)."""


BY_READER = CodedConcept("measured", SCHEME, "Measured by the reader")
"""Measurement Method of sizes in which a reader overrode the model."""
MODEL_ONLY = frozenset({"volume_mm3", "volume_repeatability"})
"""Attributes that a reader's size leaves without ground."""


def reader_size(job: ReportJob, record: FindingRecord) -> ReaderSize | None:
    """Return the size that a reader measured, in a verified report."""
    return record.assessment.size if job.purpose is Purpose.VERIFIED and record.assessment is not None else None


def reported_finding(job: ReportJob, record: FindingRecord) -> NewFinding:
    """Return a finding with the sizes that the report states: the reader's where there are some."""
    size, finding = reader_size(job, record), record.finding
    if size is None:
        return finding
    attributes = {name: value for name, value in finding.attributes.items() if name not in MODEL_ONLY}
    sizes = {"perpendicular_mm": size.short_mm, "mean_diameter_mm": size.mean_mm}
    return replace(finding, diameter_mm=size.long_mm, attributes=attributes | sizes)


def size_measurements(finding: NewFinding, method: CodedConcept | None = None) -> list[Measurement]:
    """Return diameter, mean diameter and volume, as far as they were measured."""
    measured = []
    if finding.diameter_mm is not None:
        measured.append(Measurement(codes.SCT.Diameter, round(finding.diameter_mm, 2), MM, method=method))
    mean_mm = number_of(finding, "mean_diameter_mm")
    if mean_mm is not None:
        mean = Measurement(codes.SCT.Diameter, round(mean_mm, 2), MM, method=method, derivation=codes.SCT.Mean)
        measured.append(mean)
    volume_mm3 = number_of(finding, "volume_mm3")
    if volume_mm3 is not None:
        measured.append(Measurement(codes.SCT.Volume, round(volume_mm3, 1), MM3, properties=_uncertainty(finding)))
    return measured


def axis_measurements(job: ReportJob, record: FindingRecord) -> list[Measurement]:
    """Return long and short axis, inferred from coordinates, where they were measured.

    They extend a group of TID 1410 or 1411, both extensible: the measurements of TID 1419 have no coordinates.
    """
    finding, size = record.finding, reader_size(job, record)
    long_mm, short_mm = finding.diameter_mm, number_of(finding, "perpendicular_mm")
    if size is not None:
        if all(source.sop_instance_uid != size.sop_instance_uid for source in job.sources):
            return []  # measured on an image that came after the analysis
        long_line, short_line, long_mm, short_mm = size.long_axis, size.short_axis, size.long_mm, size.short_mm
        image = source_image(job, size.sop_instance_uid, size.frame_number)
    elif (frame := axes_slice(finding)) is not None and finding.mask is not None and finding.mask.axes is not None:
        long_line, short_line = finding.mask.axes.long, finding.mask.axes.short
        image = source_image(job, frame.sop_instance_uid, frame.frame_number)
    else:
        return []
    lengths: tuple[tuple[CodedConcept, float | None, Line], ...] = (
        (codes.SCT.LongAxis, long_mm, long_line),
        (codes.SCT.ShortAxis, short_mm, short_line),
    )
    return [
        Measurement(
            name,
            round(length_mm, 2),
            MM,
            method=None if size is None else BY_READER,
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
