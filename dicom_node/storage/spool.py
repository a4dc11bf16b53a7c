"""Spool file of one instance being received: a page-aligned buffer, written past the page cache.

A received slice is read again seconds later at the earliest, and by another process. Writing it directly from a buffer
that is used over and over costs a fraction of filling the page cache with it, keeps memory flat however large a study
is, and leaves nothing for the kernel to write back when the sync comes. Where the file system refuses (EINVAL), the
same bytes go through the page cache.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from pathlib import Path

from dicom_node.encoding.elements import ByteSource, FileSource, MemorySource
from dicom_node.encoding.errors import InstanceTooLargeError, StorageFullError, StorageUnavailableError
from dicom_node.encoding.part10 import FileMeta, encode_file_meta

BUFFER_BYTES = 1 << 20
"""Holds a slice of 512 x 512 whole; larger instances are written in pieces of this size."""
_BLOCK_BYTES = 4096
"""Direct writes begin and end at multiples of the logical block size of any disk in use."""
_POOLED_BUFFERS = 32
_DIRECT = getattr(os, "O_DIRECT", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_sync_content = getattr(os, "fdatasync", os.fsync)


def storage_error(error: OSError) -> StorageFullError | StorageUnavailableError:
    """Return the error of a full disk, or of one that fails."""
    return StorageFullError() if error.errno in _FULL else StorageUnavailableError("the store")


class BufferPool:
    """Reusable page-aligned buffers; thread-safe."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """Return a buffer with arbitrary content."""
        try:
            return self._free.pop()
        except IndexError:
            return mmap.mmap(-1, BUFFER_BYTES)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Return a buffer to the pool."""
        if len(self._free) < _POOLED_BUFFERS:
            self._free.append(buffer)


class Spool:
    """File meta information, then the dataset as it arrives. The file is created with the first bytes written."""

    def __init__(self, path: str | Path, meta: FileMeta, limit_bytes: int, pool: BufferPool) -> None:
        self._path = path
        self.meta = meta
        self._limit = limit_bytes
        self._pool = pool
        self._digest = hashlib.sha256()
        self._descriptor = self._reader = -1
        self._is_named = False
        self._written = 0
        header = encode_file_meta(meta)
        self._start = self._held = len(header)
        self.dataset_bytes = 0
        self._buffer: mmap.mmap | None = pool.take()
        self._view = memoryview(self._buffer)
        self._view[: self._start] = header

    def write(self, fragment: memoryview | bytes) -> None:
        """Append a fragment of the dataset.

        Raises
        ------
        InstanceTooLargeError, StorageFullError, StorageUnavailableError
            Nothing more is to be written then.
        """
        rest = memoryview(fragment)
        self.dataset_bytes += len(rest)
        if self.dataset_bytes > self._limit:
            raise InstanceTooLargeError(self._limit)
        self._digest.update(rest)
        while rest:
            fits = min(len(rest), BUFFER_BYTES - self._held)
            self._view[self._held : self._held + fits] = rest[:fits]
            self._held += fits
            rest = rest[fits:]
            if self._held == BUFFER_BYTES:
                self._write_out(BUFFER_BYTES)
                self._held = 0

    def _write_out(self, size: int) -> None:
        """Write the buffer's first ``size`` bytes, full blocks, to the end of the file."""
        try:
            if self._descriptor < 0:
                self._descriptor = _create(self._path)
            rest = self._view[:size]
            while rest:
                count = _write_at(self._descriptor, rest, self._written)
                self._written += count
                rest = rest[count:]
        except OSError as error:
            raise storage_error(error) from None

    def complete(self) -> None:
        """Write everything to the disk (``sync`` waits for it); nothing can be added any more.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        if self._held or self._descriptor < 0:
            end = -(-self._held // _BLOCK_BYTES) * _BLOCK_BYTES
            self._view[self._held : end] = bytes(end - self._held)
            self._write_out(end)
            self._held = 0
        try:
            os.ftruncate(self._descriptor, self.size_bytes)
        except OSError as error:
            raise storage_error(error) from None

    def source(self) -> ByteSource:
        """Return the dataset so far: from the buffer where it fits, else from the disk.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        if not self._written:
            return MemorySource(self._view[self._start : self._held])
        try:
            self.complete()
            self._reader = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise storage_error(error) from None
        return FileSource(self._reader, self._start, self.dataset_bytes)

    @property
    def path(self) -> Path:
        """Path of the file being received."""
        return Path(self._path)

    @property
    def sha256(self) -> str:
        """Digest of the dataset so far, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of the file so far."""
        return self._start + self.dataset_bytes

    def sync(self) -> None:
        """Sync the content to the disk.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        self.complete()
        try:
            _sync_content(self._descriptor)
        except OSError as error:
            raise storage_error(error) from None

    def give_name(self, path: str | Path) -> None:
        """Rename the file to its final path.

        Raises
        ------
        OSError
        """
        os.rename(self._path, path)  # noqa: PTH104 (paths are text here: this runs for every instance)
        self._is_named = True

    def discard(self) -> None:
        """Close, and delete the file unless it was renamed."""
        if self._buffer is not None:
            self._view.release()
            self._pool.give_back(self._buffer)
            self._buffer = None
        for descriptor in (self._descriptor, self._reader):
            if descriptor >= 0:
                os.close(descriptor)
        if self._descriptor >= 0 and not self._is_named:
            self.path.unlink(missing_ok=True)
        self._descriptor = self._reader = -1


def _create(path: str | Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | _DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # the first attempt left the empty file


def _write_at(descriptor: int, content: memoryview, offset: int) -> int:
    try:
        return os.pwrite(descriptor, content, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
    return os.pwrite(descriptor, content, offset)
