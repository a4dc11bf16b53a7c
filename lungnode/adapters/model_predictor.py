"""Answers uploads and clicks with the models of ``inference``: implements ``webapp.ports.Predictor``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.uploads import UploadAnswer
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeLimits, DecodeProcess, GreyPicture, UnreadablePixelsError
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.assembly import load_frame_hu
from dicom_node.series.gate import why_not_headers
from dicom_node.series.pipeline import analyse_point, scanner_of_series, slice_index
from dicom_node.series.types import reason_of
from inference.displayed import Question, displayed_of
from inference.loading import Models
from inference.networks.explanation import MapKind
from inference.predictor import NoduleAnalyzer
from inference.slices.slice_classifier import SliceClassifier
from inference.types import Abstention, CtVolume, NoduleFinding
from lungnode.adapters.archive_files import refusing
from lungnode.adapters.image_codec import (
    LUNG_WINDOW,
    MAX_SIDE_PX,
    grey_png,
    overlay_png,
    windowed,
)
from lungnode.adapters.stored_series import StoredSeries
from webapp.http.errors import UnfitInputError
from webapp.ports import MapName, MarkedPoint, PointAnswer, UploadAnalysis

UPLOAD_TIMEOUT_S = 15.0
UPLOAD_MEMORY_MB = 320
"""Memory limit of the process that decodes uploads: 110 MB for itself and its codecs, the rest for one upload.

