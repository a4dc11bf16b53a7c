from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from db.domain.uids import is_uid
from dicom_node.encoding import elements
from dicom_node.encoding.elements import Encoding, FileSource, MemorySource, WalkLimits, walk_elements
from dicom_node.encoding.errors import (
    DatasetTooDeepError,
    DatasetTooLongError,
    HeaderError,
    InvalidAttributeError,
    MalformedElementError,
    MissingAttributeError,
    TruncatedDatasetError,
)
from dicom_node.encoding.header import _HEADER_TAGS, InstanceHeader, read_header
from dicom_node.encoding.part10 import FileMeta, encode_file_meta, read_file_meta
from dicom_node.encoding.text import character_encodings, decode_text
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.support.intake import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, ct_dataset, encoded

NATIVE = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)


def header_of(content: bytes, transfer_syntax: str = EXPLICIT, limits: WalkLimits | None = None) -> InstanceHeader:
    return read_header(MemorySource(content), TRANSFER_SYNTAXES[transfer_syntax], limits)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def nested(depth: int) -> bytes:
    opening = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def spliced(extra: bytes) -> bytes:
    """A valid dataset with something more before its Pixel Data."""
    content = encoded(ct_dataset())
    at = content.rindex(b"\xe0\x7f\x10\x00")
    return content[:at] + extra + content[at:]


@pytest.mark.parametrize("transfer_syntax", NATIVE)
def test_every_native_encoding_gives_the_same_header(transfer_syntax: str) -> None:
    header = header_of(encoded(ct_dataset(7), transfer_syntax), transfer_syntax)

    assert header.sop_instance_uid.endswith(".1.1.7")
    assert header.patient_name == "PATIENT^1"
    assert (header.study_date, header.study_time) == ("20250131", "101500")
    assert (header.series_number, header.instance_number) == (1, 7)
    assert header.has_pixel_data


@pytest.mark.parametrize(
    ("name", "pixel_values"),
    [("CT_small.dcm", True), ("JPEG2000.dcm", True), ("image_dfl.dcm", True), ("MR_small_bigendian.dcm", True)],
)
def test_files_of_real_devices_are_read_as_pydicom_reads_them(name: str, pixel_values: bool) -> None:
    path = get_testdata_file(name)
    assert path is not None
    content = Path(path).read_bytes()
    meta, start = read_file_meta(content)
    header = header_of(content[start:], meta.transfer_syntax_uid)
    ds = dcmread(path)

    assert header.sop_instance_uid == ds.SOPInstanceUID == meta.sop_instance_uid
    assert header.study_instance_uid == ds.StudyInstanceUID
    assert header.patient_id == ds.PatientID
    assert header.modality == ds.Modality
    assert header.has_pixel_data is pixel_values


def test_a_file_is_read_like_memory(tmp_path: Path) -> None:
    content = spliced(element(0x00321060, b"LO", b"x" * 60000))
    path = tmp_path / "instance"
    path.write_bytes(b"prefix" + content)
    with path.open("rb") as file:
        source = FileSource(file.fileno(), 6, len(content))
        assert read_header(source, Encoding()) == header_of(content)


@pytest.mark.parametrize("path", [path for path in get_charset_files() if path.endswith(".dcm")])
def test_names_of_every_character_set_are_decoded_as_pydicom_decodes_them(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(path, force=True)
        if "PatientName" not in ds or not ds.PatientName.original_string:
            pytest.skip("no name in it")
        expected = str(ds.PatientName)
    charset = ds.get("SpecificCharacterSet") or ""
    terms = charset if isinstance(charset, str) else "\\".join(charset)
    raw = ds.PatientName.original_string

    assert decode_text(raw, character_encodings(terms.encode()), is_name=True) == expected


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        (b"ISO_IR 9999", "M\u00fcller".encode(), "M\u00fcller"),
        (b"ISO_IR 9999", b"M\xfcller", "M\u00fcller"),
        (b"ISO-IR 100 ", b"M\xfcller", "M\u00fcller"),
        (b"ISO_IR 192", b"\xff\xfe", "\ufffd\ufffd"),
        (b"ISO_IR 100", b"A\x00B\nC", "A\ufffdB\ufffdC"),
        (b"\\ISO 2022 IR 999", b"A\x1b$X", "A\ufffd$X"),
        (b"", b"", ""),
    ],
)
def test_text_in_doubt_is_shown_and_never_an_error(charset: bytes, raw: bytes, text: str) -> None:
    assert decode_text(raw, character_encodings(charset)) == text


