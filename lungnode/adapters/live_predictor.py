"""Predictor of the live model, loaded on first use: implements ``webapp.ports.Predictor``.

A web process that only shows pages never imports torch; the description of the models is read from their bundles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from inference.description import ModelsDescription
from lungnode.adapters.live_model import LiveBundle, current, live_number
from lungnode.adapters.unavailable_predictor import UnavailablePredictor

if TYPE_CHECKING:
    from db.database import Database
    from dicom_node.storage.files import Files
    from lungnode.adapters.model_predictor import ModelPredictor
    from webapp.ports import MapName, MarkedPoint, PointAnswer, UploadAnalysis

_log = logging.getLogger(__name__)

RETRY_S = 60.0
"""Pause after models could not be loaded."""


class LazyModels:
    """Models of a bundle that are loaded when first needed; thread-safe.

    Parameters
    ----------
    description
        Description of the models; None for a bundle that cannot be read.
    load
        Loads the models; returns an ``UnavailablePredictor`` on failure.
    """

    def __init__(
        self, description: ModelsDescription | None, load: Callable[[], ModelPredictor | UnavailablePredictor]
    ) -> None:
        self.description = description
        self._load = load
        self._lock = threading.Lock()
        self._predictor: ModelPredictor | UnavailablePredictor | None = None
        self._retry_at_s = 0.0

    @property
    def is_loaded(self) -> bool:
        """Return True if the models are in memory."""
        return self._predictor is not None and self._predictor.is_available

    @property
    def has_failed(self) -> bool:
        """Return True if the bundle cannot be read, or the last attempt to load it failed."""
        return self.description is None or (self._predictor is not None and not self._predictor.is_available)

    def predictor(self) -> ModelPredictor | UnavailablePredictor:
        """Return the loaded models, loading them if needed; after a failure not again for ``RETRY_S``."""
        if self.description is None:
            return UnavailablePredictor()
        with self._lock:
            if self._predictor is None or not (self._predictor.is_available or time.monotonic() < self._retry_at_s):
                started = time.monotonic()
                self._predictor = self._load()
                self._retry_at_s = time.monotonic() + RETRY_S
                if self._predictor.is_available:
                    _log.info("model:loaded", extra={"duration_s": round(time.monotonic() - started, 2)})
            return self._predictor

    def close(self) -> None:
        """End the decoding child of models that were loaded."""
        with self._lock:
            if self._predictor is not None:
                self._predictor.close()


class LivePredictor:
    """Predictor of the live model; follows promotions in the database.

    Parameters
    ----------
    build
        Describes the models of a promoted bundle, or those of the settings.
    """

    def __init__(self, database: Database, files: Files, build: Callable[[LiveBundle | None], LazyModels]) -> None:
        self._database = database
        self._files = files
        self._build = build
        self._number, bundle = current(database, files)
        self._live = build(bundle)
        self._former: LazyModels | None = None
        self._not_before_s = 0.0

    def refresh(self) -> None:
        """Switch to a newly promoted model; if it cannot be loaded, the former one stays in use.

        It is loaded at once if the former one was. The former one is closed at the next call, after its last requests.
        """
        if self._former is not None:
            self._former.close()
            self._former = None
        if time.monotonic() < self._not_before_s or live_number(self._database) == self._number:
            return
        number, bundle = current(self._database, self._files)
        built = self._build(bundle)
        if not _can_replace(self._live, built):
            built.close()
            self._not_before_s = time.monotonic() + RETRY_S
            _log.error("model:not_switched", extra={"code": "model_unavailable"})
            return
        self._number, self._former, self._live = number, self._live, built
        _log.info("model:switched")

    def close(self) -> None:
        """End the decoding children."""
        for models in (self._former, self._live):
            if models is not None:
                models.close()

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """See ``Predictor``."""
        return self._live.predictor().predict_upload(content, row=row, column=column)

    def preview(self, content: bytes) -> bytes:
        """See ``Predictor``."""
        return self._live.predictor().preview(content)

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """See ``Predictor``."""
        return self._live.predictor().analyse_point(study_instance_uid, point)

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """See ``Predictor``."""
        return self._live.predictor().attention(study_instance_uid, point, kind)

    def plots(self, model_name: str) -> Mapping[str, bytes]:
        """See ``Predictor``."""
        description = self._live.description
        return description.plots.get(model_name, {}) if description else {}

    def status(self) -> dict[str, object]:
        """See ``Predictor``; models that failed to load are unavailable."""
        live = self._live
        if live.description is None or live.has_failed:
            return UnavailablePredictor().status()
        return live.description.status()


def _can_replace(former: LazyModels, built: LazyModels) -> bool:
    """Return whether models can replace others, loading them if the others are loaded."""
    if former.is_loaded:
        return built.predictor().is_available
    return former.description is None or built.description is not None
