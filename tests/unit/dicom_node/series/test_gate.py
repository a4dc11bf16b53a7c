"""Series that are not analysed, and the reasons' texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from db.domain.caveats import Caveat
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.assembly import load_series
from dicom_node.series.gate import is_derived
from dicom_node.series.types import LoadedSeries, StoredInstance
from tests.support.factories import Defects, ct_series

SPACING_MM = (2.5, 0.7, 0.7)
PROCESS = DecodeProcess()
"""One child for all these tests; it starts with the first."""


@pytest.fixture(scope="module", autouse=True)
def _end_the_child() -> Iterator[None]:
    yield
    PROCESS.close()


CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def load(folder: Path, defects: Defects, **options: Any) -> LoadedSeries:
    size: dict[str, Any] = {"n": 24, "rows": 16, "spacing_mm": SPACING_MM}
    series = ct_series(folder, **(size | options), defects=defects)
    return load_series([StoredInstance("", path) for path in series.paths], process=PROCESS)


def different(ds: Dataset, index: int) -> None:
    if ds.InstanceNumber > 24:
        ds.PixelData = bytes(len(ds.PixelData))
    ds.InstanceNumber = index + 1


def only_in_slice_5(keyword: str, value: object) -> Any:
    def alter(ds: Dataset, index: int) -> None:
        if index == 5:
            setattr(ds, keyword, value)

    return alter


def every_second(ds: Dataset, index: int) -> None:
    ds.InstanceNumber = 2 * index + 1
    ds.SliceThickness = "1.25"


def larger_slice(ds: Dataset, index: int) -> None:
    if index == 5:
        ds.Rows = 32
        ds.PixelData = bytes(32 * 16 * 2)


def shifted_slice(ds: Dataset, index: int) -> None:
    if index == 5:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x + 9, y, z]


REFUSALS: list[tuple[str, Defects, dict[str, Any]]] = [
    ("not_ct", Defects(attributes={"Modality": "MR"}), {}),
    ("not_ct", Defects(attributes={"Modality": "PT"}), {}),
    ("not_ct", Defects(attributes={"SOPClassUID": SECONDARY_CAPTURE}), {}),
    ("localizer", Defects(attributes={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}), {}),
    ("derived", Defects(attributes={"ImageType": ["DERIVED", "SECONDARY", "MIP"]}), {}),
    ("derived", Defects(attributes={"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}), {}),
    ("derived", Defects(attributes={"ImageType": ["ORIGINAL", "SECONDARY", "SCREEN SAVE"]}), {}),
    ("derived", Defects(attributes={"ImageType": ["DERIVED", "PRIMARY", "MPR"]}), {}),
    ("derived", Defects(attributes={"ImageType": ["DERIVED", "PRIMARY"]}), {}),
    ("burned_in", Defects(attributes={"BurnedInAnnotation": "YES"}), {}),
    ("lossy", Defects(attributes={"LossyImageCompression": "01"}), {}),
    ("missing_rescale", Defects(missing=("RescaleSlope",)), {}),
    ("missing_rescale", Defects(missing=("RescaleIntercept",)), {}),
    ("missing_rescale", Defects(attributes={"RescaleIntercept": ""}), {}),
    ("invalid_rescale", Defects(attributes={"RescaleSlope": "0"}), {}),
    ("invalid_rescale", Defects(attributes={"RescaleSlope": "-1"}), {}),
    ("invalid_rescale", Defects(attributes={"RescaleSlope": "1000"}), {}),
    ("invalid_rescale", Defects(attributes={"RescaleIntercept": "1e9"}), {}),
    ("not_hounsfield", Defects(attributes={"RescaleType": "OD"}), {}),
    ("not_axial", Defects(orientation=CORONAL), {}),
    ("gantry_tilt", Defects(gantry_tilt_deg=12.0), {}),
    ("gaps", Defects(drop=(11,)), {}),
    ("gaps", Defects(drop=(3, 4, 17)), {}),
    ("gaps", Defects(alter=every_second), {}),
    ("repeated_positions", Defects(repeat=tuple(range(24)), alter=different), {}),
    ("mixed_size", Defects(alter=larger_slice), {}),
    ("shifted_slices", Defects(alter=shifted_slice), {}),
    ("mixed_orientation", Defects(alter=only_in_slice_5("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])), {}),
    ("mixed_pixel_spacing", Defects(alter=only_in_slice_5("PixelSpacing", ["0.8", "0.8"])), {}),
    ("mixed_frame_of_reference", Defects(alter=only_in_slice_5("FrameOfReferenceUID", "1.2.3.4")), {}),
    ("missing_rescale", Defects(alter=only_in_slice_5("RescaleSlope", None)), {}),
    ("no_geometry", Defects(missing=("ImagePositionPatient",)), {}),
    ("no_geometry", Defects(attributes={"ImageOrientationPatient": ["0"] * 6}), {}),
    ("no_pixel_spacing", Defects(missing=("PixelSpacing",)), {}),
    ("unsupported_pixels", Defects(attributes={"BitsStored": 24}), {}),
    ("unsupported_pixels", Defects(attributes={"SamplesPerPixel": 3}), {}),
    ("too_few_slices", Defects(), {"n": 8}),
    ("too_few_slices", Defects(), {"n": 1}),
    ("too_few_slices", Defects(), {"n": 24, "spacing_mm": (0.5, 0.7, 0.7)}),
    ("coarse_slices", Defects(), {"spacing_mm": (7.0, 0.7, 0.7)}),
    ("implausible_pixel_spacing", Defects(), {"spacing_mm": (2.5, 3.0, 3.0)}),
    ("implausible_pixel_spacing", Defects(), {"spacing_mm": (2.5, 0.05, 0.05)}),
    ("non_square_pixels", Defects(), {"spacing_mm": (2.5, 0.7, 0.9)}),
]


IMAGE_TYPES = [
    (r"ORIGINAL\PRIMARY\AXIAL", False),
    (r"ORIGINAL\SECONDARY\AXIAL", False),  # Toshiba and GE, retrospective reconstruction
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SPI", False),  # Siemens, spiral
    (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM7 SPI DUAL\STD\SNRG", False),
    (r"ORIGINAL\PRIMARY\AXIAL\HELIX", False),  # Philips
    (r"ORIGINAL\PRIMARY\AXIAL\VOLUME", False),  # Canon
    (r"ORIGINAL\PRIMARY\VOLUME\NONE", False),  # Enhanced CT
    (r"ORIGINAL\SECONDARY\AXIAL\CT_SOM5 SEQ", False),
    (r"ORIGINAL\PRIMARY", False),
    (r"DERIVED\PRIMARY\AXIAL", False),
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM7 SPI DUAL\DE_MIX", False),
    (r"DERIVED\SECONDARY\AXIAL", True),
    (r"DERIVED\PRIMARY", True),
    (r"DERIVED\SECONDARY\MPR", True),
    (r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", True),  # GE
    (r"DERIVED\SECONDARY\PROCESSED", True),
    (r"DERIVED\PRIMARY\VOLUME\MAXIMUM", True),
    (r"DERIVED\SECONDARY\PROJECTION IMAGE\MIP", True),
    (r"DERIVED\SECONDARY\AXIAL\CT_SOM5 MIP", True),
    (r"DERIVED\PRIMARY\AXIAL\CT_SOM5 MPR", True),
    (r"DERIVED\SECONDARY\VRT", True),
    (r"ORIGINAL\PRIMARY\MPR", True),
    (r"ORIGINAL\PRIMARY\AXIAL\MIN_IP", True),
    (r"ORIGINAL\SECONDARY\SCREEN SAVE", True),
    (r"ORIGINAL\SECONDARY\AXIAL\REFORMATTED", True),
]


def header(process: DecodeProcess, folder: Path, **attributes: Any) -> FrameHeader:
    series = ct_series(folder, n=1, rows=16, spacing_mm=SPACING_MM, defects=Defects(attributes=attributes))
    frames = process.headers(series.paths)[0]
    assert frames is not None
    return frames[0]


@pytest.mark.parametrize(("image_type", "is_refused"), IMAGE_TYPES)
def test_derivation_is_judged_by_value_1_and_by_words_for_reformats(
    tmp_path: Path, image_type: str, is_refused: bool
) -> None:
    assert is_derived(header(PROCESS, tmp_path, ImageType=image_type.split("\\"))) == is_refused


@pytest.mark.parametrize(("code", "is_refused"), [("113040", False), ("113072", True), ("113078", True)])
def test_derivation_is_judged_by_its_code_whatever_the_image_type(tmp_path: Path, code: str, is_refused: bool) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "any"
    assert is_derived(header(PROCESS, tmp_path, DerivationCodeSequence=[item])) == is_refused


def test_a_description_of_derivation_is_only_text(tmp_path: Path) -> None:
    assert not is_derived(header(PROCESS, tmp_path, DerivationDescription="MPR of the thin slices"))


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
@pytest.mark.parametrize(("code", "defects", "options"), REFUSALS)
def test_an_unfit_series_is_refused_with_a_code_and_a_sentence(
    tmp_path: Path, code: str, defects: Defects, options: dict[str, Any]
) -> None:
    with pytest.raises(UnfitImagesError) as refused:
        load(tmp_path, defects, **options)
    assert refused.value.reason.code == code
    assert refused.value.reason.text.endswith(".")
    assert len(refused.value.reason.text.split()) >= 5


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
@pytest.mark.parametrize(
    "defects",
    [
        Defects(attributes={"BodyPartExamined": "HEAD"}),
        Defects(missing=("BodyPartExamined",)),
        Defects(missing=("SliceThickness",)),
        Defects(missing=("RescaleType",)),
        Defects(missing=("InstanceNumber",)),
        Defects(attributes={"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}),
        Defects(attributes={"LossyImageCompression": "00"}),
        Defects(attributes={"PhotometricInterpretation": "MONOCHROME1"}),
        Defects(attributes={"PatientName": "x" * 80}),
        Defects(orientation=(0.9998, 0.02, 0.0, -0.02, 0.9998, 0.0)),
        Defects(orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
    ],
)
def test_what_does_not_change_the_hu_is_not_refused(tmp_path: Path, defects: Defects) -> None:
    load(tmp_path, defects)


def test_a_series_with_skipped_image_numbers_alone_carries_a_caveat(tmp_path: Path) -> None:
    def from_two(ds: Dataset, index: int) -> None:
        ds.InstanceNumber = index + 2

    assert load(tmp_path, Defects(alter=from_two)).caveats == (Caveat.IMAGE_NUMBERS_SKIP.stated(),)
