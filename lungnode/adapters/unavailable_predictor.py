"""Predictor for a service whose models cannot be loaded; needs no torch."""

from __future__ import annotations

from webapp.http.errors import UnfitInputError
from webapp.ports import MapName, MarkedPoint, PointAnswer, UploadAnalysis


class UnavailablePredictor:
    """Predictor that refuses every request with 503; images are still received and stored."""

    is_available = False

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """See ``Predictor``."""
        raise self._refusal()

    def preview(self, content: bytes) -> bytes:
        """See ``Predictor``."""
        raise self._refusal()

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """See ``Predictor``."""
        raise self._refusal()

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """See ``Predictor``."""
        raise self._refusal()

    def plots(self, model_name: str) -> dict[str, bytes]:
        """See ``Predictor``."""
        return {}

    def status(self) -> dict[str, object]:
        """See ``Predictor``."""
        return {"models": [], "error": "the models cannot be loaded"}

    def close(self) -> None:
        """Do nothing."""

    def _refusal(self) -> UnfitInputError:
        return UnfitInputError(503, "no_model", "The models cannot be loaded; nothing can be analysed now.")
