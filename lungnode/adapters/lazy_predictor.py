"""Predictor that loads the models on first use: implements ``webapp.ports.Predictor``.

A web process that only shows pages never imports torch; the description of the models is read from their bundles.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from inference.description import ModelsDescription

if TYPE_CHECKING:
    from lungnode.adapters.model_predictor import ModelPredictor
    from lungnode.adapters.unavailable_predictor import UnavailablePredictor
    from webapp.ports import MapName, MarkedPoint, PointAnswer, UploadAnalysis

_log = logging.getLogger(__name__)

RETRY_S = 60.0
"""Pause after a failed load."""


class LazyPredictor:
    """Models that are loaded when first needed; thread-safe.

    Parameters
    ----------
    description
        Description of the models.
    load
        Loads the models; returns an ``UnavailablePredictor`` on failure.
    """

    is_available = True

    def __init__(
        self, description: ModelsDescription, load: Callable[[], ModelPredictor | UnavailablePredictor]
    ) -> None:
        self._description = description
        self._load = load
        self._lock = threading.Lock()
        self._predictor: ModelPredictor | UnavailablePredictor | None = None
        self._retry_at_s = 0.0

    @property
    def is_in_memory(self) -> bool:
        """Return True if the models were loaded."""
        return self._predictor is not None and self._predictor.is_available

    def load(self) -> ModelPredictor | UnavailablePredictor:
        """Return the loaded models, loading them if needed; after a failure not again for ``RETRY_S``."""
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

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """See ``Predictor``."""
        return self.load().predict_upload(content, row=row, column=column)

    def preview(self, content: bytes) -> bytes:
        """See ``Predictor``."""
        return self.load().preview(content)

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """See ``Predictor``."""
        return self.load().analyse_point(study_instance_uid, point)

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """See ``Predictor``."""
        return self.load().attention(study_instance_uid, point, kind)

    def plots(self, model_name: str) -> Mapping[str, bytes]:
        """See ``Predictor``."""
        return self._description.plots.get(model_name, {})

    def status(self) -> dict[str, object]:
        """See ``Predictor``; models that failed to load are unavailable."""
        if self._predictor is not None and not self._predictor.is_available:
            return self._predictor.status()
        return status_of(self._description)


def status_of(description: ModelsDescription) -> dict[str, object]:
    """Return the status of all models as JSON values, with the identity that analyses are recorded under."""
    models = [asdict(status) for status in description.statuses]
    nodule = next(status for status in models if status["task"] == "nodule")
    identity = {"name": description.name, "version": description.version, "sha256": description.sha256}
    return {**nodule, **identity, "models": models}
