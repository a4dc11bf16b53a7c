"""Files in an S3-compatible object store (or any that fsspec supports), with a bounded local cache.

A file is stored once the object store has confirmed it. Cached files may be deleted at any time, except those that
were used a moment ago, which someone may be reading: the folder is bounded by its size and by that grace alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, TypeVar

from dicom_node.storage.files import INSTANCES, RESULTS, StoreUnreachableError, below

T = TypeVar("T")

PARALLEL = 16
"""Transfers of one process at once: an object store answers in 5 to 50 ms, whatever else it does."""
ABANDONED_S = 3600.0
"""A transfer that is older has no process any more."""
_TRIM_TO = 0.9
_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}


@dataclass(frozen=True, slots=True)
class ObjectStoreAddress:
    """Address of an object store.

    Attributes
    ----------
    url
        ``s3://bucket/prefix``.
    endpoint_url
        Where another than Amazon's is asked.
    key, secret
        Credentials; without them those of the environment count (``AWS_...``, instance roles).
    """

    url: str
    endpoint_url: str = ""
    key: str = ""
    secret: str = field(default="", repr=False)

    def open(self) -> tuple[Any, str]:
        """Connect, and return the file system and the prefix of all names."""
        from fsspec.core import url_to_fs

        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if self.url.startswith("s3:"):
            options |= {"config_kwargs": _TIMEOUTS}
            options |= {"endpoint_url": self.endpoint_url} if self.endpoint_url else {}
            options |= {"key": self.key, "secret": self.secret} if self.key else {}
        file_system, prefix = url_to_fs(self.url, **options)
        return file_system, str(prefix).rstrip("/")


class ObjectFiles:
    """Implementation of ``Files`` on an object store.

    Parameters
    ----------
    root
        The cache's folder, of this host alone.
    address
        The object store.
    cache_bytes
        Size at which the files that were used least recently go.
    grace_s
        Files used within so many seconds stay cached: longer than any read.
    """

    def __init__(
        self, root: Path, address: ObjectStoreAddress, *, cache_bytes: int = 20 << 30, grace_s: float = 900.0
    ) -> None:
        self.root = root.absolute()
        self._remote, self._prefix = address.open()
        self._cache_bytes, self._grace_s = cache_bytes, grace_s
        self._errors = _errors(address)
        self._lock = Lock()
        self._held_bytes = cache_bytes  # unknown yet: the first file that comes has it counted
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="object-store")
        self._drafts = self.root / "fetching"
        self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in self._drafts.iterdir():  # of processes that were killed
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < time() - ABANDONED_S:
                    draft.unlink()

    def persist(self, paths: Iterable[str], *, once: bool = False) -> None:
        """See ``Files``; returns when the object store has confirmed all of them."""
        sizes = self._each(lambda path: self._put(path, once=once), list(paths))
        self._account(sum(sizes))

    def fetch(self, paths: Iterable[str]) -> list[Path]:
        """See ``Files``."""
        relative_paths = list(paths)
        local_paths = [below(self.root, path) for path in relative_paths]
        missing = [path for path, local_path in zip(relative_paths, local_paths, strict=True) if not _touch(local_path)]
        if missing:
            self._account(sum(self._each(self._download, missing)))
        return local_paths

    def exists(self, path: str) -> bool:
        """See ``Files``."""
        with self._translated():
            return bool(self._remote.isfile(self._name(path)))

    def instances(self) -> Iterator[str]:
        """See ``Files``."""
        with self._translated():
            names = self._remote.find(f"{self._prefix}/{INSTANCES}")
        yield from (str(name).removeprefix(f"{self._prefix}/") for name in names if str(name).endswith(".dcm"))

    def move(self, path: str, target: str) -> None:
        """See ``Files``."""
        with self._translated():
            self._remote.cp_file(self._name(path), self._name(target))
            self._remote.rm_file(self._name(path))
        below(self.root, path).unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """See ``Files``."""
        with self._translated(), contextlib.suppress(FileNotFoundError):
            self._remote.rm_file(self._name(path))
        below(self.root, path).unlink(missing_ok=True)

    def _put(self, path: str, *, once: bool) -> int:
        local_path = below(self.root, path)
        with self._translated():
            try:
                self._remote.put_file(str(local_path), self._name(path), **({"mode": "create"} if once else {}))
            except FileExistsError:  # another worker was first, and its bytes count
                return self._download(path)
        return local_path.stat().st_size

    def _download(self, path: str) -> int:
        """Download a file, if stored; synced before it is named, so that the cache never holds half of one."""
        local_path = below(self.root, path)
        draft = self._drafts / secrets.token_hex(16)
        try:
            try:
                with self._translated():
                    self._remote.get_file(self._name(path), str(draft))
            except FileNotFoundError:
                return 0
            descriptor = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
                os.fchmod(descriptor, 0o600)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            local_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.rename(local_path)
        finally:
            draft.unlink(missing_ok=True)
        return size

    def _name(self, path: str) -> str:
        below(self.root, path)
        return f"{self._prefix}/{path}"

    def _each(self, action: Callable[[str], T], paths: Sequence[str]) -> list[T]:
        """Call a function for all items in parallel; raise the first error once all have ended."""
        if len(paths) == 1:
            return [action(paths[0])]
        futures = [self._pool.submit(action, path) for path in paths]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except self._errors as error:
            raise StoreUnreachableError(f"the object store does not answer ({type(error).__name__})") from None

    def _account(self, new_bytes: int) -> None:
        with self._lock:
            self._held_bytes += new_bytes
            if self._held_bytes > self._cache_bytes:
                self._held_bytes = self._trim()

    def _trim(self) -> int:
        """Delete the least recently used files, down to a little under the limit, and return the bytes left."""
        cached = sorted(_files_below(self.root))
        remaining_bytes = sum(size for _, size, _ in cached)
        young_since = time() - self._grace_s
        for used_at, size, path in cached:
            if remaining_bytes <= self._cache_bytes * _TRIM_TO or used_at > young_since:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                remaining_bytes -= size
        return remaining_bytes


def _errors(address: ObjectStoreAddress) -> tuple[type[Exception], ...]:
    """Return the exceptions of a file system's failures; boto's are not OS errors."""
    if not address.url.startswith("s3:"):
        return (OSError,)
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    return (OSError, BotoCoreError, ClientError)


def _touch(path: Path) -> bool:
    """Note that a cached file is used; False where it is not cached."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _files_below(root: Path) -> Iterator[tuple[float, int, Path]]:
    """List use time, size and path of each cached file, without those just being written."""
    for folder in (INSTANCES, RESULTS):
        for path in (root / folder).rglob("*.dcm"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path
