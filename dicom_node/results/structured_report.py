"""Structured report: Comprehensive 3D SR by TID 1500, a measurement group for each finding (PS3.16 A)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageRegion,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from db.domain.caveats import NO_NODULE_FOUND
from db.domain.exchange import ResultObject
from db.domain.findings import FindingRecord, NewFinding
from db.domain.reasons import Reason
from dicom_node.encoding.uids import derived_uid
from dicom_node.results.displayed import bound_measurements, displayed_comments, limit_evaluations
from dicom_node.results.identity import SourceHeader, bear_identity, unrepresented
from dicom_node.results.job import (
    MANUFACTURER,
    Purpose,
    ReportJob,
    result_object,
    segment_numbers,
    tracking_identifier,
)
from dicom_node.results.sizes import (
    BY_READER,
    axis_measurements,
    reader_size,
    reported_finding,
    size_comments,
    size_measurements,
    source_image,
)
from dicom_node.results.source import (
    content_moment,
    evidence,
    header,
    library_images,
    plain,
    slice_header,
    stamp,
)
from dicom_node.results.verified_report import SCHEME, person_context, verdict_items, verification, verify

PROCESSING_SUMMARY = CodedConcept("111017", "DCM", "CAD Processing and Findings Summary")
WITH_FINDINGS = CodedConcept("111242", "DCM", "All algorithms succeeded; with findings")
WITHOUT_FINDINGS = CodedConcept("111241", "DCM", "All algorithms succeeded; without findings")
NOT_ANALYSED = CodedConcept("111245", "DCM", "No algorithms succeeded; without findings")
REASON = CodedConcept("reason", SCHEME, "Reason why there is no answer")
LIMITATION = CodedConcept("caveat", SCHEME, "Limitation of this analysis")
CT_CHEST = CodedConcept("24627-2", "LN", "CT Chest")
FindingGroup: TypeAlias = (
    PlanarROIMeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
)
"""TID 1410 around a point or a circle, or TID 1411 with a segment."""
DISCLAIMER = "Second reader for lung nodules. Not a diagnosis; every finding is to be judged by a radiologist."


def build_sr(job: ReportJob, identity: SourceHeader, result: ResultObject) -> Comprehensive3DSR:
    """Build the report of an analysis: the model's, or the one verified by readers.

    Parameters
    ----------
    identity
        Header of a source image, from ``results_source.read_identity``.
    """
    sources = [*evidence(job, identity), *_segmentation_reference(job)]
    report = MeasurementReport(
        observation_context=_observer(job),
        procedure_reported=CT_CHEST,
        imaging_measurements=[_summary(job, identity), *_finding_groups(job)],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=library_images(job) or None,
    )
    sr = Comprehensive3DSR(
        evidence=sources,
        content=report,
        is_complete=True,
        **header(job, result),
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="lungnode", responsible_organization="lungnode")],
        **verification(job, identity),
    )
    bear_identity(sr, identity)
    stamp(sr, content_moment(job))
    if job.purpose is Purpose.VERIFIED:
        verify(sr, job)
    return sr


def _observer(job: ReportJob) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("lungnode device", job.station),
        name="lungnode",
        manufacturer_name=MANUFACTURER,
        model_name=plain(job.analysis.model.name, 64),
        serial_number=plain(job.station, 64),
    )
    return ObservationContext(
        observer_person_context=person_context(job),
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device),
    )


def _algorithm(job: ReportJob) -> AlgorithmIdentification:
    model = job.analysis.model
    parameters = {**job.algorithm_parameters, "weights_sha256": model.sha256, "input_digest": job.analysis.input_digest}
    return AlgorithmIdentification(
        name=plain(model.name),
        version=plain(model.version),
        parameters=[plain(f"{name}={value}") for name, value in sorted(parameters.items())],
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )


def status_code(job: ReportJob) -> CodedConcept:
    """Return the overall status of an analysis: with findings, without, or not analysed (CID 6047)."""
    if job.analysis.reasons:
        return NOT_ANALYSED
    return WITH_FINDINGS if job.findings else WITHOUT_FINDINGS


def _summary(job: ReportJob, identity: SourceHeader) -> MeasurementsAndQualitativeEvaluations:
    """Return overall status, limitations, and the reasons where there is no answer.

    Each limitation is a coded item and, for those who show texts only, a comment (TID 1501).
    """
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=job.uid("summary"), identifier="Series summary"),
        algorithm_id=_algorithm(job),
        finding_sites=[FindingSite(codes.SCT.Lung)],
        qualitative_evaluations=[QualitativeEvaluation(PROCESSING_SUMMARY, status_code(job))],
    )
    is_empty = not job.findings and not job.analysis.reasons
    items = [
        *([_comment(NO_NODULE_FOUND)] if is_empty else []),
        *(item for caveat in job.analysis.caveats for item in _coded_sentence(LIMITATION, caveat)),
        *(item for reason in job.analysis.reasons for item in _coded_sentence(REASON, reason)),
        *map(_comment, unrepresented(identity)),
        _comment(DISCLAIMER),
    ]
    _append(group, items)
    return group


def _finding_groups(job: ReportJob) -> list[FindingGroup]:
    return [_finding_group(job, number, record) for number, record in enumerate(job.findings, start=1)]


def _finding_group(job: ReportJob, number: int, record: FindingRecord) -> FindingGroup:
    finding = reported_finding(job, record)
    method = None if reader_size(job, record) is None else BY_READER
    uid, identifier = tracking_identifier(job, number)
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=uid, identifier=identifier),
        "finding_type": codes.SCT.Nodule,
        "finding_sites": [FindingSite(codes.SCT.Lung)],
        "algorithm_id": _algorithm(job),
        "measurements": [*bound_measurements(finding), *size_measurements(finding, method)],
        "qualitative_evaluations": _evaluations(record),
    }
    segment = segment_numbers(job).get(number)
    group: FindingGroup
    if segment is None:
        graphic_type, points = outline((finding.row, finding.column), finding.diameter_mm, spacing_of(job, finding))
        region = ImageRegion(graphic_type, points, source_image(job, finding.sop_instance_uid, finding.frame_number))
        group = PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **content)
    else:
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=_referenced_segment(job, segment), **content
        )
    notes = [_comment(text) for text in displayed_comments(finding)]
    notes += [_comment(text) for text in size_comments(finding)]
    notes += [item for reason in finding.reasons for item in _coded_sentence(REASON, reason)]
    notes += [_comment(doubt) for doubt in doubts_of(finding)]
    if finding.prediction_set:
        notes.append(_comment("Prediction set (90 %): " + ", ".join(finding.prediction_set)))
    axes = [item for measurement in axis_measurements(job, record) for item in measurement]
    _append(group, [*axes, *notes, *verdict_items(job, record)])
    return group


def _referenced_segment(job: ReportJob, segment: int) -> ReferencedSegment:
    seg = result_object(job, "seg")
    return ReferencedSegment(
        sop_class_uid=seg.sop_class_uid,
        sop_instance_uid=seg.sop_instance_uid,
        segment_number=segment,
        source_series=SourceSeriesForSegmentation(job.analysis.series_instance_uid),
    )


def _segmentation_reference(job: ReportJob) -> list[Dataset]:
    """Return a minimal dataset of the segmentation that the report references, if any."""
    if not segment_numbers(job):
        return []
    seg, ds = result_object(job, "seg"), Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = job.analysis.study_instance_uid, seg.series_instance_uid
    ds.SOPClassUID, ds.SOPInstanceUID = seg.sop_class_uid, seg.sop_instance_uid
    return [ds]


def outline(
    position: tuple[float, float], diameter_mm: float | None, spacing: tuple[float, float] | None
) -> tuple[hd.sr.GraphicTypeValues, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return the outline of a finding in image coordinates (PS3.3 C.18.6): the first pixel's centre is (0.5, 0.5)."""
    row, column = position[0] + 0.5, position[1] + 0.5
    if diameter_mm is None or spacing is None:
        return hd.sr.GraphicTypeValues.POINT, np.array([[column, row]])
    down, across = diameter_mm / 2 / spacing[0], diameter_mm / 2 / spacing[1]
    if abs(down - across) < 0.01 * across:
        return hd.sr.GraphicTypeValues.CIRCLE, np.array([[column, row], [column + across, row]])
    axes = [[column - across, row], [column + across, row], [column, row - down], [column, row + down]]
    if down > across:  # major axis first
        axes = [*axes[2:], *axes[:2]]
    return hd.sr.GraphicTypeValues.ELLIPSE, np.array(axes)


