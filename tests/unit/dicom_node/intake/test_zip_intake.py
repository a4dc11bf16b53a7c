from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.read_models.studies import study_detail
from dicom_node.encoding.errors import ZipRefusedError
from dicom_node.intake.zip_archive import ZipLimits
from dicom_node.intake.zip_contents import joined
from dicom_node.intake.zip_intake import store_zip
from tests.support.intake import DEFLATED, EXPLICIT, IMPLICIT, Node, ct_dataset, encoded, part10, running_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name are meant
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def slices(count: int = 3, study: int = 1) -> list[tuple[str, bytes]]:
    return [(f"{number}.dcm", part10(ct_dataset(number, study=study))) for number in range(count)]


def mismatched() -> bytes:
    content = part10(ct_dataset())
    uid = str(ct_dataset().SOPInstanceUID).encode()
    return content.replace(uid, uid[:-1] + b"8", 1)


def with_flag(content: bytes, offset: int, value: int) -> bytes:
    """Set a field of the first entry of a zip's directory."""
    at = content.index(b"PK\1\2") + offset
    return content[:at] + struct.pack("<H", value) + content[at + 2 :]


def test_a_series_is_stored_through_the_intake(node: Node) -> None:
    stored = store_zip(zipped(*slices()), node.intake, actor="reader")

    assert stored.study_instance_uid == ct_dataset().StudyInstanceUID
    assert (stored.stored, stored.duplicates) == (3, 0)
    assert len(node.stored_files()) == 3

    again = store_zip(zipped(*slices(4)), node.intake, actor="reader")
    assert (again.stored, again.duplicates) == (1, 3)


def test_names_are_never_used(node: Node, tmp_path: Path) -> None:
    names = ["../../../../pwned", "/etc/pwned", "C:\\pwned", "a\\..\\..\\b", "same", "same", "\u202egpj.exe"]
    members = [(name, part10(ct_dataset(number))) for number, name in enumerate(names)]

    assert store_zip(zipped(*members), node.intake, actor="reader").stored == len(names)

    assert all("pwned" not in path.name for path in tmp_path.rglob("*"))
    assert len(node.stored_files()) == len(names)


REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


def of_class(sop_class_uid: str, number: int = 90, *, study: int = 1) -> bytes:
    """An instance of another SOP class in the same study."""
    ds = ct_dataset(number, series=9, study=study)
    ds.SOPClassUID = sop_class_uid
    return part10(ds)


def bare(syntax: str, number: int = 0) -> bytes:
    """A dataset without preamble and file meta information."""
    return encoded(ct_dataset(number), syntax)


def enhanced() -> bytes:
    return of_class("1.2.840.10008.5.1.4.1.1.2.1", 7)


