"""What result objects take from the source images: identity, as the standard demands, and references.

Runs in the process that makes results only: these are strangers' datasets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DA, TM

from dicom_node.results_job import (
    KINDS,
    MANUFACTURER,
    SERIES_DESCRIPTION,
    ReportJob,
    ResultObject,
    SourceInstance,
)

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
ACQUISITION_EQUIPMENT = "109101"
_TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
           "StudyTime", "ReferringPhysicianName")  # fmt: skip


class SourceUnreadableError(ValueError):
    """No source image can be read."""


def read_identity(job: ReportJob, source: SourceInstance | None = None) -> Dataset:
    """Read the header of a source image, repaired where it breaks the standard; results inherit its identity.

    Attributes of type 2 that are absent become empty, and so do dates, times and a sex that mean nothing; names and
    identifiers are copied as they are.

    Parameters
    ----------
    source
        Which image; the first by default.
    """
    ds = dcmread((source or job.sources[0]).path, stop_before_pixels=True)
    for keyword in _TYPE_2:
        if keyword not in ds or ds[keyword].is_empty:
            setattr(ds, keyword, None)
    if ds.PatientSex not in (None, "M", "F", "O"):
        ds.PatientSex = None
    for keyword, parse in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        if not _is_readable(ds.get(keyword), parse):
            setattr(ds, keyword, None)
    ds.StudyInstanceUID = job.analysis.study_instance_uid
    return ds


def _is_readable(value: object, parse: type[DA] | type[TM]) -> bool:
    try:
        return value is None or parse(str(value)) is not None
    except (ValueError, TypeError, OverflowError):
        return False


def evidence(job: ReportJob, identity: Dataset) -> list[Dataset]:
    """Minimal datasets that name every analysed instance; the first carries the identity."""
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
    """Headers for the image library (TID 1600): the single-frame CT that findings lie on.

    Left out is what lacks an attribute that TID 1604 asks for. As evidence all images are named; to describe 300 of
    them one by one took 5 s and 1.1 MB of each report.
    """
    referenced = {record.finding.sop_instance_uid for record in job.findings}
    images = []
    for source in job.sources:
        if source.sop_class_uid != CTImageStorage or source.sop_instance_uid not in referenced:
            continue
        ds = dcmread(source.path, stop_before_pixels=True, specific_tags=list(LIBRARY_KEYWORDS))
        if all(keyword in ds and not ds[keyword].is_empty for keyword in LIBRARY_KEYWORDS):
            images.append(ds)
    return images


def content_moment(job: ReportJob) -> datetime:
    """When the analysis ended, in local time as DICOM's dates and times are."""
    return local_moment(job.analysis.finished_at or job.analysis.requested_at)


def local_moment(moment: datetime) -> datetime:
    """Bring a moment of the records into local time."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone()


def first_of(ds: Dataset, keyword: str, group: str) -> Any:
    """Look an attribute up in a single-frame image, or in the functional groups of a multi-frame one; None without."""
    holders = [ds]
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in ds.get(sequence) or []:
            holders += list(groups.get(group) or [])
    return next((holder[keyword].value for holder in holders if keyword in holder), None)


def header(job: ReportJob, named: ResultObject) -> dict[str, Any]:
    """Arguments that every result object of highdicom's takes: which one it is, of what series, and who made it."""
    return {
        "series_instance_uid": named.series_instance_uid,
        "series_number": KINDS[named.kind].series_number,
        "sop_instance_uid": named.sop_instance_uid,
        "instance_number": named.instance_number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": plain(job.analysis.model.name, 64),
        "software_versions": plain(job.software_version, 64),
        "device_serial_number": plain(job.station, 64),
        "series_description": SERIES_DESCRIPTION,
        "specific_character_set": None,
    }


def keep_character_set(ds: Dataset, identity: Dataset) -> None:
    """Encode as the source is: names keep the very bytes by which the PACS knows the patient, and ours are ASCII."""
    if "SpecificCharacterSet" in identity:
        ds.SpecificCharacterSet = identity.SpecificCharacterSet


def stamp(ds: Dataset, moment: datetime) -> None:
    """Date an object by its analysis, not by when it was written: writing it again gives the same bytes."""
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = date
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = time
    for equipment in ds.get("ContributingEquipmentSequence") or []:
        purpose = equipment.PurposeOfReferenceCodeSequence[0].CodeValue
        if purpose != ACQUISITION_EQUIPMENT and "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = date + time


def plain(text: str, limit: int = 1024) -> str:
    """Bring text of ours into the default character repertoire, so that the source's character set can be kept."""
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
