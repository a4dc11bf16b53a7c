"""Storage of files: a local folder, or an object store with a local folder as cache.

Paths are relative (``instances/ab/...``, ``results/...``). Files are first written below ``root``, synced
and named; ``persist`` then makes it durable where this store promises durability. Readers call ``fetch``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

INSTANCES, RESULTS = "instances", "results"
"""The folders of what was received and of what was made of it; what is just arriving has its own."""


class StoreUnreachableError(OSError):
    """The object store does not respond; to be retried."""


class Files(Protocol):
    """Storage backend for files; safe for several processes and threads."""

    @property
    def root(self) -> Path:
        """Local folder in which files are created."""
        ...

    def persist(self, paths: Iterable[str], *, once: bool = False) -> None:
        """Make files written below ``root`` durable; with ``once`` stored ones stay unchanged.

        Raises
        ------
        OSError
            None of them is to be relied upon.
        """
        ...

    def fetch(self, paths: Iterable[str]) -> list[Path]:
        """Return local paths of files, downloaded where needed; opening a missing one fails.

        Raises
        ------
        ValueError
            A path leads out of the store.
        StoreUnreachableError
        """
        ...

    def exists(self, path: str) -> bool:
        """Return True if a file is stored."""
        ...

    def instances(self) -> Iterator[str]:
        """Yield the paths of all stored instances; others may come and go meanwhile.

        Raises
        ------
        StoreUnreachableError
        """
        ...

    def move(self, path: str, target: str) -> None:
        """Rename a stored file.

        Raises
        ------
        FileNotFoundError
        """
        ...

    def remove(self, path: str) -> None:
        """Delete a file; harmless where there is none."""
        ...


def below(root: Path, path: str) -> Path:
    """Return the path of a relative one below a folder.

    Raises
    ------
    ValueError
        The path leads out of the folder.
    """
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise ValueError("path leads out of the store")
    return resolved


class LocalFiles:
    """A local folder, in which synced and named files are durable."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def persist(self, paths: Iterable[str], *, once: bool = False) -> None:
        """See ``Files``; the files were synced when written."""

    def fetch(self, paths: Iterable[str]) -> list[Path]:
        """See ``Files``."""
        return [below(self.root, path) for path in paths]

    def exists(self, path: str) -> bool:
        """See ``Files``."""
        return below(self.root, path).is_file()

    def instances(self) -> Iterator[str]:
        """See ``Files``."""
        for folder, folders, names in os.walk(self.root / INSTANCES):
            folders.sort()
            relative = Path(folder).relative_to(self.root)
            yield from (str(relative / name) for name in sorted(names) if name.endswith(".dcm"))

    def move(self, path: str, target: str) -> None:
        """See ``Files``."""
        target_path = below(self.root, target)
        target_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        below(self.root, path).rename(target_path)

    def remove(self, path: str) -> None:
        """See ``Files``."""
        below(self.root, path).unlink(missing_ok=True)
