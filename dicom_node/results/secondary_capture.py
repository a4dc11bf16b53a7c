"""Summary as Secondary Capture images, for a PACS that displays nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from db.domain.caveats import NO_NODULE_FOUND
from db.domain.exchange import ResultObject
from db.domain.findings import FindingRecord, NewFinding
from db.domain.masks import MaskSlice
from dicom_node.results.contours import axes_on, contours_on
from dicom_node.results.displayed import displayed_malignancy, displayed_nodule
from dicom_node.results.identity import SourceHeader, bear_identity, unrepresented
from dicom_node.results.job import FINDINGS_PER_PAGE, MAX_PAGES, ReportJob
from dicom_node.results.sizes import number_of, size_comments
from dicom_node.results.source import axes_slice, content_moment, header, plain, stamp
from dicom_node.results.structured_report import doubts_of
from dicom_node.results.summary_page import FindingPanel, SlicePicture, SummaryText, draw_pages
from dicom_node.sandbox.decode_process import DecodeError, DecodeLimits, DecodeProcess
from dicom_node.sandbox.frames import FrameHeader


def build_pages(
    job: ReportJob, identity: SourceHeader, results: Sequence[ResultObject], limits: DecodeLimits | None = None
) -> list[SCImage]:
    """Draw the summary of an analysis and wrap each page as a Secondary Capture image.

    Parameters
    ----------
    identity
        Header of a source image, from ``results_source.read_identity``.
    named
        The pages, as ``expected_objects`` names them.
    limits
        Limits of decoding the source slices; a finding whose slice cannot be decoded has no picture.
    """
    pictures = _pictures(job, limits)
    panels = [
        _panel(number, record, pictures.get(_location_key(record.finding)))
        for number, record in enumerate(job.findings, start=1)
    ]
    pages = draw_pages(_text(job, identity), panels, per_page=FINDINGS_PER_PAGE, max_pages=MAX_PAGES)
    return [_wrap(job, identity, page, result) for page, result in zip(pages, results, strict=True)]


def _wrap(job: ReportJob, identity: SourceHeader, page: NDArray[np.uint8], result: ResultObject) -> SCImage:
    image = SCImage.from_ref_dataset(
        ref_dataset=identity,
        pixel_array=page,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **header(job, result),
    )
    image.copy_patient_and_study_information(identity)
    bear_identity(image, identity)
    image.PatientOrientation = []  # a page of text has none (type 2C)
    image.BodyPartExamined = "CHEST"
    image.BurnedInAnnotation = "YES"
    limits = " ".join(caveat.text for caveat in job.analysis.caveats)
    image.ImageComments = plain(f"Second reader, not a diagnosis. {limits}".strip(), 10240)
    moment = content_moment(job)
    stamp(image, moment)
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.ContentDate, image.ContentTime
    return image


def _text(job: ReportJob, identity: SourceHeader) -> SummaryText:
    model = job.analysis.model
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(job.algorithm_parameters.items()))
    patient = f"{_shown(identity, 'PatientName')}    ID {_shown(identity, 'PatientID')}"
    born = f"born {_shown(identity, 'PatientBirthDate')}    sex {_shown(identity, 'PatientSex')}"
    study = f"Study {_shown(identity, 'StudyDate')}    accession {_shown(identity, 'AccessionNumber')}"
    series = f"Series {_shown(identity, 'SeriesNumber')}: {_shown(identity, 'SeriesDescription')}"
    moment = content_moment(job).strftime("%Y-%m-%d %H:%M %z")
    analysed = (
        f"{series}    {len(job.sources)} image(s)    analysed {moment}",
        f"Model {model.name} {model.version}    weights {model.sha256[:16]}    {parameters}",
    )
    outcome, explanation = _outcome(job)
    caveats = (*(caveat.text for caveat in job.analysis.caveats), *unrepresented(identity))
    return SummaryText((patient, f"{born}    {study}"), analysed, outcome, explanation, caveats)


def _shown(identity: SourceHeader, keyword: str) -> str:
    value = identity.texts.get(keyword) or str(identity.get(keyword) or "")
    return value.replace("^", " ").strip()[:64] or "-"


def _outcome(job: ReportJob) -> tuple[str, tuple[str, ...]]:
    if job.analysis.reasons:
        return "NOT ANALYSED", tuple(reason.text for reason in job.analysis.reasons)
    if not job.findings:
        return NO_NODULE_FOUND, ()
    count = len(job.findings)
    return f"{count} findings, highest probability first" if count > 1 else "1 finding", ()


def _panel(number: int, record: FindingRecord, picture: SlicePicture | None) -> FindingPanel:
    finding = record.finding
    lines = []
    malignancy, nodule = displayed_malignancy(finding), displayed_nodule(finding)
    if malignancy is not None:
        lines.append(f"{malignancy.sentence}.")
    if nodule is not None:
        lines.append(f"Nodule probability: {nodule.text}")
    lines += _size_lines(finding)
    image = f"Image {picture.instance_number}, " if picture is not None and picture.instance_number is not None else ""
    lines.append(f"{image}row {finding.row:.0f}, column {finding.column:.0f}, z {finding.position_mm[2]:.1f} mm")
    lines += [*(reason.text for reason in finding.reasons), *doubts_of(finding)]
    return FindingPanel(f"{number}. {malignancy.text if malignancy else 'No probability'}", tuple(lines), picture)


def _size_lines(finding: NewFinding) -> list[str]:
    """Return diameters with the density class, and the volume with its repeatability, as far as they were measured."""
    if finding.diameter_mm is None:
        return ["Diameter not measured"]
    size = f"Diameter {finding.diameter_mm:.1f} mm"
    short_mm, mean_mm = number_of(finding, "perpendicular_mm"), number_of(finding, "mean_diameter_mm")
    if short_mm is not None and mean_mm is not None:
        size = f"Long axis {finding.diameter_mm:.1f} mm, short axis {short_mm:.1f} mm, mean {mean_mm:.1f} mm"
    density, volume_mm3 = finding.attributes.get("density"), number_of(finding, "volume_mm3")
    lines = [f"{size}, {density}" if isinstance(density, str) and density else size]
    if volume_mm3 is not None:
        lines.append(f"Volume {volume_mm3:.0f} mm3")
    return [*lines, *size_comments(finding)]


def _pictured_frame(finding: NewFinding) -> MaskSlice:
    """Return the frame that is pictured: that of the axes, or the finding's own."""
    return axes_slice(finding) or MaskSlice(finding.sop_instance_uid, finding.frame_number)