@given(st.binary(max_size=80), st.binary(max_size=60))
def test_no_bytes_make_decoding_fail(charset: bytes, raw: bytes) -> None:
    decoded = decode_text(raw, character_encodings(charset), is_name=True)

    assert not any(char < " " for char in decoded)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_missing_uid_is_named(keyword: str) -> None:
    ds = ct_dataset()
    del ds[keyword]

    with pytest.raises(MissingAttributeError, match=keyword):
        header_of(encoded(ds))


@pytest.mark.parametrize("value", [b"../../../../tmp/pwn ", b"1.2.3\x00.4", b"1.2'; DROP TABLE study;--", b"\x00\x00 "])
def test_a_hostile_uid_is_refused_without_being_quoted(value: bytes) -> None:
    ds = ct_dataset()
    del ds.SeriesInstanceUID
    content = encoded(ds).replace(b"", b"", 0)
    at = content.index(b"\x20\x00\x11\x00")
    hostile = content[:at] + element(0x0020000E, b"UI", value) + content[at:]

    with pytest.raises((InvalidAttributeError, MissingAttributeError)) as caught:
        header_of(hostile)
    assert value.decode("latin-1").strip("\0 ") not in str(caught.value) or not value.strip(b"\0 ")


def test_an_identity_too_long_to_be_kept_whole_is_refused() -> None:
    ds = ct_dataset()
    ds.add_new(0x00100020, "LO", "")
    content = encoded(ds)
    at = content.index(b"\x10\x00\x20\x00LO")
    for length in (300, 5000):
        hostile = content[:at] + element(0x00100020, b"LO", b"9" * length) + content[at + 8 :]
        with pytest.raises(InvalidAttributeError, match="PatientID"):
            header_of(hostile)


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("20250131", "235959.123456", ("20250131", "235959.123456")),
        ("2025.01.31", "10:15:00", ("20250131", "101500")),
        ("20259999", "999999", ("", "")),
        ("yesterday", "noon", ("", "")),
        ("", "10", ("", "10")),
    ],
)
def test_dates_and_times_are_kept_only_if_they_are_some(date: str, time: str, expected: tuple[str, str]) -> None:
    ds = ct_dataset()
    del ds.StudyDate, ds.StudyTime
    raw = encoded(ds)
    at = raw.index(b"\x08\x00\x50\x00SH")
    padded = [value.encode() + b" " * (len(value) % 2) for value in (date, time)]
    content = raw[:at] + element(0x00080020, b"DA", padded[0]) + element(0x00080030, b"TM", padded[1]) + raw[at:]

    header = header_of(content)

    assert (header.study_date, header.study_time) == expected


@pytest.mark.parametrize(
    "content",
    [
        spliced(element(0x00091001, b"??", b"vendor data")),
        spliced(element(0x00100020, b"LO", b"P1")),
        spliced(element(0x00100020, b"LO", b"P1") * 2),
        spliced(element(0x00400001, b"LO", b"a") + element(0x00400001, b"LO", b"b")),
    ],
    ids=["unknown VR", "patient twice", "patient three times", "another element twice"],
)
def test_what_can_be_kept_byte_for_byte_is_read(content: bytes) -> None:
    assert header_of(content).patient_id == "P1"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", MissingAttributeError),
        (b"\x08\x00", TruncatedDatasetError),
        (bytes(200), MalformedElementError),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HeaderError),
        (spliced(nested(33)), DatasetTooDeepError),
        (spliced(nested(20_000)), DatasetTooDeepError),
        (spliced(nested(5)[:-8]), MalformedElementError),
        (spliced(struct.pack("<HHL", 0xFFFE, 0xE000, 0)), MalformedElementError),
        (spliced(struct.pack("<HH2sHL", 0x0040, 1, b"OB", 0, 0xFFFFFFF0)), TruncatedDatasetError),
        (spliced(struct.pack("<HH2sHL", 0x0040, 1, b"UT", 0, 0xFFFFFFFF)), MalformedElementError),
        (spliced(element(0x00400001, b"\1\2", b"")), MalformedElementError),
        (spliced(element(0x00100020, b"LO", b"P2")), MalformedElementError),
        (encoded(ct_dataset())[:-1], TruncatedDatasetError),
        (encoded(ct_dataset())[: -16 * 16 * 2 - 12] + b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff", MalformedElementError),
    ],
)
def test_malformed_datasets_are_refused_by_name(content: bytes, error: type[HeaderError]) -> None:
    with pytest.raises(error):
        header_of(content)


def test_nesting_as_images_have_it_is_read() -> None:
    assert header_of(spliced(nested(31))).has_pixel_data


def test_unknown_elements_of_undefined_length_are_read_as_implicit() -> None:
    """PS3.5 6.2.2: what is in an UN of undefined length is Implicit VR Little Endian."""
    inner = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"MR"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    unknown = (
        struct.pack("<HH2sHL", 0x0041, 0x1010, b"UN", 0, 0xFFFFFFFF) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )

    assert header_of(spliced(unknown)).modality == "CT"


