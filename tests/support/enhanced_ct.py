"""Enhanced CT Image Storage: all slices of the volume in one multi-frame instance (PS3.3 A.38)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from dicom_node.encoding.uids import derived_uid
from dicom_node.phantom.spec import Phantom
from dicom_node.phantom.writer import (
    RESCALE_INTERCEPT,
    SeriesIdentity,
    SeriesLayout,
    add_pixels,
    format_decimal,
    save_instance,
    series_common,
    stored_values,
)


def enhanced_instance(identity: SeriesIdentity, layout: SeriesLayout, volume_hu: NDArray[np.int16]) -> Dataset:
    """Return the multi-frame instance; frames go from feet to head."""
    ds = series_common(identity, layout)
    for moved in ("SliceThickness", "KVP", "ConvolutionKernel", "AcquisitionDate", "AcquisitionTime"):
        delattr(ds, moved)
    ds.SOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = derived_uid("phantom enhanced", identity.series_instance_uid)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.InstanceNumber = 1
    moment = f"{identity.study_date}{identity.study_time}"
    ds.AcquisitionDateTime = moment
    ds.AcquisitionDuration = 4.0
    ds.ContentQualification = "RESEARCH"
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PresentationLUTShape = "NO", "00", "IDENTITY"
    ds.AcquisitionContextSequence = Sequence()
    ds.NumberOfFrames = len(volume_hu)
    ds.SharedFunctionalGroupsSequence = Sequence([_shared_groups(layout)])
    event_uid = derived_uid("phantom irradiation event", identity.series_instance_uid)
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        _frame_groups(layout, index, moment, event_uid) for index in range(len(volume_hu))
    )
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = _dimensions(identity)
    add_pixels(ds, stored_values(volume_hu))
    return ds


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _shared_groups(layout: SeriesLayout) -> Dataset:
    thickness, *pixel = (format_decimal(part) for part in layout.spacing_mm)
    groups = Dataset()
    groups.PixelMeasuresSequence = [_item(PixelSpacing=pixel, SliceThickness=thickness)]
    groups.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=[format_decimal(part) for part in layout.orientation])
    ]
    region = _code("51185008", "SCT", "Chest")
    groups.FrameAnatomySequence = [_item(FrameLaterality="U", AnatomicRegionSequence=[region])]
    groups.PixelValueTransformationSequence = [
        _item(RescaleIntercept=str(RESCALE_INTERCEPT), RescaleSlope="1", RescaleType="HU")
    ]
    groups.FrameVOILUTSequence = [_item(WindowCenter="-600", WindowWidth="1500")]
    groups.CTImageFrameTypeSequence = [
        _item(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE",
        )
    ]  # fmt: skip
    groups.CTAcquisitionTypeSequence = [_item(AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")]
    # PS3.3 C.8.15.3: an original image names its tube, table and exposure; this tube is as generated as the patient
    groups.CTAcquisitionDetailsSequence = [
        _item(
            RotationDirection="CW", RevolutionTime=0.5, SingleCollimationWidth=0.6, TotalCollimationWidth=38.4,
            TableHeight=150.0, GantryDetectorTilt=0.0, DataCollectionDiameter=500.0,
        )
    ]  # fmt: skip
    groups.CTTableDynamicsSequence = [_item(TableSpeed=92.0, TableFeedPerRotation=46.0, SpiralPitchFactor=1.2)]
    groups.CTGeometrySequence = [_item(DistanceSourceToDetector=1085.0, DistanceSourceToDataCollectionCenter=595.0)]
    groups.CTExposureSequence = [
        _item(
            ExposureTimeInms=500.0, XRayTubeCurrentInmA=120.0, ExposureInmAs=60.0, CTDIvol=4.0,
            ExposureModulationType="NONE",
        )
    ]  # fmt: skip
    groups.CTReconstructionSequence = [
        _item(
            ReconstructionAlgorithm="FILTER_BACK_PROJ", ConvolutionKernel=layout.kernel,
            ConvolutionKernelGroup="LUNG", ReconstructionDiameter=360.0, ReconstructionAngle=360.0,
            ReconstructionPixelSpacing=[float(part) for part in pixel], ImageFilter=layout.kernel,
        )
    ]  # fmt: skip
    groups.CTXRayDetailsSequence = [_item(KVP="120", FocalSpots=[1.0], FilterType="FLAT", FilterMaterial="ALUMINUM")]
    return groups


def _frame_groups(layout: SeriesLayout, index: int, moment: str, event_uid: str) -> Dataset:
    content = _item(
        FrameAcquisitionNumber=1, FrameReferenceDateTime=moment, FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=4000.0, StackID="1", InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )  # fmt: skip
    position_mm = layout.position_mm(index)
    z_mm = position_mm[2]
    center = [0.0, 0.0, z_mm]
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=[format_decimal(part) for part in position_mm])],
        IrradiationEventIdentificationSequence=[_item(IrradiationEventUID=event_uid)],
        CTPositionSequence=[
            _item(
                TablePosition=position_mm[2],
                DataCollectionCenterPatient=center,
                ReconstructionTargetCenterPatient=center,
            )
        ],
    )


def _dimensions(identity: SeriesIdentity) -> tuple[Sequence, Sequence]:
    uid = derived_uid("phantom dimensions", identity.series_instance_uid)
    frame_content = 0x00209111
    indices = [
        _item(DimensionOrganizationUID=uid, DimensionIndexPointer=pointer, FunctionalGroupPointer=frame_content)
        for pointer in (0x00209056, 0x00209057)
    ]
    return Sequence([_item(DimensionOrganizationUID=uid)]), Sequence(indices)


def write_enhanced(phantom: Phantom, folder: Path, transfer_syntax: str = "explicit") -> Path:
    """Write a phantom as one instance into ``folder``, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = SeriesIdentity().resolved(repr(phantom.spec))
    layout = SeriesLayout(phantom.spacing_mm, phantom.origin_mm, kernel=phantom.spec.kernel.upper())
    ds = enhanced_instance(identity, layout, phantom.volume_hu)
    return save_instance(ds, folder / "enhanced.dcm", transfer_syntax)
