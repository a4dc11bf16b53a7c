"""Parent's side of the decoding child: limits on memory and time, and typed errors."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from db.domain.reasons import Reason
from dicom_node.encoding.errors import RefusedError
from dicom_node.sandbox.child import child_environment
from dicom_node.sandbox.frames import MAX_FRAMES, MAX_PICTURE_PIXELS, FrameHeader

T = TypeVar("T")

MAX_REPLY_BYTES = 256 << 20
"""No honest reply is longer: 20 000 frame headers take about 40 MiB."""

_HEADERS: TypeAdapter[list[tuple[FrameHeader, ...] | None]] = TypeAdapter(list[tuple[FrameHeader, ...] | None])
_DIGESTS: TypeAdapter[list[str]] = TypeAdapter(list[str])
_IS_COLOURED: TypeAdapter[bool] = TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits of one child.

    Parameters
    ----------
    memory_mb
        Address space of the child, MiB.
    own_memory_mb
        Private memory, of it some 110 for itself and its codecs, MiB; None means as ``memory_mb``.
    timeout_s
        Wall-clock time of one request, seconds.
    max_voxels
        Largest volume that is assembled; 5000 slices of 512 x 512 fit.
    scratch
        Folder for volumes on their way from the child; None means the system's temporary folder.
    """

    memory_mb: int = 6144
    own_memory_mb: int | None = None
    timeout_s: float = 300.0
    max_voxels: int = 1_400_000_000
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class GreyPicture:
    """A decoded PNG or JPEG picture."""

    grey: NDArray[np.uint8]
    """``(rows, columns)``, 0..255, upright, transparency on black; at half the size above ``MAX_PICTURE_PIXELS``."""
    is_coloured: bool
    """True where more than 1 % of the pixels are coloured."""


class DecodeError(RefusedError):
    """Base class of failures in the decoding child."""

    REASON = Reason("unreadable", "The images cannot be decoded.")

    def __init__(self) -> None:
        super().__init__(self.REASON)


class UnreadablePixelsError(DecodeError):
    """A parser or codec failed."""


class DecodeCrashError(DecodeError):
    """The child died."""

    REASON = Reason("decoder_crashed", "Corrupt or malformed files: decoding them ended the process.")


class DecodeMemoryError(DecodeError):
    """The child reached its memory limit."""

    REASON = Reason("decoder_out_of_memory", "Decoding the images exceeded the memory limit.")


class DecodeTimeoutError(DecodeError):
    """The child did not answer in time."""

    REASON = Reason("decoder_timeout", "Decoding the images exceeded the time limit.")


class DecodeProcess:
    """A decoding child process, started on first use and again after it died; thread-safe."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self._limits = limits or DecodeLimits()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DecodeProcess:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if any."""
        with self._lock:
            self._stop()

    def headers(self, paths: Sequence[Path], at_most: int = MAX_FRAMES) -> list[tuple[FrameHeader, ...] | None]:
        """Return headers of the first ``at_most`` frames of each file, None for an unreadable file.

        Raises
        ------
        DecodeError
            The child died, hung or ran out of memory.
        """
        reply = self.request({"operation": "headers", "paths": [str(path) for path in paths], "at_most": at_most})
        return validated(_HEADERS, reply)

    def digests(self, frames: Sequence[FrameHeader]) -> list[str]:
        """Return the SHA-256 of the HU of each frame."""
        return validated(_DIGESTS, self.request({"operation": "digests", "frames": [f.message() for f in frames]}))

    def volume_hu(self, frames: Sequence[FrameHeader]) -> NDArray[np.int16]:
        """Return the HU of frames of one size, ``(slices, rows, columns)`` int16, in the order given.

        Raises
        ------
        DecodeError
            The pixels cannot be decoded within the limits.
        """
        shape = (len(frames), frames[0].rows, frames[0].columns)
        with tempfile.TemporaryDirectory(prefix="lungnode-", dir=self._limits.scratch) as folder:
            target = Path(folder) / "volume.npy"
            self.request({"operation": "volume", "target": str(target), "frames": [f.message() for f in frames]})
            return _load(target, shape)

    def picture(self, path: Path) -> GreyPicture:
        """Decode a PNG or JPEG picture.

        Raises
        ------
        DecodeError
            It cannot be decoded within the limits.
        """
        with tempfile.TemporaryDirectory(prefix="lungnode-", dir=self._limits.scratch) as folder:
            target = Path(folder) / "picture.npy"
            reply = self.request({"operation": "picture", "path": str(path), "target": str(target)})
            return GreyPicture(_load_picture(target), validated(_IS_COLOURED, reply))

    def request(self, message: Mapping[str, object]) -> bytes:
        """Send one request to ``decode_child``, and return the JSON text of its value, to be validated.

        Raises
        ------
        DecodeError
            The child refused, died, hung or ran out of memory.
        """
        with self._lock:
            child = self._running()
            try:
                line = _exchange(child, json.dumps(dict(message)).encode() + b"\n", self._limits.timeout_s)
            except DecodeError:
                self._stop()
                raise
        return _value_of(line)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._stop()
            self._child = _start(self._limits)
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()


