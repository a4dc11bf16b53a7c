from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import ZipRefusedError
from dicom_node.zip_intake import ZipLimits, store_zip
from tests.intake_support import DEFLATED, Node, ct_dataset, part10, running_node


@pytest.fixture
def node(tmp_path: Path):
    with running_node(tmp_path) as made:
        yield made


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name are meant
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def slices(count: int = 3, study: int = 1) -> list[tuple[str, bytes]]:
    return [(f"{number}.dcm", part10(ct_dataset(number, study=study))) for number in range(count)]


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


def test_what_burners_and_file_managers_add_is_passed_over(node: Node) -> None:
    extras = [("DICOMDIR", b"x"), ("__MACOSX/._1.dcm", b"x"), ("CT/.DS_Store", b"x"), ("CT/", b"")]

    assert store_zip(zipped(*slices(), *extras), node.intake, actor="reader").stored == 3


def test_a_deflated_dataset_in_a_zip_is_stored(node: Node) -> None:
    assert store_zip(zipped(("a", part10(ct_dataset(), DEFLATED))), node.intake, actor="reader").stored == 1


def mismatched() -> bytes:
    content = part10(ct_dataset())
    uid = str(ct_dataset().SOPInstanceUID).encode()
    return content.replace(uid, uid[:-1] + b"8", 1)


def with_flag(content: bytes, offset: int, value: int) -> bytes:
    """Set a field of the first entry of a zip's directory."""
    at = content.index(b"PK\1\2") + offset
    return content[:at] + struct.pack("<H", value) + content[at + 2 :]


BOMB = zipped(("a.dcm", bytes(80 << 20)))
REFUSALS = [
    ("no zip", b"hello", "not-a-zip", 422),
    ("nothing", b"", "not-a-zip", 422),
    ("an empty zip", zipped(), "empty-zip", 422),
    ("only a folder", zipped(("CT/", b"")), "empty-zip", 422),
    ("a text", zipped(*slices(), ("readme.txt", b"hello")), "malformed", 422),
    ("an empty member", zipped(*slices(), ("a.dcm", b"")), "malformed", 422),
    ("a cut off member", zipped(*slices(), ("a.dcm", part10(ct_dataset(9))[:-5])), "truncated", 422),
    ("two studies", zipped(*slices(), *slices(study=2)), "several-studies", 422),
    ("another kind of instance", zipped(("a", part10(ct_dataset()).replace(b"1.1.2\0", b"1.1.4\0"))), "sop-class", 422),
    ("meta that tells of another", zipped(("a", mismatched())), "mismatch", 422),
    ("a bomb", BOMB, "zip-ratio", 413),
    ("a zip in a zip", zipped(("inner.zip", zipped(*slices()))), "malformed", 422),
    ("an encrypted member", with_flag(zipped(*slices()), 8, 1), "zip-method", 422),
    ("an unusual method", zipped(*slices(), method=zipfile.ZIP_LZMA), "zip-method", 422),
    ("a forged size", with_flag(zipped(*slices(1)), 24, 100), "damaged-zip", 422),
    ("a damaged member", zipped(*slices(1), method=0).replace(b"PATIENT", b"PATIENX"), "damaged-zip", 422),
]


@pytest.mark.parametrize(("what", "content", "code", "status"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_refusals_store_nothing(node: Node, what: str, content: bytes, code: str, status: int) -> None:
    with pytest.raises(ZipRefusedError) as caught:
        store_zip(content, node.intake, actor="reader")

    assert (caught.value.code, caught.value.http_status) == (code, status)
    assert not node.stored_files()
    assert not node.partial_files()
    assert "PATIENT" not in caught.value.text


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
    content = b"PK\1\2" * 20_000

    with pytest.raises(ZipRefusedError, match="10000 members"):
        store_zip(content, node.intake, actor="reader")


def test_a_full_store_is_service_unavailable(tmp_path: Path) -> None:
    with running_node(tmp_path, min_free_bytes=1 << 62) as node, pytest.raises(ZipRefusedError) as caught:
        store_zip(zipped(*slices()), node.intake, actor="reader")

    assert (caught.value.http_status, caught.value.code) == (503, "storage-full")


WHOLE = zipped(*slices(2))


@pytest.fixture(scope="module")
def lasting_node(tmp_path_factory):
    with running_node(tmp_path_factory.mktemp("node")) as made:
        yield made


@given(data=st.data())
def test_a_damaged_zip_raises_one_error_only(lasting_node: Node, data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of two members of one name
        try:
            store_zip(bytes(content), lasting_node.intake, actor="reader")
        except ZipRefusedError as error:
            assert error.http_status in {413, 422}  # noqa: PT017