A progressive colour JPEG of 4096 x 4096 takes 96 MB of coefficients besides its pixels.
"""
UPLOAD_PIXELS = 4 << 20
"""Maximum number of pixels of an uploaded instance (2048 x 2048)."""
_DICM = slice(128, 132)


class ModelPredictor:
    """The loaded models behind the web's port; thread-safe."""

    is_available = True

    def __init__(self, models: Models, stored: StoredSeries, limits: DecodeLimits) -> None:
        self._models = models
        self._stored = stored
        self._scratch = limits.scratch
        self._process = DecodeProcess(replace(limits, own_memory_mb=UPLOAD_MEMORY_MB, timeout_s=UPLOAD_TIMEOUT_S))

    def close(self) -> None:
        """End the decoding child."""
        self._process.close()

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """See ``Predictor``."""
        if content[_DICM] != b"DICM":
            return self._slice_answer(self._picture(content))
        point = None if row is None or column is None else (row, column)
        with self._written(content) as path, refusing():
            return self._instance_answer(path, point)

    def preview(self, content: bytes) -> bytes:
        """See ``Predictor``."""
        with self._written(content) as path, refusing():
            hu = load_frame_hu(self._frames(path)[0], self._process)
        return grey_png(windowed(hu, LUNG_WINDOW))

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """See ``Predictor``."""
        loaded = self._stored.volume(study_instance_uid, point.series_instance_uid, self._models.nodule.gate)
        with refusing():
            finding = analyse_point(
                loaded,
                self._models.nodule,
                sop_instance_uid=point.sop_instance_uid,
                frame_number=point.frame_number,
                point=(point.row, point.column),
            )
        return PointAnswer(identity_of(self._models.nodule), finding, scanner_of_series(loaded))

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """See ``Predictor``."""
        loaded = self._stored.volume(study_instance_uid, point.series_instance_uid, self._models.nodule.gate)
        with refusing():
            index = slice_index(loaded, point.sop_instance_uid, point.frame_number)
        centre = (float(index), point.row, point.column)
        weights = self._models.nodule.explanation(loaded.volume, centre, MapKind(kind))
        if weights is None:
            raise UnfitInputError(404, "no_attention", "This model has no network that looks at single planes.")
        return overlay_png(weights, max_side=max(weights.shape))

    def plots(self, model_name: str) -> dict[str, bytes]:
        """See ``Predictor``."""
        return dict(self._models.description.plots.get(model_name, {}))

    def status(self) -> dict[str, object]:
        """See ``Predictor``."""
        return self._models.description.status()

    @contextmanager
    def _written(self, content: bytes, suffix: str = ".dcm") -> Iterator[Path]:
        """Write an upload to a temporary file for the decoding process."""
        with tempfile.NamedTemporaryFile(prefix="upload-", suffix=suffix, dir=self._scratch) as file:
            file.write(content)
            file.flush()
            yield Path(file.name)

    def _picture(self, content: bytes) -> GreyPicture:
        """Decode a PNG or JPEG in the decoding process."""
        with self._written(content, ".picture") as path, refusing():
            try:
                return self._process.picture(path)
            except UnreadablePixelsError:
                text = "The picture cannot be decoded; it may be damaged."
                raise UnfitInputError(422, "unreadable_image", text) from None

    def _slice_answer(self, picture: GreyPicture) -> UploadAnalysis:
        classifier, grey = self._models.slice, picture.grey
        prediction = classifier.predict(grey, is_coloured=picture.is_coloured)
        answer = UploadAnswer(
            kind="slice",
            probabilities=prediction.probabilities,
            prediction_set=prediction.prediction_set if prediction.is_in_domain else (),
            reasons=tuple(map(reason_of, prediction.abstentions)),
            model=identity_of(classifier),
            temperature=classifier.temperature,
            displayed=prediction.displayed.to_json() if prediction.displayed and prediction.is_in_domain else None,
        )
        overlay = overlay_png(classifier.attention(grey)) if prediction.probabilities else None
        return UploadAnalysis(answer, grey_png(grey, max_side=MAX_SIDE_PX), overlay)

    def _instance_answer(self, path: Path, point: tuple[float, float] | None) -> UploadAnalysis:
        frames = self._frames(path)
        try:
            hu = load_frame_hu(frames[0], self._process)
        except UnfitImagesError as error:
            return UploadAnalysis(self._no_answer(error.reason), None, None)
        png = grey_png(windowed(hu, LUNG_WINDOW), max_side=MAX_SIDE_PX)
        if reason := _why_not_instance(frames, point):
            return UploadAnalysis(self._no_answer(reason), png, None)
        if point is None:
            raise AssertionError("an instance without a point is refused above")
        finding = self._finding(hu, frames[0], point)
        return UploadAnalysis(self._nodule_answer(finding), png, self._overlay(hu, frames[0], finding))

    def _frames(self, path: Path) -> tuple[FrameHeader, ...]:
        frames = self._process.headers([path], at_most=2)[0]  # a second one: multi-frame
        if not frames:
            raise UnfitInputError(422, "unreadable_headers", "The DICOM instance cannot be read.")
        if not (frames[0].sop_class_uid and frames[0].rows and frames[0].columns):
            raise UnfitInputError(422, "no_image", "The DICOM instance holds no image.")
        if frames[0].rows * frames[0].columns > UPLOAD_PIXELS:
            raise UnfitInputError(413, "too_many_pixels", "A DICOM instance may have 2048 x 2048 pixels at most.")
        return frames

    def _finding(self, hu: NDArray[np.int16], frame: FrameHeader, point: tuple[float, float]) -> NoduleFinding:
        spacing_mm = frame.pixel_spacing_mm
        if spacing_mm is None:
            return _no_finding(point, "no_pixel_spacing", "The image does not say how large its pixels are.")
        if not (-0.5 <= point[0] <= frame.rows - 0.5 and -0.5 <= point[1] <= frame.columns - 0.5):
            raise UnfitInputError(422, "outside_image", "The point lies outside the image.")
        return self._models.nodule.analyse_slice(hu, spacing_mm, point)

    def _overlay(self, hu: NDArray[np.int16], frame: FrameHeader, finding: NoduleFinding) -> bytes | None:
        """Return the attention overlay of an assessed nodule's slice."""
        if finding.malignancy_probability is None or frame.pixel_spacing_mm is None:
            return None
        volume = CtVolume(hu[None], (1.0, *frame.pixel_spacing_mm), np.eye(4))
        weights = self._models.nodule.explanation(volume, finding.index, MapKind.ATTENTION)
        return None if weights is None else overlay_png(weights)

    def _nodule_answer(self, finding: NoduleFinding) -> UploadAnswer:
        """Return the answer for a marked nodule; without a class if the model abstains."""
        probability = finding.malignancy_probability
        is_in_domain = probability is not None and not finding.abstentions
        shown = displayed_of(finding.attributes, Question.MALIGNANCY, probability) if is_in_domain else None
        return UploadAnswer(
            kind="nodule",
            probabilities={} if probability is None else {"benign": 1.0 - probability, "malignant": probability},
            prediction_set=finding.prediction_set if is_in_domain else (),
            reasons=tuple(map(reason_of, finding.abstentions)),
            model=identity_of(self._models.nodule),
            temperature=self._models.nodule.slice_temperature,
            displayed=shown.to_json() if shown else None,
        )

    def _no_answer(self, reason: Reason) -> UploadAnswer:
        """Return the answer for a DICOM instance that is not analysed."""
        return UploadAnswer(
            "dicom", {}, (), (reason,), identity_of(self._models.nodule), self._models.nodule.slice_temperature
        )


def identity_of(model: NoduleAnalyzer | SliceClassifier) -> ModelIdentity:
    """Return the identity of a model for the database."""
    return ModelIdentity(model.name, model.version, model.sha256)


def _why_not_instance(frames: Sequence[FrameHeader], point: tuple[float, float] | None) -> Reason | None:
    """Return the reason why an uploaded instance has no answer, if any."""
    if reason := why_not_headers(frames):
        return reason
    if point is None:
        return Reason(
            "place_needed",
            "Please click a nodule (fields row and column), or upload the whole series as a zip.",
        )
    if len(frames) > 1:
        return Reason("multi_frame", "Multi-frame instances are analysed as a study: please upload it as a zip.")
    return None


def _no_finding(point: tuple[float, float], code: str, text: str) -> NoduleFinding:
    return NoduleFinding((0.0, *point), None, None, None, None, abstentions=(Abstention(code, text),))