def test_attributes_inside_sequences_do_not_count() -> None:
    ds = ct_dataset()
    other = Dataset()
    other.PatientID, other.StudyInstanceUID = "SOMEONE ELSE", "1.9"
    ds.ReferencedStudySequence = Sequence([other])

    header = header_of(encoded(ds))

    assert (header.patient_id, header.study_instance_uid) == ("P1", ct_dataset().StudyInstanceUID)


@pytest.mark.parametrize("cut", ["nothing", "delimiter", "fragment"])
def test_encapsulated_pixels_are_checked_to_their_end(cut: str) -> None:
    ds = ct_dataset()
    del ds.PixelData
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL", 0xFFFE, 0xE000, 4) + b"abcd"
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + fragments + end
    content = encoded(ds) + pixels[: len(pixels) - {"nothing": 0, "delimiter": 8, "fragment": 10}[cut]]

    if cut == "nothing":
        assert header_of(content, "1.2.840.10008.1.2.5").has_pixel_data
    else:
        with pytest.raises(TruncatedDatasetError):
            header_of(content, "1.2.840.10008.1.2.5")
    with pytest.raises(MalformedElementError):
        header_of(content, EXPLICIT)


def test_a_deflate_bomb_is_not_inflated() -> None:
    deflater = zlib.compressobj(9, wbits=-15)
    head = encoded(ct_dataset())[: -16 * 16 * 2 - 12]
    bomb = deflater.compress(head + struct.pack("<HH2sHL", 0x0040, 0x0001, b"OB", 0, 1 << 30))
    bomb += b"".join(deflater.compress(bytes(1 << 20)) for _ in range(64)) + deflater.flush()

    with pytest.raises(DatasetTooLongError):
        header_of(bomb, DEFLATED, WalkLimits(inflated_bytes=1 << 20))
    with pytest.raises(TruncatedDatasetError):
        header_of(bomb, DEFLATED, WalkLimits(inflated_bytes=1 << 30))


