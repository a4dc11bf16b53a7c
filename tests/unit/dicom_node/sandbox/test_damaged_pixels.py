"""Damaged compressed pixels are refused at once, whatever a codec makes of them."""

from __future__ import annotations

import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import RLELossless

from dicom_node.encoding.part10 import encode_file_meta, read_file_meta
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.sandbox import codestream
from dicom_node.sandbox.decode import read_frames_hu
from dicom_node.sandbox.decode_process import DecodeLimits, DecodeProcess, UnreadablePixelsError
from dicom_node.sandbox.fast_pixels import read_fast_pixels
from dicom_node.sandbox.frames import read_frame_headers
from tests.support.factories import ct_series
from tests.unit.dicom_node.series.test_assembly import transcode

SIDE = 64
CPU_S = 1.0
"""Processor time of the slowest refusal; a CharLS that runs on takes 3 s for each decoder."""
ENCODED_BY_GDCM = {
    "1.2.840.10008.1.2.4.57": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "1.2.840.10008.1.2.4.70": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "1.2.840.10008.1.2.4.80": gdcm.TransferSyntax.JPEGLSLossless,
    "1.2.840.10008.1.2.4.81": gdcm.TransferSyntax.JPEGLSNearLossless,
    "1.2.840.10008.1.2.4.90": gdcm.TransferSyntax.JPEG2000Lossless,
    "1.2.840.10008.1.2.4.91": gdcm.TransferSyntax.JPEG2000,
    "1.2.840.10008.1.2.5": gdcm.TransferSyntax.RLELossless,
}


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda pixels: pixels[: int(len(pixels) * share)]


