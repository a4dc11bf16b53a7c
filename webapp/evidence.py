"""The pictures and attention overlays of uploads, kept beside the database for as long as there is room."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal

Picture = Literal["image", "attention"]
_ID = re.compile(r"[0-9a-f]{32}")
_SLACK = 64
"""Pruning waits for this many more, so that not every upload lists the folder."""


class EvidenceFolder:
    """One folder of PNG files named by our own prediction ids; never by anything that came with a request."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def save(self, prediction_id: str, image_png: bytes | None, attention_png: bytes | None) -> None:
        """Write both pictures, synced, before the prediction is recorded."""
        pictures: tuple[tuple[Picture, bytes | None], ...] = (("image", image_png), ("attention", attention_png))
        for name, content in pictures:
            if content is not None:
                self._write(self._path(prediction_id, name), content)
        self._prune()

    def load(self, prediction_id: str, name: Picture) -> bytes | None:
        """Return a picture, or None where there is none or it is no longer kept."""
        if not _ID.fullmatch(prediction_id):
            return None
        try:
            return self._path(prediction_id, name).read_bytes()
        except FileNotFoundError:
            return None

    def has(self, prediction_id: str, name: Picture) -> bool:
        """Whether a picture is still kept."""
        return bool(_ID.fullmatch(prediction_id)) and self._path(prediction_id, name).is_file()

    def _path(self, prediction_id: str, name: Picture) -> Path:
        return self._root / f"{prediction_id}.{name}.png"

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _prune(self) -> None:
        """Drop the oldest pictures once there are too many; a file that went meanwhile is no error."""
        kept = list(self._root.glob("*.png"))
        if len(kept) <= 2 * (self._limit + _SLACK):
            return
        aged: list[tuple[float, Path]] = []
        for path in kept:
            with contextlib.suppress(FileNotFoundError):
                aged.append((path.stat().st_mtime, path))
        for _, path in sorted(aged)[: -2 * self._limit or None]:
            path.unlink(missing_ok=True)
