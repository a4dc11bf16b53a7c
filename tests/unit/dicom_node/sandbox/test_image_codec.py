"""Uploaded pictures are decoded in the child: upright, grey, and within its memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dicom_node.sandbox.decode_process import (
    DecodeError,
    DecodeLimits,
    DecodeProcess,
    GreyPicture,
    UnreadablePixelsError,
)
from dicom_node.sandbox.image_codec import read_picture as read_file
from lungnode.adapters.model_predictor import UPLOAD_MEMORY_MB

LARGE = 4096


@pytest.fixture(scope="module")
def process() -> Iterator[DecodeProcess]:
    with DecodeProcess(DecodeLimits(own_memory_mb=UPLOAD_MEMORY_MB)) as process:
        yield process


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "upload.picture"


def read_picture(content: bytes, path: Path) -> GreyPicture:
    path.write_bytes(content)
    return GreyPicture(*read_file(path))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def ramp(rows: int = 40, columns: int = 60) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.tile(np.linspace(0, 255, columns).astype(np.uint8), (rows, 1))


def test_a_grey_png_is_read_as_it_is(written: Path) -> None:
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(ramp())), written).grey, ramp())


def test_colour_and_palette_become_grey(written: Path) -> None:
    for mode in ("RGB", "P"):
        grey = read_picture(encoded(Image.fromarray(ramp()).convert(mode)), written).grey
        assert np.abs(grey.astype(int) - ramp()).max() <= 1


def test_sixteen_bits_are_scaled_and_not_clipped(written: Path) -> None:
    deep = (ramp().astype(np.uint16)) * 257
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(deep)), written).grey, ramp())


def test_transparency_lies_on_black(written: Path) -> None:
    picture = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    assert read_picture(encoded(picture), written).grey.max() == 0


def test_a_turned_photograph_is_read_upright(written: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(ramp()), "JPEG", exif=exif.tobytes())
    assert read_picture(content, written).grey.shape == (60, 40)


@pytest.mark.parametrize("content", [b"", b"no picture", encoded(Image.fromarray(ramp()))[:-60], b"\xff\xd8\xff" * 40])
def test_what_cannot_be_decoded_is_unfit(written: Path, content: bytes, process: DecodeProcess) -> None:
    written.write_bytes(content)
    with pytest.raises(UnreadablePixelsError):
        process.picture(written)


def test_another_format_is_unfit_though_it_could_be_decoded(written: Path) -> None:
    with pytest.raises(OSError, match="cannot identify"):
        read_picture(encoded(Image.fromarray(ramp()), "TIFF"), written)


TINTED = Image.merge("RGB", [Image.fromarray(ramp()), *[Image.new("L", ramp().shape[::-1], 90)] * 2])


@pytest.mark.parametrize(
    ("what", "picture", "is_coloured"),
    [
        ("grey", Image.fromarray(ramp()), False),
        ("grey in three channels", Image.fromarray(ramp()).convert("RGB"), False),
        ("a palette of greys", Image.fromarray(ramp()).convert("P"), False),
        ("a tint", TINTED, True),
        ("a palette of colours", TINTED.quantize(64), True),
    ],
)
def test_colours_are_noticed(written: Path, what: str, picture: Image.Image, is_coloured: bool) -> None:
    assert read_picture(encoded(picture), written).is_coloured is is_coloured, what


def large(mode: str) -> Image.Image:
    """A picture of 4096 x 4096 whose upper half is grey 200, and whose lower half is black."""
    picture = Image.new(mode, (LARGE, LARGE))
    white: Any = {"1": 1, "I;16": 200 * 257, "P": 200, "LA": (200, 255)}.get(mode, 200)
    if mode in ("RGB", "RGBA"):
        white = (200, 200, 200, 255)[: len(mode)]
    if mode == "P":
        picture.putpalette([value for grey in range(256) for value in (grey,) * 3])
    picture.paste(white, (0, 0, LARGE, LARGE // 2))
    return picture


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        *((mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        ("L", "PNG", {"transparency": 0}),
        ("P", "PNG", {"transparency": 0}),
        *((mode, "JPEG", {"progressive": progressive}) for mode in ("L", "RGB") for progressive in (False, True)),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    ],
)
def test_a_large_picture_is_halved_within_the_memory_limit(
    process: DecodeProcess, written: Path, mode: str, kind: str, options: dict[str, Any]
) -> None:
    large(mode).save(written, kind, **({"compress_level": 1} if kind == "PNG" else {}), **options)
    picture = process.picture(written)
    expected = np.zeros((LARGE // 2, LARGE // 2), np.int16)
    expected[: LARGE // 4] = 255 if mode == "1" else 200
    assert picture.grey.shape == expected.shape
    away = np.ones(LARGE // 2, bool)
    away[LARGE // 4 - 8 : LARGE // 4 + 8] = False  # JPEG blurs the edge
    assert np.abs(picture.grey[away].astype(np.int16) - expected[away]).max() <= 2
    assert not picture.is_coloured


def test_a_large_photograph_is_read_upright(written: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (3000, 2000)).save(written, "JPEG", exif=exif.tobytes())
    assert read_file(written)[0].shape == (1500, 1000)


@pytest.mark.parametrize(("size", "expected"), [((2048, 2048), (2048, 2048)), ((2049, 2048), (1024, 1025))])
def test_only_what_is_larger_than_a_ct_slice_is_halved(
    written: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    Image.new("L", size).save(written, "PNG", compress_level=1)
    assert read_file(written)[0].shape == expected


def test_a_picture_beyond_the_memory_limit_is_refused(written: Path) -> None:
    large("RGBA").save(written, "PNG", compress_level=1)
    limits = replace(DecodeLimits(), own_memory_mb=160)
    with DecodeProcess(limits) as small, pytest.raises(DecodeError):
        small.picture(written)
