"""Type detection of uploads, and refusals before decoding."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.webapp_doubles import noise_png
from webapp.http.errors import UnfitInputError
from webapp.upload import uploads
from webapp.upload.uploads import UploadKind


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(columns: int, rows: int, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return uploads.PNG_MAGIC + header + b"".join(extra) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg(mode: str = "L", size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (noise_png(), UploadKind.PNG),
        (jpeg(), UploadKind.JPEG),
        (bytes(128) + b"DICM", UploadKind.DICOM),
        (b"MZ" + bytes(126) + b"DICM", UploadKind.DICOM),
        (zipped({"a": b"b"}), UploadKind.ZIP),
        (zipped({}), UploadKind.ZIP),
    ],
)
def test_the_type_is_detected_by_content(head: bytes, expected: UploadKind) -> None:
    assert uploads.kind_of(head[:132]) is expected


@pytest.mark.parametrize(
    ("what", "head", "status", "code"),
    [
        ("nothing", b"", 400, "empty_upload"),
        ("text", b"hello", 415, "unsupported_type"),
        ("GIF", b"GIF89a" + bytes(200), 415, "unsupported_type"),
        ("TIFF", b"II*\0" + bytes(200), 415, "unsupported_type"),
        ("BMP", b"BM" + bytes(200), 415, "unsupported_type"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'>", 415, "unsupported_type"),
        ("gzip", b"\x1f\x8b" + bytes(200), 415, "unsupported_type"),
        ("PDF", b"%PDF-1.7", 415, "unsupported_type"),
        ("DICM too early", b"DICM" + bytes(200), 415, "unsupported_type"),
    ],
)
def test_other_types_are_refused(what: str, head: bytes, status: int, code: str) -> None:
    with pytest.raises(UnfitInputError) as refused:
        uploads.kind_of(head[:132])
    assert (refused.value.status, refused.value.code) == (status, code), what


@pytest.mark.parametrize(
    ("what", "kind", "content", "status", "code"),
    [
        ("a bomb of 2^31 pixels a side", UploadKind.PNG, png(2**31 - 1, 2**31 - 1), 413, "too_many_pixels"),
        ("a wide strip", UploadKind.PNG, png(20_000, 40), 413, "too_many_pixels"),
        ("one pixel over", UploadKind.PNG, png(4097, 4096), 413, "too_many_pixels"),
        ("nothing at all", UploadKind.PNG, png(0, 0), 422, "too_few_pixels"),
        ("a speck", UploadKind.PNG, png(1, 1), 422, "too_few_pixels"),
        ("an animation", UploadKind.PNG, png(64, 64, chunk(b"acTL", bytes(8))), 422, "animated_image"),
        ("no picture", UploadKind.PNG, uploads.PNG_MAGIC + b"\0" * 20, 422, "unreadable_image"),
        ("cut in the header", UploadKind.PNG, png(64, 64)[:20], 422, "unreadable_image"),
        (
            "a chunk that claims 4 GiB",
            UploadKind.PNG,
            png(64, 64)[:33] + b"\xff\xff\xff\xffzTXt",
            422,
            "unreadable_image",
        ),
        ("CMYK", UploadKind.JPEG, jpeg("CMYK"), 415, "unsupported_colours"),
        ("cut before the frame", UploadKind.JPEG, jpeg()[:30], 422, "unreadable_image"),
        ("cut in the frame", UploadKind.JPEG, b"\xff\xd8\xff\xc0\x00\x0b\x08\x00", 422, "unreadable_image"),
        ("no markers", UploadKind.JPEG, b"\xff\xd8\xff\xe0\x00\x04ab" + b"x" * 50, 422, "unreadable_image"),
        ("an endless segment", UploadKind.JPEG, b"\xff\xd8\xff\xe0\x00\x00" + bytes(50), 422, "unreadable_image"),
        ("a scan before a frame", UploadKind.JPEG, b"\xff\xd8\xff\xda\x00\x04ab" + bytes(9), 422, "unreadable_image"),
    ],
)
def test_pictures_are_refused_by_their_header(
    what: str, kind: UploadKind, content: bytes, status: int, code: str
) -> None:
    with pytest.raises(UnfitInputError) as refused:
        uploads.check_image(kind, content)
    assert (refused.value.status, refused.value.code) == (status, code), what


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "RGBA", "LA", "I;16"])
def test_honest_png_pass(mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(np.zeros((64, 80), np.uint16)) if mode == "I;16" else Image.new(mode, (80, 64))
    picture.save(buffer, "PNG")
    uploads.check_image(UploadKind.PNG, buffer.getvalue())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": Image.Exif().tobytes()}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_honest_jpeg_pass(mode: str, options: dict[str, object]) -> None:
    uploads.check_image(UploadKind.JPEG, jpeg(mode, (512, 512), **options))


def test_sixteen_million_pixels_pass() -> None:
    uploads.check_image(UploadKind.PNG, png(4096, 4096))


def status_of(check: Callable[..., object], *arguments: object) -> int:
    try:
        check(*arguments)
    except UnfitInputError as refused:
        return refused.status
    return 200


@given(st.binary(max_size=300), st.sampled_from([uploads.PNG_MAGIC, b"\xff\xd8\xff", png(64, 64)[:40], jpeg()[:100]]))
def test_no_bytes_do_more_than_be_refused(tail: bytes, head: bytes) -> None:
    kind = UploadKind.PNG if head.startswith(uploads.PNG_MAGIC) else UploadKind.JPEG
    assert status_of(uploads.check_image, kind, head + tail) in (200, 413, 415, 422)


@pytest.mark.parametrize(
    ("side", "is_large"), [((2048, 2048), False), ((2049, 2048), True), ((4096, 4096), True), ((8192, 512), False)]
)
def test_large_pictures_are_known_before_they_are_decoded(side: tuple[int, int], *, is_large: bool) -> None:
    assert uploads.check_image(UploadKind.PNG, png(*side)).is_large is is_large


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    progressive = jpeg("L", (512, 512), progressive=True)
    uploads.check_image(UploadKind.JPEG, progressive)
    at = progressive.rindex(uploads.JPEG_SCAN)
    repeated = progressive[:at] + progressive[at:-2] * 100 + progressive[-2:]
    with pytest.raises(UnfitInputError) as refused:
        uploads.check_image(UploadKind.JPEG, repeated)
    assert (refused.value.status, refused.value.code) == (422, "unreadable_image")
