"""Child process that parses and decodes untrusted files: JSON lines in and out, pixels through ``.npy`` files.

It is started with a limit on its address space, writes no core dump, and prints nothing that came from a dataset.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import resource
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom.config
from pydicom.uid import UID, JPEG2000TransferSyntaxes

from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.sandbox import instance_child
from dicom_node.sandbox.child import limit_process, take_over_stdout
from dicom_node.sandbox.decode import read_frames_hu
from dicom_node.sandbox.frames import FrameHeader, read_frame_headers
from dicom_node.sandbox.parallel import parallel_map

Message = dict[str, object]


def main(memory_mb: int, own_memory_mb: int, cpu_s: int) -> None:
    """Answer requests until the parent closes the pipe."""
    replies = take_over_stdout()
    limit_process(
        {
            resource.RLIMIT_AS: memory_mb << 20,
            resource.RLIMIT_DATA: own_memory_mb << 20,
            resource.RLIMIT_FSIZE: memory_mb << 20,
            resource.RLIMIT_CPU: cpu_s,
            resource.RLIMIT_CORE: 0,
        }
    )
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.simplefilter("ignore")
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        reply = _answer(json.loads(requests.get()))
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _read_requests(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Queue requests; end the process when the parent is gone, even during one."""
    for line in source:
        requests.put(line)
    os._exit(0)


def _answer(request: Message) -> Message:
    try:
        return {"value": OPERATIONS[str(request["operation"])](request)}
    except MemoryError:
        return {"error": "out_of_memory"}
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:  # noqa: BLE001 - a parser of untrusted files raises anything; its message may hold values
        return {"error": "unreadable"}  # a codec in Rust panics by an exception that is no Exception


def _headers(request: Message) -> object:
    """Answer ``paths``, ``at_most`` with a list of frame headers for each path, None where a file is unreadable."""
    at_most = int(str(request["at_most"]))
    return [_headers_or_none(Path(path), at_most) for path in _strings(request["paths"])]


def _headers_or_none(path: Path, at_most: int) -> list[Message] | None:
    try:
        return [header.message() for header in read_frame_headers(path, at_most)]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above: one broken file must not hide the others
        return None


def _volume(request: Message) -> object:
    """Answer ``frames`` (headers, in slice order) with HU in ``target``, ``(slices, rows, columns)`` int16."""
    frames = _frame_headers(request["frames"])
    shape = (len(frames), frames[0].rows, frames[0].columns)
    target = Path(str(request["target"]))
    with target.open("wb") as volume:
        np.lib.format.write_array_header_1_0(volume, {"descr": "<i2", "fortran_order": False, "shape": shape})
        start = volume.tell()
    in_file_order = sorted(enumerate(frames), key=lambda pair: (pair[1].path, pair[1].frame_number))
    files = [list(group) for _, group in groupby(in_file_order, key=lambda pair: pair[1].path)]

    def write(files: Iterable[list[tuple[int, FrameHeader]]]) -> None:
        room = np.empty(shape[1:], np.int16)
        with target.open("r+b") as volume:
            for file in files:
                indices, headers = zip(*file, strict=True)
                for index, hu in zip(indices, read_frames_hu(Path(headers[0].path), headers, room), strict=True):
                    volume.seek(start + index * room.nbytes)  # written, not mapped: a mapped page costs a fault
                    volume.write(hu.data)

    parallel_map(write, [file for file in files if _is_dealt_out(file[0][1])])
    write(file for file in files if not _is_dealt_out(file[0][1]))
    return list(shape)


def _is_dealt_out(frame: FrameHeader) -> bool:
    """Return True if a frame may be decoded in parallel: an ordinary compressed slice of bounded memory.

    Not where the codec uses every core by itself, with as many threads.
    """
    encoding = TRANSFER_SYNTAXES.get(frame.transfer_syntax_uid)
    if frame.pixels_at is None or encoding is None or frame.transfer_syntax_uid in JPEG2000TransferSyntaxes:
        return False
    return encoding.encapsulated or encoding.deflated


def _digests(request: Message) -> object:
    """Answer ``frames`` with the SHA-256 of each one's HU, to tell copies from repeated acquisitions."""
    return [
        hashlib.sha256(next(read_frames_hu(Path(frame.path), [frame])).tobytes()).hexdigest()
        for frame in _frame_headers(request["frames"])
    ]


OPERATIONS: dict[str, Callable[[Message], object]] = {
    "headers": _headers,
    "volume": _volume,
    "digests": _digests,
    **instance_child.OPERATIONS,
}


def _strings(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("a list of paths is expected")
    return [str(item) for item in value]


def _frame_headers(value: object) -> list[FrameHeader]:
    if not isinstance(value, list):
        raise TypeError("a list of frames is expected")
    return [_frame_header(item) for item in value]


def _frame_header(item: Message) -> FrameHeader:
    """Rebuild a header as the parent sent it; only the numbers that decoding needs are made hashable."""
    padding, pixels_at = item["padding"], item["pixels_at"]
    if isinstance(padding, list):
        item["padding"] = (int(padding[0]), int(padding[1]))
    if isinstance(pixels_at, list):
        item["pixels_at"] = (int(pixels_at[0]), int(pixels_at[1]), int(pixels_at[2]))
    item["transfer_syntax_uid"] = UID(str(item["transfer_syntax_uid"]))
    return FrameHeader(**item)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
