"""Operations of the decoding child on single instances and pictures; results go through files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.sandbox.dicom_json import instance_json
from dicom_node.sandbox.frames import check_size
from dicom_node.sandbox.inflating import PlainFile, plain_file
from dicom_node.sandbox.pixel_frames import check_codestreams, decoded_frame
from dicom_node.sandbox.pixel_layout import read_layout
from dicom_node.sandbox.render_options import parse_render_options

Message = dict[str, object]
MAX_NATIVE_BYTES = 1 << 30
"""Largest instance that is decoded as a whole: it is in memory twice meanwhile."""


def documents(request: Message) -> object:
    """Answer ``paths``, ``urls`` with the DICOM JSON of each as text, None where a file cannot be read."""
    pairs = zip(_texts(request["paths"]), _texts(request["urls"]), strict=True)
    return [_document_or_none(Path(path), url) for path, url in pairs]


def _document_or_none(path: Path, url: str) -> str | None:
    try:
        return instance_json(path, url)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - one broken file must not hide the others
        return None


def layout(request: Message) -> object:
    """Answer ``path`` with the positions of its frames."""
    return asdict(read_layout(Path(str(request["path"]))))


def native_frame(request: Message) -> object:
    """Answer ``path``, ``index`` with that frame decoded, as little endian words in ``target``."""
    with plain_file(Path(str(request["path"]))) as plain:
        pixels = decoded_frame(plain, int(str(request["index"])), raw=True)
    return _write(request, np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes())


def uncompressed(request: Message) -> object:
    """Answer ``path`` with the instance in Explicit VR Little Endian in ``target``."""
    with plain_file(Path(str(request["path"]))) as plain:
        return _write_uncompressed(plain, Path(str(request["target"])))


def _write_uncompressed(plain: PlainFile, target: Path) -> int:
    ds = dcmread(plain.path)
    if ds.file_meta.TransferSyntaxUID.is_compressed and ds.file_meta.TransferSyntaxUID.is_encapsulated:
        size = int(ds.Rows) * int(ds.Columns) * int(ds.get("SamplesPerPixel", 1)) * int(ds.BitsAllocated) // 8
        if size * int(ds.get("NumberOfFrames") or 1) > MAX_NATIVE_BYTES:
            raise MemoryError
        check_size(int(ds.Rows), int(ds.Columns))
        check_codestreams(plain, None, (int(ds.Rows), int(ds.Columns)))
        ds.decompress(generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(target, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return target.stat().st_size


def bulk_value(request: Message) -> object:
    """Answer ``path``, ``tag_path`` (tag, or item numbers and tags within sequences) with the value in ``target``."""
    *around, tag = _texts(request["tag_path"])
    with plain_file(Path(str(request["path"]))) as plain:
        ds: Dataset = dcmread(plain.path)
    for sequence, item in zip(around[::2], around[1::2], strict=True):
        ds = ds[int(sequence, 16)].value[int(item)]
    return _write(request, bytes(ds[int(tag, 16)].value))


def rendered(request: Message) -> object:
    """Answer ``path``, ``index``, ``options`` with the frame as an image in ``target``."""
    from dicom_node.sandbox.rendered import draw  # here, so that a child that draws nothing starts without Pillow

    options = parse_render_options(request["options"])
    return draw(Path(str(request["path"])), int(str(request["index"])), options, Path(str(request["target"])))


def picture(request: Message) -> object:
    """Answer ``path``, a PNG or JPEG, with whether it is coloured; its grey values go to ``target``, a ``.npy``."""
    from dicom_node.sandbox.image_codec import read_picture  # here as well

    grey, is_coloured = read_picture(Path(str(request["path"])))
    np.save(Path(str(request["target"])), grey, allow_pickle=False)
    return is_coloured


def _write(request: Message, content: bytes) -> int:
    return Path(str(request["target"])).write_bytes(content)


def _texts(value: object) -> Sequence[str]:
    if not isinstance(value, list):
        raise TypeError("a list of texts is expected")
    return [str(item) for item in value]


OPERATIONS: dict[str, Callable[[Message], object]] = {
    "documents": documents,
    "layout": layout,
    "native_frame": native_frame,
    "uncompressed": uncompressed,
    "bulk_value": bulk_value,
    "rendered": rendered,
    "picture": picture,
}
