"""Which model answers here and now: follows the pointer in the database, between one series and the next.

A promoted bundle lies in the store under ``models``, so every host that shares the store has it. Whoever works while
the pointer moves finishes with the model that it began with, and records that one's digest.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from db.analyses.promotions import NONE, PromotedBundle, live_promotion
from dicom_node.storage.files import Files

if TYPE_CHECKING:
    from db.database import Database
    from db.domain.records import ModelIdentity
    from dicom_node.jobs.analysis_process import AnalysisPool, MakeAnalyzer
    from lungnode.adapters.lazy_predictor import LazyPredictor
    from lungnode.adapters.unavailable_predictor import UnavailablePredictor
    from webapp.ports import MapName, MarkedPoint, PointAnswer, UploadAnswer

    DescribedPredictor = LazyPredictor | UnavailablePredictor

_log = logging.getLogger(__name__)

FOLDER = "models"
RETRY_S = 60.0
"""Pause after a promoted model could not be loaded."""
UNKNOWN = -1
"""Number of no state: what was loaded is not what the pointer says, so it is tried again."""


@dataclass(frozen=True, slots=True)
class LiveBundle:
    """A promoted bundle, brought here: where it lies, and the digest that it must have."""

    folder: Path
    sha256: str


def keep_bundle(files: Files, folder: Path, sha256: str) -> tuple[str, ...]:
    """Copy a bundle into the store, synced; gives its files' paths there. Doing so again changes nothing."""
    kept = []
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
        kept.append(path)
    files.persist(kept, once=True)
    return tuple(kept)


def located(files: Files, bundle: PromotedBundle) -> LiveBundle:
    """Bring a promoted bundle here."""
    places = dict(zip(bundle.files, files.fetch(bundle.files), strict=True))
    return LiveBundle(places[f"{FOLDER}/{bundle.sha256}/bundle.json"].parent, bundle.sha256)


def _number(database: Database) -> int:
    with database.read() as session:
        record = live_promotion(session)
    return record.number if record else NONE


def current(database: Database, files: Files) -> tuple[int, LiveBundle | None]:
    """Tell the number of the state that counts, and its bundle; None where that is the one of the settings."""
    with database.read() as session:
        record = live_promotion(session)
    if record is None:
        return NONE, None
    return record.number, located(files, record.bundle) if record.bundle else None


def checked(bundle: LiveBundle | None) -> Path | None:
    """Give the folder of a promoted bundle.

    Raises
    ------
    BundleError
        It is not the one that was promoted.
    """
    from inference.bundle import describe_bundle
    from inference.errors import BundleError

    if bundle is None:
        return None
    if describe_bundle(bundle.folder).sha256 != bundle.sha256:
        raise BundleError(f"the bundle in {bundle.folder} is not the one that was promoted")
    return bundle.folder


class Follower(Protocol):
    """What works with a model and is told of another (``Attempts``, ``Worker``)."""

    def __call__(self, pool: AnalysisPool, model: ModelIdentity) -> None:
        """Work with this one from now on."""
        ...


class LivePool:
    """The analysing processes of the model that counts.

    Parameters
    ----------
    build
        Makes processes that load models with this function.
    make_analyzer
        Loads the models of a promoted bundle, or of the settings.
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
        """Load the model that counts now; raises ``ModelUnavailableError``."""
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
        """Where another model counts: load it, have it followed, and let the former one finish its series.

        One that cannot be loaded leaves the former one at work; it is tried again at the next look.
        """
        if time.monotonic() < self._not_before_s or _number(self._database) == self._number:
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


class SwitchingPredictor:
    """The predictor of the model that counts; implements ``webapp.ports.Predictor``.

    Parameters
    ----------
    build
        Describes the models of a promoted bundle, or of the settings; stands in for what cannot be read.
    """

    def __init__(
        self, database: Database, files: Files, build: Callable[[LiveBundle | None], DescribedPredictor]
    ) -> None:
        self._database = database
        self._files = files
        self._build = build
        self._number, bundle = current(database, files)
        self._live = build(bundle)
        self._former: DescribedPredictor | None = None
        self._not_before_s = 0.0

    def refresh(self) -> None:
        """Where another model counts: let it answer; what cannot be loaded leaves the former one at work.

        It is loaded at once where the former one was, so that no answer waits. The former one is closed at the look
        after, when its last requests are answered.
        """
        if self._former is not None:
            self._former.close()
            self._former = None
        if time.monotonic() < self._not_before_s or _number(self._database) == self._number:
            return
        number, bundle = current(self._database, self._files)
        built = self._build(bundle)
        if not _can_answer(built, self._live):
            built.close()
            self._not_before_s = time.monotonic() + RETRY_S
            _log.error("model:not_switched", extra={"code": "model_unavailable"})
            return
        self._number, self._former, self._live = number, self._live, built
        _log.info("model:switched")

    def close(self) -> None:
        """End the decoding children."""
        for one in (self._former, self._live):
            if one is not None:
                one.close()

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnswer:
        """See ``Predictor``."""
        return self._live.predict_upload(content, row=row, column=column)

    def preview(self, content: bytes) -> bytes:
        """See ``Predictor``."""
        return self._live.preview(content)

    def analyse_place(self, study_instance_uid: str, place: MarkedPoint) -> PointAnswer:
        """See ``Predictor``."""
        return self._live.analyse_place(study_instance_uid, place)

    def attention(self, study_instance_uid: str, place: MarkedPoint, kind: MapName = "attention") -> bytes:
        """See ``Predictor``."""
        return self._live.attention(study_instance_uid, place, kind)

    def plots(self, model_name: str) -> Mapping[str, bytes]:
        """See ``Predictor``."""
        return self._live.plots(model_name)

    def status(self) -> dict[str, object]:
        """See ``Predictor``."""
        return self._live.status()


def _can_answer(built: DescribedPredictor, former: DescribedPredictor) -> bool:
    """Whether a predictor can take the place of another, loaded if that one is; any can of one that answers nothing."""
    if not former.is_available:
        return True
    if former.is_in_memory and built.is_available:
        return built.load().is_available
    return built.is_available