def _location_key(finding: NewFinding) -> tuple[str, int, float, float]:
    return finding.sop_instance_uid, finding.frame_number, finding.row, finding.column


def _pictures(job: ReportJob, limits: DecodeLimits | None) -> Mapping[tuple[str, int, float, float], SlicePicture]:
    """Decode the source slices of the displayed findings, each in the decoding child."""
    displayed = [record.finding for record in job.findings[: MAX_PAGES * FINDINGS_PER_PAGE]]
    paths = {source.sop_instance_uid: source.path for source in job.sources}
    required_paths = sorted({paths[_pictured_frame(finding).sop_instance_uid] for finding in displayed})
    if not required_paths:
        return {}
    with DecodeProcess(limits) as child:
        try:
            headers = _headers_by_frame(child, required_paths)
        except DecodeError:
            return {}
        pictures_by_finding = {}
        for finding in displayed:
            frame = _pictured_frame(finding)
            header = headers.get((frame.sop_instance_uid, frame.frame_number))
            picture = _picture(child, finding, header) if header is not None else None
            if picture is not None:
                pictures_by_finding[_location_key(finding)] = picture
        return pictures_by_finding


def _headers_by_frame(child: DecodeProcess, paths: list[Path]) -> dict[tuple[str, int], FrameHeader]:
    replies = child.headers(paths)
    return {(h.sop_instance_uid, h.frame_number): h for headers in replies if headers for h in headers}


def _picture(child: DecodeProcess, finding: NewFinding, header: FrameHeader) -> SlicePicture | None:
    try:
        slice_hu = child.volume_hu([header])[0]
    except DecodeError:
        return None
    spacing, frame = header.pixel_spacing_mm, _pictured_frame(finding)
    if spacing is None or min(spacing) <= 0:
        return None
    return SlicePicture(
        slice_hu=slice_hu,
        spacing_mm=(spacing[0], spacing[1]),
        row=finding.row,
        column=finding.column,
        diameter_mm=finding.diameter_mm,
        sides=_sides(header.orientation),
        instance_number=header.instance_number,
        contours=(*contours_on(finding, frame), *axes_on(finding, frame)),
    )


def _sides(orientation: tuple[float, ...] | None) -> tuple[str, str]:
    """Return the directions at the left and at the top of the picture, from the direction cosines."""
    if orientation is None:
        return "", ""
    return _opposite(orientation[:3]), _opposite(orientation[3:])


def _opposite(direction: tuple[float, ...]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][0 if direction[axis] > 0 else 1]
