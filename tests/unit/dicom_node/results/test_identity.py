"""Results are made whatever a sender wrote, and are of the same patient and study, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.results.child import make_results
from dicom_node.results.identity import IDENTITY, repair, source_header
from dicom_node.results.job import ReportJob
from tests.support.factories import CtSeries, SimpleNodule, ct_series
from tests.unit.dicom_node.results.test_objects import finding, groups_of, job_of

NODULE = SimpleNodule((6.0, 20.0, 14.0), 14.0)
JAPANESE = b"YAMADA^TARO=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
KOREAN = b"HONG^GILDONG=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"

ODD: dict[str, dict[str, bytes]] = {
    "two names": {"PatientName": b"DOE^JOHN\\DOE^JON"},
    "three names, one empty": {"PatientName": b"DOE^JOHN\\\\X"},
    "two referring physicians": {"ReferringPhysicianName": b"A^B\\C^D"},
    "backslash in the patient id": {"PatientID": b"P\\1"},
    "backslash in the accession number": {"AccessionNumber": b"A1\\A2"},
    "backslash in the study id": {"StudyID": b"1\\2"},
    "backslash in the issuer": {"IssuerOfPatientID": b"H\\K"},
    "backslashes in descriptions": {"StudyDescription": b"CHEST\\PELVIS", "SeriesDescription": b"LUNG\\1.0 "},
    "backslash in the institution": {"InstitutionName": b"HOSPITAL \\ RADIOLOGY", "StationName": b"CT\\1"},
    "backslash in the manufacturer": {
        "Manufacturer": b"A\\B",
        "SoftwareVersions": b"1\\2",
        "DeviceSerialNumber": b"1\\2",
    },
    "commas in numbers": {"PatientWeight": b"80,5", "PatientSize": b"1,75", "PatientAge": b"45"},
    "numbers that are none": {"PatientWeight": b"NaN ", "PatientSize": b"inf ", "SliceThickness": b"nan "},
    "numbers that are words": {"PatientWeight": b"heavy ", "SeriesNumber": b"two ", "InstanceNumber": b"1.5 "},
    "too many numbers": {"PatientWeight": b"80\\81", "PixelSpacing": b"0.7\\0.7\\0.7"},
    "long numbers": {"PatientWeight": b"80.123456789012345678", "SeriesNumber": b"99999999999999"},
    "decimals in integers": {"SeriesNumber": b"2.0 ", "InstanceNumber": b"1.0 "},
    "Latin-1": {"SpecificCharacterSet": b"ISO_IR 100", "PatientName": b"M\xdcLLER^J\xd6RG"},
    "Latin-1, not declared": {"SpecificCharacterSet": b"", "PatientName": b"M\xdcLLER^J\xd6RG"},
    "Latin-1 in UTF-8": {"SpecificCharacterSet": b"ISO_IR 192", "PatientName": b"M\xdcLLER^J "},
    "Latin-1 under a misspelt term": {"SpecificCharacterSet": b"ISO-IR 100", "PatientName": b"M\xdcLLER^J "},
    "UTF-8 under a name of its own": {"SpecificCharacterSet": b"UTF-8 ", "PatientName": "MÜLLER^J".encode()},
    "an unknown character set": {"SpecificCharacterSet": b"FOO ", "PatientName": b"M\xdcLLER^J "},
    "a known and an unknown set": {"SpecificCharacterSet": b"ISO_IR 100\\FOO ", "PatientName": b"M\xdcLLER^J "},
    "GB18030": {"SpecificCharacterSet": b"GB18030 ", "PatientName": b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"},
    "GBK": {"SpecificCharacterSet": b"GBK ", "PatientName": b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"},
    "Japanese": {"SpecificCharacterSet": b"\\ISO 2022 IR 87", "PatientName": JAPANESE},
    "Korean": {"SpecificCharacterSet": b"\\ISO 2022 IR 149", "PatientName": KOREAN},
    "Cyrillic": {"SpecificCharacterSet": b"ISO_IR 144", "PatientName": b"\xbb\xee\xdakceMB\xdapg"},
    "a broken escape": {"SpecificCharacterSet": b"\\ISO 2022 IR 87", "PatientName": b"A^B=\x1b$B;3ED"},
    "an escape that was not declared": {"SpecificCharacterSet": b"ISO_IR 100", "PatientName": b"A^B=\x1b$B;3ED\x1b(B"},
    "long identifiers": {"StudyID": b"1" * 40, "AccessionNumber": b"A" * 40, "PatientID": b"P" * 80},
    "a long name": {"PatientName": b"A" * 200 + b"^" + b"B" * 100},
    "long groups": {"PatientName": b"=".join([b"A" * 80] * 3)},
    "five groups": {"PatientName": b"A^B=C^D=E^F=G^H=I^J"},
    "nine components": {"PatientName": b"A^B^C^D^E^F^G^H^I"},
    "only delimiters": {"PatientName": b"^^^^", "ReferringPhysicianName": b"=="},
    "line breaks": {"PatientName": b"DOE^JANE\r\n", "StudyDescription": b"CHEST\r\nCT"},
    "control characters": {"PatientID": b"P\x01\x02", "InstitutionName": b"H\x00K\x07", "StudyDescription": b"\x1bX"},
    "a sex in words": {"PatientSex": b"Male"},
    "a sex that is none": {"PatientSex": b"X "},
    "two sexes": {"PatientSex": b"M\\F "},
    "impossible dates": {"StudyDate": b"20250230", "StudyTime": b"10:61 ", "PatientBirthDate": b"1960"},
    "dates of zeros": {"StudyDate": b"00000000", "PatientBirthDate": b"00000000", "StudyTime": b"000000.000000"},
    "dates as of old": {"StudyDate": b"2025.02.03", "StudyTime": b"10:11:12", "PatientBirthDate": b"1960-01-01"},
    "ages that are none": {"PatientAge": b"0450Y "},
    "blanks": {"StudyDate": b"        ", "PatientBirthDate": b"  ", "PatientName": b"  ", "PatientID": b"  "},
    "fine fractions": {"StudyTime": b"091500.1234567 "},
    "empty sequences": {"ProcedureCodeSequence": b"", "RequestAttributesSequence": b"", "ReferencedStudySequence": b""},
    "bad UIDs": {"FrameOfReferenceUID": b"1.2.x.4 ", "SynchronizationFrameOfReferenceUID": b"." * 70},
    "long texts": {"AdditionalPatientHistory": b"x" * 20000, "PatientComments": b"y" * 20000, "Occupation": b"z" * 300},
    "other ids": {"OtherPatientIDs": b"A\\B\\" + b"C" * 100, "OtherPatientNames": b"A^B\\" + b"C" * 100},
    "many physicians": {"PhysiciansOfRecord": b"A^B\\C^D", "NameOfPhysiciansReadingStudy": b"=^\\X"},
    "bad image type": {"ImageType": b"original\\primary\\axial", "BodyPartExamined": b"chest?! "},
    "bad kernels": {"ConvolutionKernel": b"a b\\" + b"K" * 40, "ScanOptions": b"x" * 40},
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CtSeries:
    return ct_series(tmp_path_factory.mktemp("series"), n=12, rows=40, nodules=(NODULE,))


def changed(series: CtSeries, folder: Path, odd: dict[str, bytes]) -> CtSeries:
    """The same series with raw values written into every file."""
    from dataclasses import replace

    folder.mkdir()
    paths = []
    for path in series.paths:
        ds = pydicom.dcmread(path)
        for keyword, value in odd.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            even = value + b" " * (len(value) % 2)
            ds[tag] = RawDataElement(Tag(tag), dictionary_VR(tag), len(even), even, 0, False, True)
        ds.set_original_encoding(False, True, ds._character_set)  # so that raw values are written as they are
        ds.save_as(folder / path.name)
        paths.append(folder / path.name)
    return replace(series, paths=tuple(paths))


def made_of(job: ReportJob) -> list[Dataset]:
    objects = make_results(job)
    assert objects.failures == {}
    return [pydicom.dcmread(job.folder / one.path) for one in objects.objects]


def raw_of(ds: Dataset, keyword: str) -> bytes:
    element = ds.get_item(keyword)
    return (element.value or b"").strip(b" \x00") if isinstance(element, RawDataElement) else b""


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("ignore")
def test_results_are_made_and_bear_the_identity_as_received(
    series: CtSeries, tmp_path: Path, odd: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)  # as in the making process
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    own = changed(series, tmp_path / "odd", odd)
    source = pydicom.dcmread(own.paths[0], stop_before_pixels=True)
    expected = {keyword: raw_of(source, keyword) for keyword in IDENTITY}
    with_finding = made_of(job_of(own, tmp_path / "r", finding(own), kinds=("pr",)))
    without = made_of(job_of(own, tmp_path / "s", kinds=("sc",)))
    assert [ds.Modality for ds in (*with_finding, *without)] == ["SR", "PR", "SR", "OT"]
    for ds in (*with_finding, *without):
        assert {keyword: raw_of(ds, keyword) for keyword in IDENTITY} == expected
        assert ds.StudyInstanceUID == own.study_instance_uid
        assert_conforms(ds)


def assert_conforms(ds: Dataset) -> None:
    """Whatever is no identity needs no repair, and is not left out by one."""
    for keyword in IDENTITY:
        if keyword in ds:
            del ds[keyword]
    checked = [tag for tag in ds.keys() if tag.group in (0x0008, 0x0010, 0x0020)]  # noqa: SIM118
    before = {tag: str(ds[tag].value) for tag in checked}
    repair(ds)
    contents = {tag: str(ds[tag].value) for tag in checked if tag in ds}
    assert {tag: text for tag, text in before.items() if text not in ("", "None", "[]")} == {
        tag: text for tag, text in contents.items() if text not in ("", "None", "[]")
    }


@pytest.mark.parametrize(
    ("keyword", "received", "repaired"),
    [
        ("PatientSex", b"Male", "M"),
        ("PatientSex", b"f ", "F"),
        ("PatientSex", b"X ", None),
        ("PatientWeight", b"80,5", 80.5),
        ("PatientWeight", b"nan ", None),
        ("PatientAge", b"045Y", "045Y"),
        ("PatientAge", b"45", None),
        ("StudyDate", b"20250230", None),
        ("StudyDate", b"20250228", "20250228"),
        ("StudyTime", b"091500.1234567 ", "091500.123456"),
        ("StudyDescription", b"CHEST\\PELVIS", "CHEST PELVIS"),
        ("StudyDescription", b"CHEST\r\nCT", "CHEST CT"),
        ("StudyDescription", b"x" * 80, "x" * 64),
        ("AccessionNumber", b"A" * 20, "A" * 16),
        ("PatientName", b"A^B\\C^D ", "A^B"),
        ("PatientName", b"A^B=C^D=E^F=G^H=I", "A^B=C^D=E^F"),
        ("PatientName", b"A" * 70 + b"^B", "A" * 64),
        ("SeriesNumber", b"2.0 ", 2),
        ("ImagePositionPatient", b"1\\x\\3 ", None),
        ("PixelSpacing", b"0.7\\0.7 ", [0.7, 0.7]),
        ("FrameOfReferenceUID", b"1.2.x ", None),
        ("InstitutionName", b"HOSPITAL \\ KLINIK", "HOSPITAL KLINIK"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_value_is_repaired_or_left_out(keyword: str, received: bytes, repaired: object) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    ds = Dataset()
    ds[tag] = RawDataElement(Tag(tag), dictionary_VR(tag), len(received), received, 0, False, True)
    header = source_header(ds)
    value = header[tag].value if tag in header else None
    assert (list(value or ()) if isinstance(repaired, list) else value) == repaired


def test_private_elements_and_what_no_dictionary_knows_are_left_out() -> None:
    ds = Dataset()
    ds.add_new(0x00091001, "LO", "secret")
    ds.add_new(0x00080007, "LO", "x")
    ds.PatientID = "P"
    assert [element.keyword for element in source_header(ds)] == ["PatientID"]


@pytest.mark.filterwarnings("ignore")
def test_an_identity_that_is_too_long_is_cut_and_the_report_says_so(series: CtSeries, tmp_path: Path) -> None:
    own = changed(series, tmp_path / "odd", {"PatientID": b"P" * 3000})
    sr = made_of(job_of(own, tmp_path / "r", kinds=()))[0]
    assert sr.PatientID == "P" * 64
    texts = [item.TextValue for item in groups_of(sr)[0].ContentSequence if item.ValueType == "TEXT"]
    assert "Patient ID of the source is too long and was cut." in texts