def flipped(share: float) -> Callable[[bytes], bytes]:
    def flip(pixels: bytes) -> bytes:
        at = int(len(pixels) * share)
        return pixels[:at] + bytes(byte ^ 0x5A for byte in pixels[at : at + 8]) + pixels[at + 8 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "complete": lambda pixels: pixels,
    "cut in its header": cut(0.005),
    **{f"cut at {percent} %": cut(percent / 100) for percent in (10, 20, 35, 50, 65, 80, 95)},
    "cut before its end marker": lambda pixels: pixels.rstrip(b"\0")[:-2],
    "changed at 20 %": flipped(0.2),
    "changed at 70 %": flipped(0.7),
    "zeros from 25 %": lambda pixels: cut(0.25)(pixels) + bytes(len(pixels) - len(cut(0.25)(pixels))),
    "zeros in the middle": lambda pixels: cut(0.4)(pixels) + bytes(64) + pixels[len(cut(0.4)(pixels)) + 64 :],
}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One slice of noise in each compressed or deflated transfer syntax, as intake stores it."""
    volume_hu = np.random.default_rng(0).integers(-1000, 400, (1, SIDE, SIDE)).astype(np.int16)
    paths = {}
    for uid, encoding in TRANSFER_SYNTAXES.items():
        if not (encoding.encapsulated or encoding.deflated):
            continue
        folder = tmp_path_factory.mktemp("syntax")
        (path,) = ct_series(folder, volume_hu=volume_hu, spacing_mm=(1.0, 0.7, 0.7)).paths
        if encoding.encapsulated:
            transcode(path, ENCODED_BY_GDCM[uid])
        else:
            meta, start = read_file_meta(path.read_bytes())
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = packer.compress(path.read_bytes()[start:]) + packer.flush()
            path.write_bytes(encode_file_meta(replace(meta, transfer_syntax_uid=uid)) + body)
        paths[uid] = as_stored(path)
    return paths


def as_stored(path: Path) -> Path:
    meta, start = read_file_meta(path.read_bytes())
    path.write_bytes(encode_file_meta(meta) + path.read_bytes()[start:])
    return path


def damaged(path: Path, target: Path, damage: Callable[[bytes], bytes]) -> Path:
    """Write a copy with the damage in its only frame, or in the deflated data."""
    meta, start = read_file_meta(path.read_bytes())
    if TRANSFER_SYNTAXES[meta.transfer_syntax_uid].deflated:
        target.write_bytes(path.read_bytes()[:start] + damage(path.read_bytes()[start:]))
        return target
    ds = dcmread(path)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([damage(frame)])
    ds.save_as(target)
    return as_stored(target)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of calls of each of pydicom's decoders."""
    calls: Counter[str] = Counter()
    originals = DecodeRunner.set_decoders

    def counted(runner: DecodeRunner, decoders: dict[str, Callable[..., object]]) -> None:
        def wrap(name: str, decode: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                calls[name] += 1
                return decode(*arguments)

            return call

        originals(runner, {name: wrap(name, decode) for name, decode in decoders.items()})

    monkeypatch.setattr(DecodeRunner, "set_decoders", counted)
    return calls


def decode(path: Path) -> bool:
    """Decode as the child does, and return whether it was decoded."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(config.settings, "_reading_validation_mode", config.IGNORE)
        try:
            list(read_frames_hu(path, read_frame_headers(path, 2)))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return False
    return True


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "uid", [uid for uid, encoding in TRANSFER_SYNTAXES.items() if encoding.encapsulated or encoding.deflated]
)
def test_damage_is_judged_at_once(
    uid: str, damage: str, slices: dict[str, Path], tmp_path: Path, decodes: Counter[str]
) -> None:
    path = damaged(slices[uid], tmp_path / "damaged.dcm", DAMAGES[damage])
    began_s = time.process_time()
    is_decoded = decode(path)
    assert time.process_time() - began_s < CPU_S
    assert max(decodes.values(), default=0) <= 1, "no decoder is asked twice"
    if damage == "complete":
        assert is_decoded
    if damage.startswith("cut at"):
        assert not is_decoded


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"])
def test_no_decoder_is_asked_for_a_jpeg_ls_stream_that_is_cut_off(
    uid: str, slices: dict[str, Path], tmp_path: Path, decodes: Counter[str]
) -> None:
    pixels = next(generate_frames(dcmread(slices[uid]).PixelData, number_of_frames=1)).rstrip(b"\0")
    for size in range(40, len(pixels) - 1, 97):
        assert not decode(damaged(slices[uid], tmp_path / "cut.dcm", cut(size / len(pixels))))
    assert not decodes


@pytest.mark.parametrize(
    ("uid", "tail", "is_refused"),
    [
        ("1.2.840.10008.1.2.4.80", b"ab\xff\xd9", False),
        ("1.2.840.10008.1.2.4.81", b"ab\xff\xd9\0", False),
        ("1.2.840.10008.1.2.4.80", b"ab\xff\xd9\0\0\0", False),
        ("1.2.840.10008.1.2.4.80", b"ab\xff", True),
        ("1.2.840.10008.1.2.4.81", b"abcd", True),
        ("1.2.840.10008.1.2.4.80", b"", True),
        ("1.2.840.10008.1.2.4.90", b"abcd", False),
        ("1.2.840.10008.1.2.5", b"abcd", False),
    ],
)
def test_the_end_of_a_jpeg_ls_stream_is_checked(uid: str, tail: bytes, *, is_refused: bool) -> None:
    if is_refused:
        with pytest.raises(ValueError, match="cut off"):
            codestream.check_end(uid, tail)
    else:
        codestream.check_end(uid, tail)


def test_the_end_is_found_across_fragments(slices: dict[str, Path], tmp_path: Path) -> None:
    ds = dcmread(slices["1.2.840.10008.1.2.4.80"])
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    at = len(frame.rstrip(b"\0")) - 1  # between the bytes of the end marker
    at -= at % 2
    ds.PixelData = b"".join(
        (encapsulate([frame], has_bot=False)[:8], *(_item(part) for part in (frame[:at], frame[at:])))
    ) + bytes.fromhex("feffdde000000000")
    ds.save_as(tmp_path / "fragments.dcm")
    path = as_stored(tmp_path / "fragments.dcm")
    assert decode(path)


def _item(content: bytes) -> bytes:
    return bytes.fromhex("feff00e0") + struct.pack("<L", len(content)) + content


def test_a_panic_of_a_codec_is_a_refusal(slices: dict[str, Path], tmp_path: Path) -> None:
    """The decoder of RLE panics on a run that leaves the image; the child answers, and answers again."""
    literals = b"".join(bytes([127]) + bytes(range(128)) for _ in range(31))
    first = literals + bytes([127]) + bytes(128)
    second = literals + bytes([126]) + bytes(127) + b"\xf0\x01"
    segments = struct.pack("<16L", 2, 64, 64 + len(first), *[0] * 13) + first + second
    path = damaged(slices[RLELossless], tmp_path / "panic.dcm", lambda _: segments)
    with DecodeProcess(DecodeLimits()) as process:
        headers = process.headers([path])[0]
        assert headers
        with pytest.raises(BaseException, match="index out of bounds") as panic:
            read_fast_pixels(path, headers[0], np.empty((SIDE, SIDE), np.int16))
        assert not isinstance(panic.value, Exception)
        child = process._child
        with pytest.raises(UnreadablePixelsError):
            process.digests(headers)
        assert process._child is child
        assert process.headers([slices[RLELossless]]) != [None]
