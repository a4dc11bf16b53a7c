"""Fast path to the pixels of an ordinary CT slice, at the position in its header; in the decoding child only.

Whatever is not as the header said makes it answer None, and pydicom then judges the file. What it does answer is what
pydicom would: the same codecs decode compressed pixels.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLSTransferSyntaxes, RLELossless
from rle.utils import decode_pixel_data

from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.sandbox import codestream
from dicom_node.sandbox.fast_header import HEADER_BYTES, MAX_PIXEL_BYTES
from dicom_node.sandbox.frames import FrameHeader

_ELEMENT_BYTES = 12
"""Tag, VR and length of Pixel Data, which has a long VR; without a VR they are 8 (PS3.5 7.1.2, 7.1.3)."""
_TAG = b"\xe0\x7f\x10\x00"
_PLUGINS = dict.fromkeys(JPEGLSTransferSyntaxes, ("pyjpegls", "gdcm"))
"""Decoders in another order than pydicom's: both use CharLS, but GDCM copies each pixel through a str."""


def read_fast_pixels(path: Path, header: FrameHeader, target: NDArray[np.int16]) -> NDArray[np.generic] | None:
    """Read the stored words of an ordinary slice, ``(rows, columns)``; None for any other file.

    Parameters
    ----------
    path
        The file.
    header
        What ``read_frame_headers`` said of it.
    target
        ``(rows, columns)``, contiguous: words of 16 bits that are not compressed are read right there.

    Raises
    ------
    ValueError
        Its compressed pixels are cut off, or have another size than its header says.
    Exception
        Anything else that a codec raises on broken pixels; the child process translates it.
    """
    if header.pixels_at is None or header.pixels_at[2] > MAX_PIXEL_BYTES:
        return None
    encoding = TRANSFER_SYNTAXES[header.transfer_syntax_uid]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if encoding.deflated:
            return _inflated(descriptor, header, target)
        if encoding.encapsulated:
            return _decompressed(descriptor, header)
        words = _room(header, target)
        is_there = _read(descriptor, header, words)
        return words if is_there else None
    finally:
        os.close(descriptor)


def _room(header: FrameHeader, target: NDArray[np.int16]) -> NDArray[np.generic]:
    return target.view("<u2") if header.bits_allocated == 16 else np.empty(target.shape, np.uint8)


def _read(descriptor: int, header: FrameHeader, words: NDArray[np.generic]) -> bool:
    """Read the value of Pixel Data, and whether that element is still at its position."""
    start, offset, length = _pixels_at(header)
    if length != words.nbytes:
        return False
    element = bytearray(_ELEMENT_BYTES)
    size = os.preadv(descriptor, [element, words.data], start + offset - _ELEMENT_BYTES)
    return size == _ELEMENT_BYTES + length and _is_pixel_data(element, header, length)


def _is_pixel_data(element: bytes | bytearray, header: FrameHeader, length: int) -> bool:
    tag_at = 4 if TRANSFER_SYNTAXES[header.transfer_syntax_uid].implicit else 0
    return element[tag_at : tag_at + 4] == _TAG and element[8:12] == length.to_bytes(4, "little")


def _pixels_at(header: FrameHeader) -> tuple[int, int, int]:
    if header.pixels_at is None:
        raise ValueError("no offset of the pixels")
    return header.pixels_at


def _inflated(descriptor: int, header: FrameHeader, target: NDArray[np.int16]) -> NDArray[np.generic] | None:
    """Inflate in memory (PS3.5 A.5), hardly more than the header declares, and check for Pixel Data."""
    start, offset, length = _pixels_at(header)
    promised = offset + length
    if promised > MAX_PIXEL_BYTES:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(os.pread(descriptor, MAX_PIXEL_BYTES, start), promised + HEADER_BYTES)
    except zlib.error:
        return None
    element = content[offset - _ELEMENT_BYTES : offset]
    words = _room(header, target)
    is_complete = inflater.eof and len(content) >= promised and length == words.nbytes
    if not is_complete or not _is_pixel_data(element, header, length):
        return None
    return np.frombuffer(content, words.dtype, words.size, offset).reshape(words.shape)


def _decompressed(descriptor: int, header: FrameHeader) -> NDArray[np.generic] | None:
    """Decode the only frame once it declares the size in the header."""
    start, offset, length = _pixels_at(header)
    content = os.pread(descriptor, _ELEMENT_BYTES + length, start + offset - _ELEMENT_BYTES)
    if not _is_pixel_data(content[:_ELEMENT_BYTES], header, 0xFFFFFFFF):
        return None
    encapsulated = content[_ELEMENT_BYTES:]
    frame = get_frame(encapsulated, 0, number_of_frames=1)
    size = (header.rows, header.columns)
    if codestream.size_of(frame[: codestream.HEAD_BYTES]) not in (None, size):
        raise ValueError("compressed pixels have another size than the header says")
    if header.transfer_syntax_uid == RLELossless:
        return _of_runs(frame, header)
    codestream.check_end(header.transfer_syntax_uid, frame[-codestream.TAIL_BYTES :])
    *preferred, last = _PLUGINS.get(header.transfer_syntax_uid, ("",))
    for plugin in preferred:
        with contextlib.suppress(ValueError, RuntimeError):  # what one decoder refuses, another may take
            return _by_pydicom(encapsulated, header, plugin)
    return _by_pydicom(encapsulated, header, last)


def _by_pydicom(encapsulated: bytes, header: FrameHeader, plugin: str) -> NDArray[np.generic]:
    decoded, _ = get_decoder(header.transfer_syntax_uid).as_array(
        encapsulated,
        index=0,
        raw=True,
        correct_unused_bits=False,
        decoding_plugin=plugin,
        pixel_keyword="PixelData",
        number_of_frames=1,
        samples_per_pixel=1,
        rows=header.rows,
        columns=header.columns,
        bits_allocated=header.bits_allocated,
        bits_stored=header.bits_stored,
        pixel_representation=header.pixel_representation,
        photometric_interpretation="MONOCHROME2",  # either one, as nothing is converted
    )
    words: NDArray[np.generic] = decoded
    return words


def _of_runs(frame: bytes, header: FrameHeader) -> NDArray[np.generic] | None:
    """Decode RLE (PS3.5 G) by pydicom's decoder, without its overhead."""
    try:
        content = decode_pixel_data(
            frame, version=2, rows=header.rows, columns=header.columns, bits_allocated=header.bits_allocated
        )
    except ValueError:  # what this decoder refuses, pydicom's own may take
        return None
    return np.frombuffer(content, f"<u{header.bits_allocated // 8}").reshape(header.rows, header.columns)