def _start(limits: DecodeLimits) -> subprocess.Popen[bytes]:
    """Start a child without secrets: its environment holds only what Python needs."""
    command = [sys.executable, "-P", "-m", "dicom_node.sandbox.decode_child"]
    own_mb = limits.memory_mb if limits.own_memory_mb is None else limits.own_memory_mb
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [*command, *map(str, (limits.memory_mb, own_mb, max(3600, int(10 * limits.timeout_s))))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(limits.scratch),
        start_new_session=True,
        bufsize=0,
    )


def _exchange(child: subprocess.Popen[bytes], line: bytes, timeout_s: float) -> bytes:
    """Write a request and read one line, or raise a typed error."""
    if child.stdin is None or child.stdout is None:
        raise DecodeCrashError
    writer = threading.Thread(target=_write, args=(child.stdin, line), daemon=True)
    writer.start()
    try:
        return _read_line(child.stdout, time.monotonic() + timeout_s)
    finally:
        writer.join(timeout=0)


def _write(pipe: IO[bytes], line: bytes) -> None:
    """Write everything; a broken pipe shows as end of file when reading."""
    view = memoryview(line)
    with contextlib.suppress(OSError, ValueError):
        while view:
            view = view[pipe.write(view) :]


def _read_line(pipe: IO[bytes], deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=max(0.0, deadline - time.monotonic())):
                raise DecodeTimeoutError
            part = os.read(pipe.fileno(), 1 << 20)
            size += len(part)
            if not part or size > MAX_REPLY_BYTES:
                raise DecodeCrashError
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts)


def _value_of(line: bytes) -> bytes:
    """Return the value of an untrusted reply, still as JSON."""
    try:
        reply = json.loads(line)
    except ValueError:
        raise DecodeCrashError from None
    if not isinstance(reply, dict) or "value" not in reply:
        error = reply.get("error") if isinstance(reply, dict) else None
        raise DecodeMemoryError if error == "out_of_memory" else UnreadablePixelsError
    return json.dumps(reply["value"]).encode()


def validated(adapter: TypeAdapter[T], value: bytes) -> T:
    """Read the JSON text of a reply.

    Raises
    ------
    DecodeCrashError
        It is not what was asked for.
    """
    try:
        return adapter.validate_json(value)
    except ValidationError:
        raise DecodeCrashError from None


def _load(path: Path, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Load the child's volume and check its shape and type."""
    volume: NDArray[np.int16] = _load_array(path)
    if volume.shape != shape or volume.dtype != np.int16:
        raise DecodeCrashError
    return volume


def _load_picture(path: Path) -> NDArray[np.uint8]:
    """Load the child's picture and check its size and type."""
    grey: NDArray[np.uint8] = _load_array(path)
    if grey.ndim != 2 or not 0 < grey.size <= MAX_PICTURE_PIXELS or grey.dtype != np.uint8:
        raise DecodeCrashError
    return grey


def _load_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        raise DecodeCrashError from None
    return array
