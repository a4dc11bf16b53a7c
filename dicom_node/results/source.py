"""Content of result objects that comes from the source images: identity and references.

Runs in the process that makes results only: these are untrusted datasets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from db.domain.exchange import ResultObject
from db.domain.findings import NewFinding
from db.domain.masks import MaskSlice
from dicom_node.results.identity import SourceHeader, repair, source_header
from dicom_node.results.job import (
    KINDS,
    MANUFACTURER,
    SERIES_DESCRIPTION,
    ReportJob,
    SourceInstance,
)
from dicom_node.sandbox.frames import FrameHeader, read_frame_headers

LIBRARY_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
MULTI_FRAME = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
ACQUISITION_EQUIPMENT = "109101"
_TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
           "StudyTime", "ReferringPhysicianName")  # fmt: skip


class SourceUnreadableError(ValueError):
    """No source image can be read."""


def read_identity(job: ReportJob, source: SourceInstance | None = None) -> SourceHeader:
    """Read the header of a source image, repaired where it breaks the standard; results inherit its identity.

    Attributes of type 2 that are absent become empty, and so do dates, times and a sex that mean nothing.

    Parameters
    ----------
    source
        Which image; the first by default.
    """
    ds = dcmread((source or job.sources[0]).path, stop_before_pixels=True)
    header = source_header(ds, is_minimal=job.is_minimal)
    for keyword in _TYPE_2:
        if keyword not in header or header[keyword].is_empty:
            setattr(header, keyword, None)
    header.StudyInstanceUID = job.analysis.study_instance_uid
    return header


def evidence(job: ReportJob, identity: Dataset) -> list[Dataset]:
    """Return minimal datasets that reference every analysed instance; the first carries the identity."""
    first, *rest = job.sources
    identity.SOPInstanceUID, identity.SOPClassUID = first.sop_instance_uid, first.sop_class_uid
    identity.SeriesInstanceUID = job.analysis.series_instance_uid
    return [identity, *(_reference(job, source) for source in rest)]


def _reference(job: ReportJob, source: SourceInstance) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = job.analysis.study_instance_uid
    ds.SeriesInstanceUID = job.analysis.series_instance_uid
    ds.SOPInstanceUID, ds.SOPClassUID = source.sop_instance_uid, source.sop_class_uid
    return ds


def library_images(job: ReportJob) -> list[Dataset]:
    """Return headers for the image library (TID 1600): the single-frame CT with findings.

    Left out is what lacks an attribute that TID 1604 asks for. As evidence all images are named; to describe 300 of
    them one by one took 5 s and 1.1 MB of each report.
    """
    referenced = {record.finding.sop_instance_uid for record in job.findings}
    referenced |= {one.sop_instance_uid for record in job.findings if (one := axes_slice(record.finding)) is not None}
    images = []
    for source in job.sources:
        if source.sop_class_uid != CTImageStorage or source.sop_instance_uid not in referenced:
            continue
        ds = dcmread(source.path, stop_before_pixels=True, specific_tags=list(LIBRARY_KEYWORDS))
        repair(ds)
        if all(keyword in ds and not ds[keyword].is_empty for keyword in LIBRARY_KEYWORDS):
            images.append(ds)
    return images


def axes_slice(finding: NewFinding) -> MaskSlice | None:
    """Return the frame that long and short axis of a finding lie on; None where there are none."""
    if finding.mask is None or finding.mask.axes is None:
        return None
    return finding.mask.slices[finding.mask.axes.slice_index]


def slice_header(job: ReportJob, finding: NewFinding) -> FrameHeader:
    """Read the header of the frame that a finding lies on.

    Raises
    ------
    SourceUnreadableError
        The source has no such frame.
    """
    return frame_header(job, MaskSlice(finding.sop_instance_uid, finding.frame_number))


def frame_header(job: ReportJob, frame: MaskSlice) -> FrameHeader:
    """Read the header of a frame.

    Raises
    ------
    SourceUnreadableError
        The source has no such frame.
    """
    path = next((source.path for source in job.sources if source.sop_instance_uid == frame.sop_instance_uid), None)
    frames = frame_headers(path) if path is not None else ()
    if not 1 <= frame.frame_number <= len(frames):
        raise SourceUnreadableError("a finding lies on a frame that its image does not have")
    return frames[frame.frame_number - 1]


@lru_cache(32)
def frame_headers(path: Path) -> tuple[FrameHeader, ...]:
    """Read the headers of all frames of an image."""
    return tuple(read_frame_headers(path))


def is_multi_frame(sop_class_uid: str) -> bool:
    """Return True if images of a class are referenced by frame (PS3.3 10.3)."""
    return sop_class_uid in MULTI_FRAME


def content_moment(job: ReportJob) -> datetime:
    """Return when the analysis ended, in local time as DICOM's dates and times are."""
    return local_moment(job.analysis.finished_at or job.analysis.requested_at)


def local_moment(moment: datetime) -> datetime:
    """Convert a time of the records to local time."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone()


def header(job: ReportJob, result: ResultObject) -> dict[str, Any]:
    """Return the arguments common to all result objects of highdicom."""
    return {
        "series_instance_uid": result.series_instance_uid,
        "series_number": KINDS[result.kind].series_number,
        "sop_instance_uid": result.sop_instance_uid,
        "instance_number": result.instance_number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": plain(job.analysis.model.name, 64),
        "software_versions": plain(job.software_version, 64),
        "device_serial_number": plain(job.station, 64),
        "series_description": SERIES_DESCRIPTION,
        "specific_character_set": None,
    }


def stamp(ds: Dataset, moment: datetime) -> None:
    """Date an object by its analysis, so that writing it again gives the same bytes."""
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = date
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = time
    for equipment in ds.get("ContributingEquipmentSequence") or []:
        purpose = equipment.PurposeOfReferenceCodeSequence[0].CodeValue
        if purpose != ACQUISITION_EQUIPMENT and "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = date + time


def plain(text: str, limit: int = 1024) -> str:
    """Convert our text to the default character repertoire, so that the source's character set stays."""
    for fancy, simple in (
        ("–", "-"),
        ("—", "-"),
        ("−", "-"),
        ("×", "x"),
        ("≥", ">="),
        ("≤", "<="),
        ("’", "'"),
        ("µ", "u"),
        ("°", " degrees"),
    ):
        text = text.replace(fancy, simple)
    return text.encode("ascii", "replace").decode()[:limit]