def spacing_of(job: ReportJob, finding: NewFinding) -> tuple[float, float] | None:
    """Return row and column spacing of a finding's frame, mm; None where it states none."""
    spacing = slice_header(job, finding).pixel_spacing_mm
    return spacing if spacing is not None and min(spacing) > 0 else None


def _evaluations(record: FindingRecord) -> list[QualitativeEvaluation]:
    evaluations, density = limit_evaluations(record.finding), record.finding.attributes.get("density")
    if isinstance(density, str) and density:
        name = CodedConcept("density", SCHEME, "Nodule density")
        coded = CodedConcept(plain(density, 16), SCHEME, plain(density, 64))
        evaluations.append(QualitativeEvaluation(name, coded))
    return evaluations


def _comment(text: str) -> TextContentItem:
    return TextContentItem(name=codes.DCM.Comment, value=plain(text), relationship_type=RelationshipTypeValues.CONTAINS)


def doubts_of(finding: NewFinding) -> list[str]:
    """List the caveats of a finding in words."""
    doubts = finding.attributes.get("doubts")
    return [str(doubt) for doubt in doubts] if isinstance(doubts, list | tuple) else []


def _coded_sentence(name: CodedConcept, reason: Reason) -> list[TextContentItem | CodeContentItem]:
    """Return a reason or a caveat as a code with its sentence."""
    coded = CodeContentItem(
        name=name,
        value=CodedConcept(plain(reason.code, 64), SCHEME, plain(reason.text, 64)),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    return [coded, _comment(reason.text)]


def _append(group: Sequence[Dataset], items: Sequence[Dataset]) -> None:
    """Append content items to a measurement group's container."""
    for item in items:
        group[0].ContentSequence.append(item)
