"""Stored images and attention overlays of uploads, limited in number.

With an object store they are stored there too, so that every web process can show them.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Literal

from db.engine.files import replace_synced
from webapp.ports import SharedFiles

ImageName = Literal["image", "attention"]
_ID = re.compile(r"[0-9a-f]{32}")
_SLACK = 64
"""Excess number before pruning, so that not every upload lists the folder."""


class UploadImages:
    """Folder of PNG files named by our own prediction ids.

    Parameters
    ----------
    root
        The folder.
    limit
        Number of uploads with stored images, per web process.
    shared
        Storage shared with web processes on other hosts, in a folder of the same name.
    """

    def __init__(self, root: Path, limit: int, shared: SharedFiles | None = None) -> None:
        self._root = root
        self._limit = limit
        self._shared = shared
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def save(self, prediction_id: str, image_png: bytes | None, attention_png: bytes | None) -> None:
        """Write and sync both images, before the prediction is recorded.

        Raises
        ------
        UnfitInputError
            503 if the shared storage is unreachable.
        """
        images: tuple[tuple[ImageName, bytes | None], ...] = (("image", image_png), ("attention", attention_png))
        written = [(self._path(prediction_id, name), content) for name, content in images if content is not None]
        for path, content in written:
            replace_synced(path, content)
        if self._shared is not None:
            self._shared.persist([self._name(path) for path, _ in written])
        self._prune()

    def load(self, prediction_id: str, name: ImageName) -> bytes | None:
        """Return an image, or None if there is none or it was pruned."""
        if not self.has(prediction_id, name):
            return None
        try:
            return self._path(prediction_id, name).read_bytes()
        except FileNotFoundError:
            return None

    def has(self, prediction_id: str, name: ImageName) -> bool:
        """Return whether an image is stored."""
        if not _ID.fullmatch(prediction_id):
            return False
        path = self._path(prediction_id, name)
        if self._shared is not None and not path.is_file():
            self._shared.fetch([self._name(path)])
        return path.is_file()

    def _path(self, prediction_id: str, name: ImageName) -> Path:
        return self._root / f"{prediction_id}.{name}.png"

    def _name(self, path: Path) -> str:
        return f"{self._root.name}/{path.name}"

    def _prune(self) -> None:
        """Delete the oldest images once there are too many; a missing file is no error."""
        paths = list(self._root.glob("*.png"))
        if len(paths) <= 2 * (self._limit + _SLACK):
            return
        aged: list[tuple[float, Path]] = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                aged.append((path.stat().st_mtime, path))
        for _, path in sorted(aged)[: -2 * self._limit or None]:
            path.unlink(missing_ok=True)
            if self._shared is not None:
                self._shared.remove(self._name(path))
