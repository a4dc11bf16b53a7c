"""Store of received instances: PS3.10 files, durable before they are named, under opaque names.

::

    root/incoming/<process>/<random>.part      being received; swept when no living process owns them
    root/instances/ab/<sha256 of series>/<sha256 of instance and content>.dcm

A name is made of digests only, so that no UID, however hostile, ever becomes part of a path; it contains the digest of
the content, so that other bytes under the same SOP Instance UID never overwrite the first ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import secrets
import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType

from db.engine.files import sync_folder
from dicom_node.encoding.errors import InstanceError, StorageFullError
from dicom_node.encoding.part10 import FileMeta, read_file_meta
from dicom_node.storage.files import INSTANCES, Files, LocalFiles
from dicom_node.storage.spool import BufferPool, Spool, storage_error

_REMEMBERED_FOLDERS = 10_000
_GET_FLAGS, _SET_FLAGS, _TOP_OF_HIERARCHIES = 0x80086601, 0x40086602, 0x20000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL of linux/fs.h, as most machines number them; ``chattr +T``."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store; ``path`` is relative to its root, ``sha256`` is of the dataset without meta information."""

    path: str
    size_bytes: int
    sha256: str


class InstanceStore:
    """Store of instances: a folder shared by several processes, or another backend (``Files``).

    Parameters
    ----------
    backend
        The folder, created where it is missing, mode 0700; or the files behind one.
    min_free_bytes
        Free space that is left for the database and the logs: instances are refused before it is used up.
    """

    def __init__(self, backend: Path | Files, min_free_bytes: int = 0) -> None:
        self.files: Files = LocalFiles(backend) if isinstance(backend, Path) else backend
        self.root = self.files.root
        self._min_free = min_free_bytes
        self._folders: set[str] = set()
        self._lock = Lock()
        self._buffers = BufferPool()
        incoming = self.root / "incoming"
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming.mkdir(mode=0o700, exist_ok=True)
        (self.root / INSTANCES).mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.root)
        _spread(incoming)
        _sweep(incoming)
        self._incoming, self._claim = _claim(incoming)
        self._numbers = itertools.count()

    def close(self) -> None:
        """Release this process's incoming folder."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def __enter__(self) -> InstanceStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def absolute(self, path: str) -> Path:
        """Return the local path of a stored file, fetched where needed; raises as ``Files.fetch`` does."""
        return self.files.fetch([path])[0]

    def matches_digest(self, path: str, sha256: str) -> bool:
        """Return True if a stored file holds the received dataset; its bytes are read."""
        try:
            return self.files.exists(path) and dataset_sha256(self.absolute(path)) == sha256
        except OSError:
            return False

    def check_free(self, needed_bytes: int = 0) -> None:
        """Refuse instances before the disk is full.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        try:
            usage = os.statvfs(self.root)
        except OSError as error:
            raise storage_error(error) from None
        if usage.f_bavail * usage.f_frsize - needed_bytes < self._min_free:
            raise StorageFullError

    @property
    def incoming(self) -> Path:
        """Folder of this process for files being received."""
        return self._incoming

    def open_spool(self, meta: FileMeta, limit_bytes: int = 1 << 40) -> Spool:
        """Start to receive an instance.

        Raises
        ------
        StorageFullError, StorageUnavailableError
        """
        self.check_free()
        path = f"{self._incoming}/{next(self._numbers)}.part"
        return Spool(path, meta, limit_bytes, self._buffers)

    def assign_path(self, spool: Spool, series_instance_uid: str) -> StoredFile:
        """Return the name under which a received instance will be stored."""
        path = self.path_of(series_instance_uid, spool.meta.sop_instance_uid, spool.sha256)
        return StoredFile(path, spool.size_bytes, spool.sha256)

    @staticmethod
    def path_of(series_instance_uid: str, sop_instance_uid: str, sha256: str) -> str:
        """Return the path of an instance by its identity and the digest of its dataset."""
        series = hashlib.sha256(series_instance_uid.encode()).hexdigest()
        return f"{INSTANCES}/{series[:2]}/{series[2:]}/{_file_name(sop_instance_uid, sha256)}"

    def publish(self, received: Iterable[tuple[Spool, StoredFile]]) -> None:
        """Rename synced spools to their names, sync the folders, once each, and persist the files.

        Raises
        ------
        StorageFullError, StorageUnavailableError
            Some may have their names, none is sure to keep it.
        """
        placed = list(received)
        folders: set[str] = set()
        try:
            for spool, stored in placed:
                path = os.path.join(self.root, stored.path)  # noqa: PTH118 (as text: this runs for every instance)
                folder = os.path.dirname(path)  # noqa: PTH120
                self._make_folder(folder)
                if not (os.path.exists(path) and dataset_sha256(Path(path)) == stored.sha256):  # noqa: PTH110
                    spool.give_name(path)
                folders.add(folder)
            for folder in folders:
                sync_folder(folder)
            self.files.persist([stored.path for _, stored in placed])
        except OSError as error:
            raise storage_error(error) from None

    def write(self, meta: FileMeta, dataset: bytes, series_instance_uid: str) -> StoredFile:
        """Store one encoded dataset durably (for instances that this node makes itself)."""
        spool = self.open_spool(meta)
        try:
            self.check_free(len(dataset))
            spool.write(dataset)
            spool.sync()
            stored = self.assign_path(spool, series_instance_uid)
            self.publish([(spool, stored)])
            return stored
        finally:
            spool.discard()

    def remove(self, path: str) -> None:
        """Delete a file without an index row."""
        self.files.remove(path)

    def _make_folder(self, name: str) -> None:
        """Make a series' folder durable once per process, under a lock that others wait for."""
        with self._lock:
            if name in self._folders and os.path.isdir(name):  # noqa: PTH112
                return
            folder = Path(name)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
            sync_folder(folder.parent.parent)
            if len(self._folders) >= _REMEMBERED_FOLDERS:
                self._folders.clear()
            self._folders.add(name)