def test_a_cut_off_deflate_stream_is_refused() -> None:
    encoded_dataset = encoded(ct_dataset(rows=64), DEFLATED)

    for size in (0, 1, len(encoded_dataset) // 2, len(encoded_dataset) - 2):
        with pytest.raises(HeaderError):
            header_of(encoded_dataset[:size], DEFLATED)


@given(
    st.sampled_from([EXPLICIT, IMPLICIT]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=4)), max_size=4),
    st.integers(0, 1 << 16),
)
def test_stepping_over_plain_elements_finds_what_the_general_walk_finds(
    transfer_syntax: str, changes: list[tuple[int, bytes]], cut_bytes: int
) -> None:
    content = bytearray(encoded(ct_dataset(), transfer_syntax))
    for offset, value in changes:
        at = offset % min(len(content), 700)
        content[at : at + len(value)] = value
    source = MemorySource(bytes(content[: len(content) - cut_bytes % (len(content) // 2)]))
    outcomes: list[object] = []
    for is_general in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if is_general:
                patch.setattr(elements._Walk, "_step_over_plain", lambda _: None)
            try:
                outcomes.append(walk_elements(source, TRANSFER_SYNTAXES[transfer_syntax], _HEADER_TAGS))
            except HeaderError as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_the_number_of_elements_is_bounded() -> None:
    many = b"".join(element(0x00410000 | number, b"LO", b"") for number in range(0x10, 0x1010))

    assert header_of(spliced(many)).has_pixel_data
    with pytest.raises(DatasetTooLongError):
        header_of(spliced(many), limits=WalkLimits(elements=2000))


texts = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\^="), min_size=1, max_size=60)


@given(
    st.sampled_from(NATIVE),
    texts,
    texts,
    st.integers(0, 2**31 - 1),
    st.lists(st.tuples(texts, st.binary(max_size=50)), max_size=4),
)
def test_the_header_of_random_datasets_is_what_pydicom_reads(
    transfer_syntax: str, patient_id: str, description: str, number: int, private: list[tuple[str, bytes]]
) -> None:
    ds = ct_dataset()
    ds.PatientID, ds.StudyDescription, ds.InstanceNumber = patient_id, description, number
    for offset, (text, value) in enumerate(private):
        block = ds.private_block(0x1009 + 2 * offset, "TESTS", create=True)
        block.add_new(1, "LT", text)
        block.add_new(2, "UN", value + bytes(len(value) % 2))
        item = Dataset()
        item.SeriesDescription = text
        block.add_new(3, "SQ", Sequence([item]))
        block.private_creator  # noqa: B018
    for sequence in ds.values():
        if sequence.VR == "SQ":
            sequence.is_undefined_length = True

    header = header_of(encoded(ds, transfer_syntax), transfer_syntax)

    assert header.patient_id == patient_id
    assert header.study_description == description
    assert header.instance_number == number
    assert header.has_pixel_data


@pytest.mark.parametrize("transfer_syntax", NATIVE)
@given(data=st.data())
def test_damage_never_raises_anything_but_a_header_error(transfer_syntax: str, data: st.DataObject) -> None:
    content = bytearray(encoded(ct_dataset(), transfer_syntax))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(content)))

    try:
        header = header_of(bytes(content[:size]), transfer_syntax)
    except HeaderError as error:
        message = str(error)
    else:
        assert is_uid(header.sop_instance_uid)
        message = ""
    assert "PATIENT" not in message


@given(st.binary(max_size=600), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@example(nested(40), False, False, False, False)
def test_random_bytes_never_raise_anything_but_a_header_error(
    content: bytes, implicit: bool, big_endian: bool, deflated: bool, encapsulated: bool
) -> None:
    encoding = Encoding(implicit, big_endian, deflated, encapsulated)
    try:
        walk_elements(MemorySource(content), encoding, frozenset({0x00100020}))
    except HeaderError:
        return


def test_our_file_meta_is_read_by_pydicom_and_by_us() -> None:
    meta = FileMeta("1.2.3", "1.2.3.45", EXPLICIT, "SCANNER 1")
    head = encode_file_meta(meta)
    content = head + encoded(ct_dataset())

    ds = dcmread(io.BytesIO(content))

    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.45"
    assert ds.file_meta.SourceApplicationEntityTitle == "SCANNER 1"
    assert ds.PatientID == "P1"
    assert read_file_meta(content) == (meta, len(head))


@given(data=st.data())
def test_a_damaged_file_meta_never_raises_anything_but_a_header_error(data: st.DataObject) -> None:
    content = bytearray(encode_file_meta(FileMeta("1.2.3", "1.2.3.45", EXPLICIT, "SCANNER")) + encoded(ct_dataset()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    try:
        meta, _ = read_file_meta(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except HeaderError:
        return
    assert is_uid(meta.sop_instance_uid)


@pytest.mark.parametrize("transfer_syntax", NATIVE)
@given(size=st.integers(32_500, 33_000), more=st.integers(0, 40))
def test_no_element_is_lost_where_two_reads_meet(transfer_syntax: str, size: int, more: int) -> None:
    """The source is read in pieces; whatever lies across their border has to be seen whole."""
    ds = ct_dataset()
    ds.AdmittingDiagnosesDescription = "x"
    block = ds.private_block(0x0019, "TESTS", create=True)
    block.add_new(1, "UN", bytes(size // 2 * 2))
    for number in range(more):
        block.add_new(2 + number, "LO", "y" * number)

    header = header_of(encoded(ds, transfer_syntax), transfer_syntax)

    assert (header.series_instance_uid, header.instance_number) == (ds.SeriesInstanceUID, 1)
    assert header.has_pixel_data


@pytest.mark.parametrize(
    ("priority", "is_stat"),
    [
        (b"STAT", True),
        (b"HIGH", True),
        (b"stat", True),
        (b" STAT ", True),
        (b"ROUTINE ", False),
        (b"MEDIUM", False),
        (b"LOW ", False),
        (b"", False),
        (b"STATIC", False),
        (b"HIGH\\LOW", False),
        (b"\xff\xfe", False),
        (b"STAT" + b" " * 12, True),
        (None, False),
    ],
)
@pytest.mark.parametrize("transfer_syntax", NATIVE)
def test_stat_by_requested_procedure_priority(priority: bytes | None, is_stat: bool, transfer_syntax: str) -> None:
    ds = ct_dataset()
    if priority is not None:
        ds.add_new(0x00401003, "SH", priority)
    assert header_of(encoded(ds, transfer_syntax), transfer_syntax).is_stat is is_stat


@pytest.mark.parametrize("value", [b"STAT" * 10000, b"HIGH" + b"\0" * 3, b"STAT\n"])
def test_a_priority_of_any_bytes_is_no_error(value: bytes) -> None:
    header = header_of(spliced(element(0x00401003, b"SH", value)))
    assert header.is_stat is (value.strip(b"\0\n") in (b"STAT", b"HIGH"))


def test_a_priority_within_a_sequence_is_that_of_another_request() -> None:
    ds, item = ct_dataset(), Dataset()
    item.add_new(0x00401003, "SH", "STAT")
    ds.add_new(0x00400275, "SQ", Sequence([item]))
    assert header_of(encoded(ds)).is_stat is False