STORAGE = "1.2.840.10008.5.1.4.1.1."
EXTRAS = [
    ("a readme", [("README.TXT", b"hello")], 3, "1 file that is not DICOM"),
    ("a viewer", [("VIEW/V.EXE", b"MZ" + bytes(500)), ("index.htm", b"<html>")], 3, "2 files that are not DICOM"),
    ("autorun", [("AUTORUN.INF", b"[autorun]"), ("autorun.ico", bytes(300))], 3, "2 files that are not DICOM"),
    ("a DICOMDIR that is none", [("dicomdir", b"x" * 200)], 3, "1 file that is not DICOM"),
    ("a DICOMDIR", [("DicomDir", of_class("1.2.840.10008.1.3.10"))], 3, "1 DICOMDIR"),
    ("a dose report", [("SR/1", of_class(REPORT))], 3, "1 structured report"),
    ("reports", [("1", of_class(REPORT, 1)), ("2", of_class(STORAGE + "88.11", 2))], 3, "2 structured reports"),
    ("a key object", [("KO", of_class(STORAGE + "88.59"))], 3, "1 key object selection"),
    ("a presentation state", [("PR", of_class(STORAGE + "11.1"))], 3, "1 presentation state"),
    ("a segmentation", [("SEG", of_class(STORAGE + "66.4"))], 3, "1 segmentation"),
    ("a secondary capture", [("SC", of_class(STORAGE + "7"))], 3, "1 secondary capture"),
    ("a multi-frame capture", [("SC", of_class(STORAGE + "7.4"))], 3, "1 secondary capture"),
    ("a PDF in DICOM", [("PDF", of_class(STORAGE + "104.1"))], 3, "1 encapsulated document"),
    ("a PET image", [("PT", of_class(STORAGE + "128"))], 3, "1 image of another modality"),
    ("radiographs", [(f"{n}", of_class(STORAGE + "1.1", n)) for n in range(2)], 3, "2 images of other modalities"),
    ("raw data", [("RAW", of_class(STORAGE + "66"))], 3, "1 other DICOM object"),
    ("a private class", [("X", of_class("1.2.3.4.5"))], 3, "1 other DICOM object"),
    ("a report of another study", [("SR", of_class(REPORT, study=2))], 3, "1 structured report"),
    ("a localizer series", [("L", part10(ct_dataset(1, series=2)))], 4, ""),
    ("an Enhanced CT", [("E", enhanced())], 4, ""),
    ("a copy", [("COPY/1.dcm", part10(ct_dataset(1)))], 3, "1 duplicate image"),
    ("an empty file", [("VERSION", b"")], 3, "1 empty file"),
    ("a nested zip", [("more.zip", zipped(*slices(study=2)))], 3, "1 nested archive"),
    ("a 7z and a tar.gz", [("a.7z", b"7z\xbc\xaf\x27\x1c12"), ("b.tgz", b"\x1f\x8b\x08")], 3, "2 nested archives"),
    ("previews", [("1.jpg", b"\xff\xd8\xff\xe0" + bytes(200))], 3, "1 file that is not DICOM"),
    (
        "what file managers add",
        [("Thumbs.db", b"x"), ("__MACOSX/._1.dcm", b"\0\5\x16\7" + bytes(200)), ("CT/.DS_Store", b"x"), ("CT/", b"")],
        3,
        "3 files that are not DICOM",
    ),
    ("group 2 without preamble", [("IM", part10(ct_dataset(8))[132:])], 4, ""),
    ("an explicit dataset alone", [("IM", bare(EXPLICIT, 8))], 4, ""),
    ("an implicit dataset alone", [("IM", bare(IMPLICIT, 8))], 4, ""),
    ("a text that begins like a dataset", [("x", b"\x08\x00\x05\x00CS" + bytes(40))], 3, "1 file that is not DICOM"),
    (
        "several kinds",
        [("SR", of_class(REPORT)), ("a", b"a"), ("b", b"b"), ("c.txt", b"c")],
        3,
        "1 structured report, 3 files that are not DICOM",
    ),
]


@pytest.mark.parametrize(("what", "extras", "accepted", "left_out"), EXTRAS, ids=[row[0] for row in EXTRAS])
def test_the_ct_is_taken_and_the_rest_is_named(
    node: Node, what: str, extras: list[tuple[str, bytes]], accepted: int, left_out: str
) -> None:
    stored = store_zip(zipped(*extras, *slices()), node.intake, actor="reader")

    assert (stored.stored, joined(stored.left_out)) == (accepted, left_out), what
    assert len(node.stored_files()) == accepted


NAMES = [b"../../pwned", b"/etc/pwned", b"C:\\pwned", b"a\\..\\b", b"\xff\xfe\x80", "Größe".encode("cp437")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_utf8", [False, True])
def test_names_of_any_bytes_are_never_decoded(node: Node, tmp_path: Path, name: bytes, is_utf8: bool) -> None:
    placeholder = b"N" * len(name)
    content = zipped((placeholder.decode(), part10(ct_dataset()))).replace(placeholder, name)
    if is_utf8:
        content = with_flag(content, 8, 0x800)

    assert store_zip(content, node.intake, actor="reader").stored == 1
    assert all("pwned" not in path.name for path in tmp_path.rglob("*"))


def test_a_zip64_is_read(node: Node) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in slices():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    forced = stream.getvalue()
    at = forced.rindex(b"PK\5\6")
    entries, size, offset = struct.unpack_from("<HLL", forced, at + 10)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    short = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)

    for content in (forced, forced[:at] + end + locator + short):
        assert len(store_zip(content, node.intake, actor="reader").left_out) == 0
    assert len(node.stored_files()) == 3


