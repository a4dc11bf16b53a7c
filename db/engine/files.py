"""Durable files and folders."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

PROBE_BYTES: Final = 64 * 2**10
PRIVATE: Final = 0o600


def write_synced(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write and fsync a new file; raises ``FileExistsError`` if it exists."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def draft_of(path: Path) -> Path:
    """Return a new hidden name beside a file."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def replace_synced(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write and fsync a file under a hidden name, then rename it: readers never see half of it."""
    draft = draft_of(path)
    write_synced(draft, content, mode)
    draft.replace(path)


def sync_folder(folder: str | Path) -> None:
    """Fsync a folder, so that its entries are durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def probe_disk(folder: Path) -> None:
    """Write and sync a small unnamed file; raises ``OSError`` if the disk is full, over quota or read-only."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