def _file_name(sop_instance_uid: str, sha256: str) -> str:
    return hashlib.sha256(f"{sop_instance_uid}\0{sha256}".encode()).hexdigest() + ".dcm"


def content_name(path: Path) -> str:
    """Return the name that a stored file's content should have; empty where it is not an instance."""
    meta, sha256 = _read_content(path)
    return _file_name(meta.sop_instance_uid, sha256) if meta is not None else ""


def dataset_sha256(path: Path) -> str:
    """Return the digest of a stored file's dataset, for comparison with the index; empty where it has none."""
    return _read_content(path)[1]


def _read_content(path: Path) -> tuple[FileMeta | None, str]:
    """Read the meta information of a stored file, and digest its dataset."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(65536)
        try:
            meta, start = read_file_meta(head)
        except InstanceError:
            return None, ""
        digest.update(head[start:])
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return meta, digest.hexdigest()


def _spread(folder: Path) -> None:
    """Spread subfolders over the disk, where the file system can (ext2 to 4).

    ext4 makes files near their folder, and passes by what was deleted there in the last minutes one inode at a time:
    after a purge of some thousand files each new one cost most of a millisecond.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", struct.unpack("l", flags)[0] | _TOP_OF_HIERARCHIES))
    except OSError:
        return  # another file system
    finally:
        os.close(descriptor)


def _claim(incoming: Path) -> tuple[Path, int]:
    """Make a folder for this process, locked as long as it lives."""
    folder = incoming / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, descriptor


def _sweep(incoming: Path) -> None:
    """Delete incomplete files of dead processes; none of them was acknowledged."""
    for folder in incoming.iterdir():
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # just being made by another process, or a harmless stray
        except NotADirectoryError:
            folder.unlink(missing_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
