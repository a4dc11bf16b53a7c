"""A series becomes a volume whose voxels have their HU and their place, whatever the order and coding of its files."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, LegacyConvertedEnhancedCTImageStorage

from db.domain.reasons import Reason
from dicom_node.encoding.errors import RefusedError, UnfitImagesError
from dicom_node.phantom.writer import TRANSFER_SYNTAXES, SeriesIdentity, SeriesLayout, save_instance
from dicom_node.sandbox.decode_process import DecodeLimits, DecodeProcess
from dicom_node.series.assembly import load_frame_hu, load_series, series_geometry
from dicom_node.series.types import LoadedSeries, StoredInstance
from tests.support.enhanced_ct import enhanced_instance
from tests.support.factories import CtSeries, Defects, ct_series

SPACING_MM = (2.5, 0.7, 0.7)
PROCESS = DecodeProcess()
"""One child for all these tests; it starts with the first."""


@pytest.fixture(scope="module", autouse=True)
def _end_the_child() -> Iterator[None]:
    yield
    PROCESS.close()


def small_series(folder: Path, **options: Any) -> CtSeries:
    size: dict[str, Any] = {"n": 20, "rows": 32, "columns": 40, "spacing_mm": SPACING_MM}
    return ct_series(folder, **(size | options))


def stored(series: CtSeries | Path) -> list[StoredInstance]:
    folder = series if isinstance(series, Path) else series.folder
    instances = [StoredInstance("", path) for path in folder.glob("*.dcm")]
    random.Random(5).shuffle(instances)
    return instances


def loaded(series: CtSeries | Path) -> LoadedSeries:
    return load_series(stored(series), process=PROCESS)


def test_the_volume_has_the_hu_and_the_geometry_that_were_written(tmp_path: Path) -> None:
    series = small_series(tmp_path, shuffle=True)
    result = loaded(series)
    np.testing.assert_array_equal(result.volume.volume_hu, series.volume_hu)
    assert result.volume.volume_hu.dtype == np.int16
    np.testing.assert_allclose(result.volume.affine, series.affine, atol=1e-5)
    np.testing.assert_allclose(result.volume.spacing_mm, SPACING_MM, atol=1e-6)
    assert [s.sop_instance_uid for s in result.geometry.slices] == list(series.sop_instance_uids)
    assert result.volume.position_mm((3, 4, 5)) == pytest.approx(series.position_mm((3, 4, 5)), abs=1e-4)


def test_slices_go_from_feet_to_head_also_where_the_normal_points_down(tmp_path: Path) -> None:
    # feet first, prone: columns run to the patient's left, rows to the front, so the stored normal points to the feet
    series = small_series(tmp_path, defects=Defects(orientation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)))
    result = loaded(series)
    heights = [s.position_mm[2] for s in result.geometry.slices]
    assert heights == sorted(heights)
    np.testing.assert_array_equal(result.volume.volume_hu, series.volume_hu[::-1])
    for index in ((0, 0, 0), (7, 3, 9)):
        mirrored = (len(heights) - 1 - index[0], *index[1:])
        assert result.volume.position_mm(index) == pytest.approx(series.position_mm(mirrored), abs=1e-4)


@pytest.mark.parametrize("syntax", sorted(TRANSFER_SYNTAXES))
def test_every_lossless_transfer_syntax_gives_the_same_hu(tmp_path: Path, syntax: str) -> None:
    series = small_series(tmp_path, transfer_syntax=syntax)
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14,
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
        gdcm.TransferSyntax.RLELossless,
    ],
)
def test_what_another_encoder_wrote_gives_the_same_hu(tmp_path: Path, syntax: int, signed: bool) -> None:
    series = small_series(tmp_path, defects=Defects(alter=as_signed if signed else None))
    for path in series.paths:
        transcode(path, syntax)
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


def test_big_endian_gives_the_same_hu(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    for path in series.paths:
        ds = pydicom.dcmread(path)
        swapped = Dataset({element.tag: element for element in ds})
        swapped.PixelData = ds.pixel_array.astype(">u2").tobytes()
        swapped.file_meta = ds.file_meta
        swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        swapped.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


def as_signed(ds: Dataset, _index: int) -> None:
    """HU as 16-bit signed values under intercept 0."""
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) - 1024
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 16, 15, 1, "0"
    ds.PixelData = values.astype("<i2").tobytes()


def as_signed_12_bit_with_overlay(ds: Dataset, _index: int) -> None:
    """12-bit signed values whose four unused bits are set, as old overlays were stored."""
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) - 2048
    ds.PixelRepresentation, ds.RescaleIntercept = 1, "1024"
    ds.PixelData = ((values & 0x0FFF) | 0x5000).astype("<u2").tobytes()


def per_slice_rescale(ds: Dataset, index: int) -> None:
    """Another slope and intercept in every slice, as some PET-CT and dual-energy scanners write."""
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) - 1024
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", str(-1024 - index)
    ds.PixelData = ((values + 1024 + index) * 2).astype("<u2").tobytes()
    ds.BitsStored, ds.HighBit = 16, 15


@pytest.mark.parametrize("alter", [as_signed, as_signed_12_bit_with_overlay, per_slice_rescale])
def test_stored_values_are_read_as_their_headers_say(tmp_path: Path, alter: Callable[[Dataset, int], None]) -> None:
    series = small_series(tmp_path, defects=Defects(alter=alter))
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


@pytest.mark.parametrize("padding", [-2000, 63536])
def test_padding_becomes_air_whichever_way_its_value_is_written(tmp_path: Path, padding: int) -> None:
    def pad(ds: Dataset, index: int) -> None:
        as_signed(ds, index)
        values = np.frombuffer(ds.PixelData, "<i2").copy()
        values[:40] = -2000
        ds.PixelData = values.tobytes()
        ds.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)

    volume = loaded(small_series(tmp_path, defects=Defects(alter=pad))).volume.volume_hu
    assert (volume[:, 0] == -1024).all()


def test_a_padding_range_becomes_air(tmp_path: Path) -> None:
    def pad(ds: Dataset, _index: int) -> None:
        values = np.frombuffer(ds.PixelData, "<u2").copy()
        values[:40] = np.arange(4000, 4040)
        ds.PixelData = values.tobytes()
        ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 4095, 4000

    volume = loaded(small_series(tmp_path, defects=Defects(alter=pad))).volume.volume_hu
    assert (volume[:, 0] == -1024).all()


def test_hu_beyond_the_scale_are_clipped(tmp_path: Path) -> None:
    def metal(ds: Dataset, _index: int) -> None:
        as_signed(ds, 0)
        values = np.frombuffer(ds.PixelData, "<i2").copy()
        values[:2] = (30000, -3024)
        ds.PixelData = values.tobytes()

    volume = loaded(small_series(tmp_path, defects=Defects(alter=metal))).volume.volume_hu
    assert volume[0, 0, :2].tolist() == [3071, -1024]


def write_enhanced(folder: Path, volume_hu: NDArray[np.int16]) -> Dataset:
    folder.mkdir(exist_ok=True)
    layout = SeriesLayout(SPACING_MM, (-10.0, -20.0, -30.0))
    return enhanced_instance(SeriesIdentity(uid_seed="enhanced").resolved(""), layout, volume_hu)


@pytest.mark.parametrize("syntax", ["explicit", "deflated", "j2k", "rle", "jpegls"])
def test_an_enhanced_ct_gives_the_same_volume_as_single_frames(tmp_path: Path, syntax: str) -> None:
    series = small_series(tmp_path / "single")
    ds = write_enhanced(tmp_path / "enhanced", series.volume_hu)
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    order = np.random.default_rng(1).permutation(len(groups))
    ds.PerFrameFunctionalGroupsSequence = Sequence([groups[i] for i in order])
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").reshape(len(order), -1)[order].tobytes()
    save_instance(ds, tmp_path / "enhanced" / "one.dcm", syntax)
    result = loaded(tmp_path / "enhanced")
    np.testing.assert_array_equal(result.volume.volume_hu, series.volume_hu)
    assert result.volume.position_mm((0, 0, 0)) == pytest.approx((-10.0, -20.0, -30.0))
    assert [s.frame_number for s in result.geometry.slices] == [
        int(np.argwhere(order == i)[0, 0]) + 1 for i in range(20)
    ]
    assert result.attributes["SliceThickness"] == "2.5"


def test_a_legacy_converted_ct_with_its_own_rescale_per_frame_is_read(tmp_path: Path) -> None:
    series = small_series(tmp_path / "single")
    ds = write_enhanced(tmp_path / "legacy", series.volume_hu)
    ds.SOPClassUID = LegacyConvertedEnhancedCTImageStorage
    shared = ds.SharedFunctionalGroupsSequence[0]
    for name in ("PixelValueTransformationSequence", "PixelMeasuresSequence", "PlaneOrientationSequence"):
        for groups in ds.PerFrameFunctionalGroupsSequence:
            setattr(groups, name, shared[name].value)
        delattr(shared, name)
    save_instance(ds, tmp_path / "legacy" / "one.dcm")
    np.testing.assert_array_equal(loaded(tmp_path / "legacy").volume.volume_hu, series.volume_hu)


def test_identical_copies_are_read_once(tmp_path: Path) -> None:
    series = small_series(tmp_path, defects=Defects(repeat=tuple(range(20))))
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


def test_one_overlapping_table_position_is_read_by_image_number(tmp_path: Path) -> None:
    def brighter(ds: Dataset, _index: int) -> None:
        if ds.InstanceNumber > 20:
            ds.PixelData = np.full(32 * 40, 2000, "<u2").tobytes()

    series = small_series(tmp_path, defects=Defects(repeat=(7,), alter=brighter))
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


def test_a_scout_inside_the_series_is_left_out(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    ds = pydicom.dcmread(series.paths[0])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.9"
    ds.save_as(tmp_path / "scout.dcm")
    np.testing.assert_array_equal(loaded(series).volume.volume_hu, series.volume_hu)


def test_a_truncated_file_is_refused_in_words(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    series.paths[3].write_bytes(series.paths[3].read_bytes()[:-500])
    assert refused(series).code == "unreadable"


def test_a_file_that_is_no_dicom_is_refused_in_words(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    series.paths[3].write_bytes(b"nothing of the kind" * 50)
    assert refused(series).code == "unreadable_headers"


def refused(series: CtSeries) -> Reason:
    with pytest.raises(RefusedError) as error:
        load_series(stored(series), process=PROCESS)
    assert len(error.value.reason.text) > 20
    return error.value.reason


def test_a_series_too_large_to_analyse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitImagesError) as error:
        load_series(stored(small_series(tmp_path)), DecodeLimits(max_voxels=1000))
    assert error.value.reason.code == "too_large"
    assert error.value.attributes["Manufacturer"] == "lungnode phantom"


def test_attributes_describe_the_acquisition_and_no_patient(tmp_path: Path) -> None:
    result = loaded(small_series(tmp_path))
    assert result.attributes["Manufacturer"] == "lungnode phantom"
    assert not {"PatientName", "PatientID", "StudyInstanceUID"} & set(result.attributes)


def test_a_viewer_gets_the_geometry_of_a_series_that_is_not_analysed(tmp_path: Path) -> None:
    series = small_series(tmp_path, n=3)
    with DecodeProcess() as process:
        geometry = series_geometry(stored(series), process)
    assert [s.sop_instance_uid for s in geometry.slices] == list(series.sop_instance_uids)


def test_a_viewer_gets_one_frame(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    ds = write_enhanced(tmp_path / "enhanced", series.volume_hu)
    path = save_instance(ds, tmp_path / "enhanced" / "one.dcm", "rle")
    with DecodeProcess() as process:
        frames = process.headers([path])[0] or ()
        np.testing.assert_array_equal(load_frame_hu(frames[4], process), series.volume_hu[4])
        with pytest.raises(UnfitImagesError) as error:
            load_frame_hu(replace(frames[4], slope=None), process)
        assert error.value.reason.code == "missing_rescale"


@pytest.fixture(scope="session")
def lidc_series(research_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack a patient of the research data; skips where it is absent."""

    def unpack(patient: str) -> Path:
        archive = research_data / "lidc_idri_dicom" / f"{patient}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"{archive.name} is absent")
        folder = tmp_path_factory.mktemp("lidc")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        return next(path.parent for path in folder.rglob("*.dcm"))

    return unpack


@pytest.mark.data
@pytest.mark.parametrize(("patient", "count"), [("LIDC-IDRI-0001", 133), ("LIDC-IDRI-0306", 123)])
def test_a_real_series_equals_plain_reading(lidc_series: Callable[[str], Path], patient: str, count: int) -> None:
    folder = lidc_series(patient)
    result = loaded(folder)
    datasets = sorted((pydicom.dcmread(p) for p in folder.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2])
    assert len(datasets) == count == len(result.geometry.slices)
    for index in (0, count // 2, count - 1):
        ds = datasets[index]
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        inside = ds.pixel_array > -2000
        np.testing.assert_array_equal(result.volume.volume_hu[index][inside], np.clip(hu[inside], -1024, 3071))
        assert result.volume.position_mm((index, 0, 0)) == pytest.approx(tuple(ds.ImagePositionPatient), abs=0.01)
        assert (result.volume.volume_hu[index][~inside] == -1024).all()
    assert result.volume.spacing_mm == pytest.approx((2.5, *datasets[0].PixelSpacing), abs=1e-5)


def transcode(path: Path, syntax: int) -> None:
    """Rewrite a file in another transfer syntax by GDCM, a second implementation of every codec."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
