"""CT Image Storage instances of a volume (PS3.3 A.3), and their files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.encoding.uids import derived_uid

SERIES_DESCRIPTION = "GENERATED PHANTOM NOT A PATIENT"
"""At most 64 characters (VR LO); every series of a phantom carries it."""

TRANSFER_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "j2k": JPEG2000Lossless,
}
"""Short names of the transfer syntaxes that can be written; all lossless."""

RESCALE_INTERCEPT = -1024
IMPLEMENTATION_UID = derived_uid("lungnode", "implementation", "phantom")


@dataclass(frozen=True, slots=True)
class SeriesIdentity:
    """Identity of the series; empty UIDs are derived from the volume's ``uid_seed``."""

    patient_name: str = "PHANTOM^LUNGNODE"
    patient_id: str = "PHANTOM-1"
    patient_birth_date: str = "19600101"
    patient_sex: str = "O"
    accession_number: str = "PHANTOM1"
    study_description: str = "CHEST CT"
    series_description: str = SERIES_DESCRIPTION
    study_date: str = "20260105"
    study_time: str = "091500"
    study_id: str = "1"
    series_number: int = 2
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    uid_seed: str = ""

    def resolved(self, uid_seed: str) -> SeriesIdentity:
        """Return a copy with empty UIDs filled in."""
        seed = self.uid_seed or uid_seed
        study = self.study_instance_uid or derived_uid("phantom study", seed, self.patient_id, self.accession_number)
        series = self.series_instance_uid or derived_uid("phantom series", study, seed, str(self.series_number))
        return replace(self, study_instance_uid=study, series_instance_uid=series, uid_seed=seed)


@dataclass(frozen=True, slots=True)
class SeriesLayout:
    """Position of the voxels of a series (LPS, mm); ``spacing_mm`` is ``(slice, row, column)``."""

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    step_mm: tuple[float, float, float] | None = None
    """From one slice to the next; None is along the normal."""
    kernel: str = "STANDARD"
    attributes: dict[str, object] = field(default_factory=dict)
    """Further attributes of every instance, by keyword."""

    def position_mm(self, index: int) -> tuple[float, float, float]:
        """Return the Image Position (Patient) of a slice."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        step = normal * self.spacing_mm[0] if self.step_mm is None else np.array(self.step_mm)
        x, y, z = np.array(self.origin_mm) + index * step
        return float(x), float(y), float(z)


def series_common(identity: SeriesIdentity, layout: SeriesLayout) -> Dataset:
    """Return the attributes that all instances share: patient, study, series, equipment."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = identity.study_date
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = identity.study_time
    ds.AccessionNumber = identity.accession_number
    ds.Modality = "CT"
    ds.Manufacturer = "lungnode phantom"
    ds.ManufacturerModelName = "Generated chest"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = identity.study_description
    ds.SeriesDescription = identity.series_description
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = identity.patient_birth_date
    ds.PatientSex = identity.patient_sex
    ds.BodyPartExamined = "CHEST"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = identity.study_instance_uid
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.StudyID = identity.study_id
    ds.SeriesNumber = identity.series_number
    ds.FrameOfReferenceUID = derived_uid("phantom frame of reference", identity.series_instance_uid)
    ds.PositionReferenceIndicator = ""
    ds.SliceThickness = format_decimal(layout.spacing_mm[0])
    ds.KVP = "120"
    ds.ConvolutionKernel = layout.kernel
    for keyword, value in layout.attributes.items():
        setattr(ds, keyword, value)
    return ds


def format_decimal(value: float) -> str:
    """Format a number as VR DS: at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def stored_values(slice_hu: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Convert HU into 12-bit stored values under the series' rescale intercept."""
    return np.clip(slice_hu.astype(np.int32) - RESCALE_INTERCEPT, 0, 4095).astype(np.uint16)


def add_pixels(ds: Dataset, values: NDArray[np.uint16]) -> None:
    """Add 12-bit unsigned pixels and their description to a dataset."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = values.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def slice_instance(common: Dataset, layout: SeriesLayout, slice_hu: NDArray[np.int16], index: int) -> Dataset:
    """Return the CT Image Storage instance of one slice (PS3.3 A.3)."""
    ds = Dataset()
    ds.update(common)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = derived_uid("phantom instance", common.SeriesInstanceUID, str(index))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = index + 1
    position = layout.position_mm(index)
    ds.ImagePositionPatient = [format_decimal(part) for part in position]
    ds.ImageOrientationPatient = [format_decimal(part) for part in layout.orientation]
    ds.SliceLocation = format_decimal(position[2])
    ds.PixelSpacing = [format_decimal(part) for part in layout.spacing_mm[1:]]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(RESCALE_INTERCEPT), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = ["-600", "40"], ["1500", "400"]
    add_pixels(ds, stored_values(slice_hu))
    return ds


def save_instance(ds: Dataset, path: Path, transfer_syntax: str = "explicit") -> Path:
    """Write a dataset as a DICOM file (PS3.10) in one of ``TRANSFER_SYNTAXES``, compressed where it requires."""
    uid = TRANSFER_SYNTAXES[transfer_syntax]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if uid.is_compressed and not uid.is_deflated else uid
    ds.file_meta = meta
    if uid.is_encapsulated:
        ds.compress(uid, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path