def test_a_stub_in_front_and_a_comment_behind_are_passed_over(node: Node) -> None:
    content = zipped(*slices())
    commented = content[:-2] + struct.pack("<H", 9) + b"PK\5\6 note"

    assert store_zip(b"MZ stub" + commented, node.intake, actor="reader").stored == 3


def test_a_deflated_dataset_in_a_zip_is_stored(node: Node) -> None:
    assert store_zip(zipped(("a", part10(ct_dataset(), DEFLATED))), node.intake, actor="reader").stored == 1


def changed(**values: str) -> bytes:
    """A fourth slice that differs in some attributes."""
    ds = ct_dataset(9)
    ds.update(values)
    return part10(ds)


def replaced(old: bytes, new: bytes) -> list[tuple[str, bytes]]:
    """Slices, the last of them with other bytes."""
    content = part10(ct_dataset(9))
    assert old in content
    return [*slices(), ("other.dcm", content.replace(old, new))]


def with_identity(**values: str) -> list[tuple[str, bytes]]:
    return [*slices(), ("other.dcm", changed(**values))]


BOMB = zipped(("a.dcm", bytes(80 << 20)))
SHARED_UID = ct_dataset(1)
SHARED_UID.PatientSize = "1.8"
REFUSALS = [
    ("no zip", b"hello", "not-a-zip", 422),
    ("nothing", b"", "not-a-zip", 422),
    ("a zip that was cut off", zipped(*slices())[:-30], "not-a-zip", 422),
    ("an empty zip", zipped(), "empty-zip", 422),
    ("only a folder", zipped(("CT/", b"")), "empty-zip", 422),
    ("only texts", zipped(("a.txt", b"hello"), ("b.txt", b"hello")), "no-ct", 422),
    ("only MR", zipped(("a", of_class(STORAGE + "4"))), "no-ct", 422),
    ("only a report", zipped(("a", of_class(REPORT))), "no-ct", 422),
    ("a cut off image", zipped(*slices(), ("a.dcm", part10(ct_dataset(9))[:-5])), "truncated", 422),
    ("an image cut in its meta", zipped(*slices(), ("a.dcm", part10(ct_dataset(9))[:150])), "truncated", 422),
    ("an image without pixels", zipped(*replaced(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x12\0OW")), "no-pixels", 422),
    ("another transfer syntax", zipped(*replaced(b".10008.1.2.1\0", b".10008.1.2.9\0")), "transfer-syntax", 422),
    ("two studies", zipped(*slices(), *slices(study=2)), "several-studies", 422),
    ("two studies of one patient", zipped(*with_identity(StudyInstanceUID="1.2.3")), "several-studies", 422),
    ("two patient ids in one study", zipped(*with_identity(PatientID="OTHER")), "several-patients", 422),
    ("two names in one study", zipped(*with_identity(PatientName="OTHER^NAME")), "several-patients", 422),
    ("two birth dates in one study", zipped(*with_identity(PatientBirthDate="19500101")), "several-patients", 422),
    ("one UID with two contents", zipped(*slices(), ("a", part10(SHARED_UID))), "conflict", 422),
    ("meta information of another instance", zipped(("a", mismatched())), "mismatch", 422),
    ("a bomb", BOMB, "zip-ratio", 413),
    ("a zip in a zip", zipped(("inner.zip", zipped(*slices()))), "no-ct", 422),
    ("an encrypted member", with_flag(zipped(*slices()), 8, 1), "encrypted-zip", 422),
    ("an unusual method", zipped(*slices(), method=zipfile.ZIP_LZMA), "zip-method", 422),
    ("a forged size", with_flag(zipped(*slices(1)), 24, 100), "damaged-zip", 422),
    ("a damaged member", zipped(*slices(1), method=0).replace(b"PATIENT", b"PATIENX"), "damaged-zip", 422),
    ("members that share bytes", with_flag(with_flag(zipped(*slices(1)), 20, 9999), 24, 9999), "not-a-zip", 422),
]


@pytest.mark.parametrize(("what", "content", "code", "status"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_refusals_store_nothing(node: Node, what: str, content: bytes, code: str, status: int) -> None:
    with pytest.raises(ZipRefusedError) as caught:
        store_zip(content, node.intake, actor="reader")

    assert (caught.value.code, caught.value.http_status) == (code, status)
    assert not node.stored_files()
    assert not node.partial_files()
    assert "PATIENT" not in caught.value.text
    assert "OTHER" not in caught.value.text


def test_a_refusal_names_what_the_zip_holds(node: Node) -> None:
    content = zipped(("a.txt", b"hello"), ("KO", of_class(STORAGE + "88.59")), ("MR", of_class(STORAGE + "4")))
    with pytest.raises(ZipRefusedError) as caught:
        store_zip(content, node.intake, actor="reader")
    assert caught.value.text == (
        "No CT image in the zip. "
        "It holds 1 key object selection, 1 image of another modality, 1 file that is not DICOM."
    )
    with pytest.raises(ZipRefusedError, match=r"2 of 4 CT images cannot be stored \(dataset ends inside an element"):
        store_zip(zipped(*slices(2), *((f"{n}", part10(ct_dataset(n))[:-5]) for n in (7, 8))), node.intake, actor="x")


STORED_BEFORE = [
    ("the study of another patient", {"PatientID": "OTHER"}, "patient-conflict"),
    ("the series in another study", {"StudyInstanceUID": "1.2.3.4"}, "study-conflict"),
    ("an image with other content", {"SOPInstanceUID": str(ct_dataset(2).SOPInstanceUID)}, "conflict"),
]


@pytest.mark.parametrize(("what", "values", "code"), STORED_BEFORE, ids=[row[0] for row in STORED_BEFORE])
def test_what_the_index_would_refuse_is_refused_before_anything_is_stored(
    node: Node, what: str, values: dict[str, str], code: str
) -> None:
    store_zip(zipped(("a", changed(**values))), node.intake, actor="reader")
    assert len(node.stored_files()) == 1

    with pytest.raises(ZipRefusedError) as caught:
        store_zip(zipped(*slices()), node.intake, actor="reader")

    assert (caught.value.code, caught.value.http_status) == (code, 422), what
    assert len(node.stored_files()) == 1
    with node.database.read() as session:
        detail = study_detail(session, values.get("StudyInstanceUID", str(ct_dataset().StudyInstanceUID)))
    assert detail is not None
    assert detail.item.reasons == (), "a study is flagged by what arrives, not by what was refused beforehand"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ZipLimits(members=2), "too-many-members"),
        (ZipLimits(member_bytes=100), "member-too-large"),
        (ZipLimits(total_bytes=2000), "zip-too-large"),
        (ZipLimits(ratio=1.0, ratio_free_bytes=0), "zip-ratio"),
    ],
)
def test_bounds_are_kept(node: Node, limits: ZipLimits, code: str) -> None:
    with pytest.raises(ZipRefusedError) as caught:
        store_zip(zipped(*slices()), node.intake, actor="reader", limits=limits)

    assert (caught.value.code, caught.value.http_status) == (code, 413)


def test_a_directory_of_a_million_entries_is_not_read(node: Node) -> None:
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 20_000, 20_000, 46 * 20_000, 0, 0)
    content = (b"PK\1\2" + bytes(42)) * 20_000 + end

    with pytest.raises(ZipRefusedError, match="10000 files"):
        store_zip(content, node.intake, actor="reader")


def test_a_full_store_is_service_unavailable(tmp_path: Path) -> None:
    with running_node(tmp_path, min_free_bytes=1 << 62) as node, pytest.raises(ZipRefusedError) as caught:
        store_zip(zipped(*slices()), node.intake, actor="reader")

    assert (caught.value.http_status, caught.value.code) == (503, "storage-full")


INTACT = zipped(*slices(2))


@pytest.fixture(scope="module")
def lasting_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@given(data=st.data())
def test_a_damaged_zip_raises_one_error_only(lasting_node: Node, data: st.DataObject) -> None:
    content = bytearray(INTACT)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of two members of one name
        try:
            store_zip(bytes(content), lasting_node.intake, actor="reader")
        except ZipRefusedError as error:
            assert error.http_status in {413, 422}  # noqa: PT017
