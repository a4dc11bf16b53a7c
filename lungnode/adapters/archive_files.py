"""Stored instances for DICOMweb: implements ``webapp.ports.StoredFiles``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from db.database import Database
from dicom_node.encoding.errors import RefusedError
from dicom_node.sandbox import render_options
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.storage.files import Files, StoreUnreachableError
from dicom_node.storage.instance_files import Content, InstanceFiles
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.integrity import REASON, Integrity
from webapp.http.errors import UnfitInputError
from webapp.ports import RenderOptions

INSTANCE_TIMEOUT_S = 60.0
"""Time limit per instance: usually milliseconds, some seconds for an Enhanced CT of thousands of frames."""


class ArchiveFiles:
    """Reads stored instances; thread-safe."""

    def __init__(self, store: InstanceStore, limits: DecodeLimits, database: Database | None = None) -> None:
        self._store = store
        self._integrity = Integrity(database, store.files)
        self._files = InstanceFiles(replace(limits, timeout_s=INSTANCE_TIMEOUT_S))

    def close(self) -> None:
        """End the decoding child."""
        self._files.close()

    def documents(self, paths: Sequence[str], urls: Sequence[str]) -> Iterator[str | None]:
        """See ``StoredFiles``."""
        with refusing():
            damaged = set(self._integrity.damaged(paths))
            chosen = [(path, url) for path, url in zip(paths, urls, strict=True) if path not in damaged]
            local_paths = self._store.files.fetch(path for path, _ in chosen)
            documents = self._files.documents(local_paths, [url for _, url in chosen])
            for path in paths:
                yield None if path in damaged else next(documents)

    def check(self, paths: Sequence[str]) -> None:
        """See ``StoredFiles``."""
        with refusing():
            check_undamaged(self._integrity, paths)

    def _checked(self, path: str) -> Path:
        """Return the local path of a stored file after checking its integrity."""
        self.check([path])
        return self._store.absolute(path)

    def frame(self, path: str, frame_number: int, *, stored: bool) -> Content | None:
        """See ``StoredFiles``."""
        with refusing():
            return self._files.frame(self._checked(path), frame_number, stored=stored)

    def part10_file(self, path: str, transfer_syntax_uid: str) -> Content:
        """See ``StoredFiles``."""
        with refusing():
            return self._files.part10_file(self._checked(path), transfer_syntax_uid)

    def uncompressed(self, path: str) -> Content:
        """See ``StoredFiles``."""
        with refusing():
            return self._files.uncompressed(self._checked(path))

    def bulk(self, path: str, element_path: Sequence[str]) -> Content:
        """See ``StoredFiles``."""
        with refusing():
            return self._files.bulk(self._checked(path), element_path)

    def rendered(self, path: str, frame_number: int, rendering: RenderOptions) -> Content | None:
        """See ``StoredFiles``."""
        options = render_options.RenderOptions(**asdict(rendering))
        with refusing():
            return self._files.rendered(self._checked(path), frame_number, options)


class SharedPictures:
    """Upload images in the object store: implements ``webapp.ports.SharedFiles``."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def persist(self, paths: Sequence[str]) -> None:
        """See ``SharedFiles``."""
        with refusing():
            self._files.persist(paths)

    def fetch(self, paths: Sequence[str]) -> object:
        """See ``SharedFiles``."""
        with refusing():
            return self._files.fetch(paths)

    def remove(self, path: str) -> None:
        """See ``SharedFiles``."""
        with refusing():
            self._files.remove(path)


def check_undamaged(integrity: Integrity, paths: Sequence[str]) -> None:
    """Raise ``UnfitInputError`` (500) where a stored file is damaged."""
    if integrity.damaged(paths):
        raise UnfitInputError(500, REASON.code, REASON.text)


@contextmanager
def refusing() -> Iterator[None]:
    """Convert refusals (422, of an unknown frame 404) and an unreachable store (503) to ``UnfitInputError``."""
    try:
        yield
    except StoreUnreachableError:
        raise UnfitInputError(503, "store_unreachable", "The image store does not answer; try again later.") from None
    except RefusedError as error:
        status = 404 if error.reason.code == "no_such_frame" else 422
        raise UnfitInputError(status, error.reason.code, error.reason.text) from None
