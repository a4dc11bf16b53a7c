"""The live model: follows promotions in the database, between one series and the next.

A promoted bundle is stored under ``models`` in the instance store, so that every host has it. Work in progress during
a promotion finishes with the model it began with, and records that one's digest.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from db.analyses.promotions import NONE, PromotedBundle, live_promotion
from dicom_node.storage.files import Files

if TYPE_CHECKING:
    from db.database import Database
    from db.domain.models import ModelIdentity
    from dicom_node.jobs.analysis_process import AnalysisPool, MakeAnalyzer

    Follower = Callable[[AnalysisPool, ModelIdentity], None]
    """Switches ``Attempts`` and ``Worker`` to another model."""

_log = logging.getLogger(__name__)

FOLDER = "models"
RETRY_S = 60.0
"""Pause after a promoted model could not be loaded."""
UNKNOWN = -1
"""Promotion number while no model is loaded."""


@dataclass(frozen=True, slots=True)
class LiveBundle:
    """Local folder of a promoted bundle, and its expected digest."""

    folder: Path
    sha256: str


def keep_bundle(files: Files, folder: Path, sha256: str) -> tuple[str, ...]:
    """Copy a bundle into the store, fsynced, and return the paths of its files there (idempotent)."""
    paths = []
    for source in sorted(path for path in folder.rglob("*") if path.is_file()):
        path = f"{FOLDER}/{sha256}/{source.relative_to(folder).as_posix()}"
        target = files.root / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.partial")
        with source.open("rb") as original, draft.open("wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        draft.replace(target)
        paths.append(path)
    files.persist(paths, once=True)
    return tuple(paths)


def located(files: Files, bundle: PromotedBundle) -> LiveBundle:
    """Fetch a promoted bundle to this host."""
    local_paths = dict(zip(bundle.files, files.fetch(bundle.files), strict=True))
    return LiveBundle(local_paths[f"{FOLDER}/{bundle.sha256}/bundle.json"].parent, bundle.sha256)


def live_number(database: Database) -> int:
    """Return the number of the latest promotion."""
    with database.read() as session:
        record = live_promotion(session)
    return record.number if record else NONE


def current(database: Database, files: Files) -> tuple[int, LiveBundle | None]:
    """Return the number of the latest promotion and its bundle; None for the bundle of the settings."""
    with database.read() as session:
        record = live_promotion(session)
    if record is None:
        return NONE, None
    return record.number, located(files, record.bundle) if record.bundle else None


def checked(bundle: LiveBundle | None) -> Path | None:
    """Return the folder of a promoted bundle after checking its digest.

    Raises
    ------
    BundleError
        The digest differs.
    """
    from inference.bundle import describe_bundle
    from inference.errors import BundleError

    if bundle is None:
        return None
    if describe_bundle(bundle.folder).sha256 != bundle.sha256:
        raise BundleError(f"the bundle in {bundle.folder} differs from the promoted one")
    return bundle.folder


class LivePool:
    """The analysis pool of the live model.

    Parameters
    ----------
    build
        Builds a pool that loads models with the given function.
    make_analyzer
        Returns the function that loads a promoted bundle, or that of the settings.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        build: Callable[[MakeAnalyzer], AnalysisPool],
        make_analyzer: Callable[[LiveBundle | None], MakeAnalyzer],
    ) -> None:
        self._database = database
        self._files = files
        self._build = build
        self._make_analyzer = make_analyzer
        self._number = UNKNOWN
        self._pool: AnalysisPool | None = None
        self._not_before_s = 0.0

    def start(self) -> tuple[AnalysisPool, ModelIdentity]:
        """Load the live model; raises ``ModelUnavailableError``."""
        number, bundle = current(self._database, self._files)
        pool = self._build(self._make_analyzer(bundle))
        try:
            model = pool.start()
        except Exception:
            pool.close()
            raise
        self._number, self._pool = number, pool
        return pool, model

    def refresh(self, follow: Follower) -> None:
        """Switch to a newly promoted model; the former one finishes its series.

        If loading fails, the former model stays in use, and loading is retried after ``RETRY_S``.
        """
        if time.monotonic() < self._not_before_s or live_number(self._database) == self._number:
            return
        self._not_before_s = time.monotonic() + RETRY_S
        former = self._pool
        pool, model = self.start()
        self._not_before_s = 0.0
        follow(pool, model)
        _log.info("model:switched", extra={"model_sha256": model.sha256})
        if former is not None:
            former.retire()

    def close(self) -> None:
        """End all processes."""
        if self._pool is not None:
            self._pool.close()
