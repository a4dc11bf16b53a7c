"""Members of a zip: large ones take disk and no memory."""

from __future__ import annotations

import io
import mmap
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dicom_node.encoding.errors import ZipRefusedError
from dicom_node.intake import zip_archive
from dicom_node.intake.zip_archive import ZipArchive, ZipLimits


def zipped(content: bytes, method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("small", b"small")
        archive.writestr("large", content)
    return stream.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("in_memory_bytes", [0, 1 << 20])
def test_a_large_member_is_the_same_from_a_file(
    method: int, in_memory_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zip_archive, "IN_MEMORY_BYTES", in_memory_bytes)
    content = bytes(range(256)) * 3000
    archive = ZipArchive(zipped(content, method), ZipLimits(), tmp_path)
    small, large = archive.members
    assert (bytes(archive.content(small)), bytes(archive.content(large))) == (b"small", content)
    assert archive.head(large, 100) == content[:100]
    assert not list(tmp_path.iterdir())


def test_a_mapped_zip_is_read_as_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(b"x" * 100_000, zipfile.ZIP_DEFLATED))
    with path.open("rb") as file:
        archive = ZipArchive(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ZipLimits(), tmp_path)
    assert [len(archive.content(member)) for member in archive.members] == [5, 100_000]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("harm", ["size too small", "size too large", "checksum", "cut off"])
def test_a_large_member_that_is_damaged_is_refused(
    method: int, harm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zip_archive, "IN_MEMORY_BYTES", 1000)
    raw = bytearray(zipped(bytes(range(256)) * 400, method))
    entry = raw.index(b"large", raw.index(b"PK\1\2", raw.index(b"PK\1\2") + 4)) - 46
    field = {"size too small": 24, "size too large": 25, "checksum": 16, "cut off": 20}[harm]
    raw[entry + field] ^= 1
    archive = ZipArchive(bytes(raw), ZipLimits(), tmp_path)
    with pytest.raises(ZipRefusedError):
        archive.content(archive.members[1])
    assert not list(tmp_path.iterdir())


PEAK = """
import resource, sys
from dicom_node.intake.zip_archive import ZipArchive, ZipLimits, in_pieces
from pathlib import Path
import hashlib
content = Path(sys.argv[1]).read_bytes()
resource.setrlimit(resource.RLIMIT_DATA, ((200 << 20), (200 << 20)))
archive = ZipArchive(content, ZipLimits(), Path(sys.argv[1]).parent)
digest = hashlib.sha256()
peak = 0
view = archive.content(archive.members[1])
for piece in in_pieces(view):
    digest.update(piece)
    status = Path("/proc/self/status").read_text()
    peak = max(peak, int(status.split("VmRSS:")[1].split()[0]))
print(len(view), digest.hexdigest(), peak)
"""


def test_a_member_of_300_mib_is_read_with_a_heap_of_200(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("noise", b"", zipfile.ZIP_STORED)
        with archive.open("large", "w") as member:
            for number in range(300):
                member.write(bytes([number % 256]) * (1 << 20))
    path.write_bytes(stream.getvalue())
    monkey = "import dicom_node.intake.zip_archive as z; z._check = lambda *_: None\n"  # the ratio is another test's
    done = subprocess.run([sys.executable, "-c", monkey + PEAK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size, _, peak_kib = done.stdout.split()
    assert int(size) == 300 << 20
    assert int(peak_kib) < 200 << 10  # resident pages of the mapped file are given back as it is read


@pytest.mark.parametrize("declared", ["true count", "three"])
def test_no_more_entries_are_read_than_the_limit(
    declared: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A directory of a million entries costs nothing, whatever the end record says."""
    count = 1_000_000
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    named, size = (count, len(entry) * count) if declared == "true count" else (3, len(entry) * count)
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, named, named, size, len(local))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(local) + size, 1)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    read: list[None] = []
    genuine = zip_archive._zip64

    def counted(*values: Any) -> Any:
        read.append(None)
        return genuine(*values)

    monkeypatch.setattr(zip_archive, "_zip64", counted)
    content = local + entry * count + zip64 + locator + tail
    if declared == "three":
        assert len(ZipArchive(content, ZipLimits(), tmp_path).members) == 3
    else:
        with pytest.raises(ZipRefusedError) as refused:
            ZipArchive(content, ZipLimits(), tmp_path)
        assert refused.value.http_status == 413
    assert len(read) <= 3
