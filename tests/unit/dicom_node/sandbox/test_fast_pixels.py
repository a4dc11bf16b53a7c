"""The short way to an ordinary slice gives what pydicom gives, whatever the file holds."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import config, dcmread
from pydicom.dataset import Dataset

from dicom_node.encoding.part10 import encode_file_meta, read_file_meta
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import Phantom, PhantomSpec
from dicom_node.sandbox import decode, frames
from dicom_node.sandbox.fast_header import read_fast_header
from dicom_node.sandbox.fast_pixels import read_fast_pixels

UNREADABLE = "unreadable"
SYNTAXES = ("explicit", "implicit", "deflated", "rle", "jpegls", "j2k")


def _put(ds: Dataset, **values: object) -> None:
    for keyword, value in values.items():
        setattr(ds, keyword, value)


def _drop(ds: Dataset, *keywords: str) -> None:
    for keyword in keywords:
        if keyword in ds:
            delattr(ds, keyword)


def _eight_bits(ds: Dataset) -> None:
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        ds.decompress(generate_instance_uid=False)
    pixels = np.frombuffer(ds.PixelData, np.uint16).astype(np.uint8).tobytes()
    _put(ds, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, PixelData=pixels)
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)


def _padding_range(ds: Dataset) -> None:
    ds.add_new("PixelPaddingValue", "SS", -2000)
    ds.add_new("PixelPaddingRangeLimit", "SS", -1500)


ODD: dict[str, Callable[[Dataset], None]] = {
    "as it is": lambda ds: None,
    "padding": lambda ds: ds.add_new("PixelPaddingValue", "SS", -2000),
    "a range of padding": _padding_range,
    "unsigned": lambda ds: _put(ds, PixelRepresentation=0),
    "twelve bits": lambda ds: _put(ds, BitsStored=12, HighBit=11),
    "no rescale": lambda ds: _drop(ds, "RescaleSlope", "RescaleIntercept"),
    "an empty slope": lambda ds: _put(ds, RescaleSlope=None),
    "an empty kernel": lambda ds: _put(ds, ConvolutionKernel=None),
    "two kernels": lambda ds: _put(ds, ConvolutionKernel=["B", "C"]),
    "no photometric interpretation": lambda ds: _drop(ds, "PhotometricInterpretation"),
    "no bits stored": lambda ds: _drop(ds, "BitsStored"),
    "three samples": lambda ds: _put(ds, SamplesPerPixel=3),
    "one frame": lambda ds: _put(ds, NumberOfFrames=1),
    "two frames": lambda ds: _put(ds, NumberOfFrames=2),
    "an umlaut": lambda ds: _put(ds, SpecificCharacterSet="ISO_IR 100", Manufacturer="Müller"),
    "eight bits": _eight_bits,
}


def as_stored(path: Path) -> bytes:
    """The file with the file meta information that intake writes."""
    content = path.read_bytes()
    meta, start = read_file_meta(content)
    return encode_file_meta(meta) + content[start:]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small slice of noise in each syntax, as intake stores it."""
    hu = np.random.default_rng(0).integers(-1000, 400, (1, 48, 48)).astype(np.int16)
    phantom = Phantom(PhantomSpec(), hu, (1.25, 0.7, 0.7), (-180.0, -180.0, 0.0), ())
    paths = {}
    for syntax in SYNTAXES:
        (path,) = write_series(phantom, tmp_path_factory.mktemp(syntax), transfer_syntax=syntax)
        path.write_bytes(as_stored(path))
        paths[syntax] = path
    return paths


def outcome(path: Path) -> str:
    """Answer of the decoding process: headers and HU, or that it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            headers = frames.read_frame_headers(path, 2)
        except Exception:  # noqa: BLE001 - as the child process takes it
            return UNREADABLE
        try:
            return repr((headers, [hu.tolist() for hu in decode.read_frames_hu(path, headers)]))
        except Exception:  # noqa: BLE001 - as above
            return f"{headers} {UNREADABLE}"


def both(path: Path) -> tuple[str, str]:
    """The outcome by the short way, and by pydicom alone."""
    with patch.object(config.settings, "_reading_validation_mode", config.IGNORE):
        short = outcome(path)
        with (
            patch.object(frames, "read_fast_header", lambda *_: None),
            patch.object(decode, "read_fast_pixels", lambda *_: None),
        ):
            return short, outcome(path)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_ordinary_slice_takes_the_short_way(slices: dict[str, Path], syntax: str) -> None:
    assert read_fast_header(slices[syntax], frozenset()) is not None
    (header,) = frames.read_frame_headers(slices[syntax])
    assert read_fast_pixels(slices[syntax], header, np.empty((48, 48), np.int16)) is not None


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("oddity", ODD)
def test_both_ways_agree_on(slices: dict[str, Path], tmp_path: Path, syntax: str, oddity: str) -> None:
    ds = dcmread(slices[syntax])
    ODD[oddity](ds)
    path = tmp_path / "odd.dcm"
    ds.save_as(path)
    path.write_bytes(as_stored(path))
    short, usual = both(path)
    assert short == usual


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    syntax=st.sampled_from(["explicit", "implicit", "deflated"]),  # broken codestreams can end the whole process
    changes=st.lists(st.tuples(st.integers(128, 1500), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(1, 600)),
)
@example(syntax="explicit", changes=[(400, 65)], cut=1)
@example(syntax="deflated", changes=[(128, 68)], cut=600)
def test_both_ways_agree_on_altered_files(
    slices: dict[str, Path], tmp_path: Path, syntax: str, changes: list[tuple[int, int]], cut: int | None
) -> None:
    content = bytearray(slices[syntax].read_bytes())
    for at, byte in changes:
        content[at % len(content)] = byte
    path = tmp_path / "altered.dcm"
    path.write_bytes(bytes(content[: -cut if cut else None]))
    short, usual = both(path)
    if syntax == "deflated" and usual == UNREADABLE:  # damage behind the header is reported with the pixels
        assert short.endswith(UNREADABLE)
    else:
        assert short == usual


@pytest.mark.parametrize("syntax", ["deflated", "rle", "jpegls", "j2k"])
def test_a_declared_size_that_is_not_that_of_the_pixels_is_refused(
    slices: dict[str, Path], tmp_path: Path, syntax: str
) -> None:
    ds = dcmread(slices[syntax])
    ds.Rows = 96
    path = tmp_path / "taller.dcm"
    ds.save_as(path)
    path.write_bytes(as_stored(path))
    assert read_fast_header(path, frozenset()) is not None
    short, usual = both(path)
    assert short == usual
    assert short.endswith(UNREADABLE)


def test_a_deflated_bomb_is_not_inflated_in_memory(slices: dict[str, Path], tmp_path: Path) -> None:
    ds = dcmread(slices["deflated"])
    ds.Rows, ds.Columns, ds.PixelData = 8192, 8192, bytes(2 * 8192 * 8192)
    path = tmp_path / "bomb.dcm"
    ds.save_as(path)
    path.write_bytes(as_stored(path))
    (header,) = frames.read_frame_headers(slices["deflated"])
    bomb = replace(header, rows=8192, columns=8192, pixels_at=(*(header.pixels_at or (0, 0, 0))[:2], 1 << 27))
    assert frames.read_frame_headers(path)[0].pixels_at is None
    tracemalloc.start()
    assert read_fast_pixels(path, bomb, np.empty((1, 1), np.int16)) is None
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 48 << 20
