"""Pictures come in upright and grey, and go out windowed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungnode.adapters.image_codec import grey_png, overlay_png, read_picture, windowed
from webapp.ports import UnfitInputError


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def ramp(rows: int = 40, columns: int = 60) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.tile(np.linspace(0, 255, columns).astype(np.uint8), (rows, 1))


def decoded(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_a_grey_png_is_read_as_it_is() -> None:
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(ramp()))).grey, ramp())


def test_colour_and_palette_become_grey() -> None:
    for mode in ("RGB", "P"):
        grey = read_picture(encoded(Image.fromarray(ramp()).convert(mode))).grey
        assert np.abs(grey.astype(int) - ramp()).max() <= 1


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = (ramp().astype(np.uint16)) * 257
    np.testing.assert_array_equal(read_picture(encoded(Image.fromarray(deep))).grey, ramp())


def test_transparency_lies_on_black() -> None:
    picture = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    assert read_picture(encoded(picture)).grey.max() == 0


def test_a_turned_photograph_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(ramp()), "JPEG", exif=exif.tobytes())
    assert read_picture(content).grey.shape == (60, 40)


@pytest.mark.parametrize("content", [b"", b"no picture", encoded(Image.fromarray(ramp()))[:-60], b"\xff\xd8\xff" * 40])
def test_what_cannot_be_decoded_is_unfit(content: bytes) -> None:
    with pytest.raises(UnfitInputError) as refusal:
        read_picture(content)
    assert refusal.value.status == 422


def test_another_format_is_unfit_though_it_could_be_decoded() -> None:
    with pytest.raises(UnfitInputError):
        read_picture(encoded(Image.fromarray(ramp()), "TIFF"))


def test_a_window_is_linear_and_clipped() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 3000]], np.int16)
    assert windowed(hu, (-600.0, 1500.0)).tolist() == [[0, 0, 128, 255, 255]]


def test_answers_show_at_most_a_thousand_pixels_a_side() -> None:
    assert decoded(grey_png(np.zeros((3000, 1500), np.uint8), max_side=1024)).size == (512, 1024)


def test_an_overlay_is_transparent_where_nothing_was_looked_at() -> None:
    attention = np.zeros((20, 20), np.float32)
    attention[5, 5] = 1.0
    rgba = np.asarray(decoded(overlay_png(attention)))
    assert rgba[0, 0, 3] == 0
    assert rgba[5, 5, 3] > 100


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
def test_colours_are_noticed(what: str, picture: Image.Image, is_coloured: bool) -> None:
    assert read_picture(encoded(picture)).is_coloured is is_coloured, what
