"""JSON shapes of uploads and predictions."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from webapp.api.shapes import Interval, ModelShape, Percent, Probability, Uid


class InputShape(TypedDict):
    """Detected kind of the upload, and whether the model is validated for such input."""

    kind: Literal["slice", "nodule", "dicom"]
    in_domain: bool
    reasons: list[str]


class UsedModelShape(ModelShape):
    """Identity of the model, and the temperature that its logits were divided by."""

    temperature: float


class UploadPatientShape(TypedDict, total=False):
    """Patient details provided with an upload."""

    age: int
    sex: str
    smoking_pack_years: float
    family_history: bool
    symptoms: str


class LeftOutShape(TypedDict):
    """Files of one kind in a zip that are not CT images."""

    kind: str
    count: int
    text: str


class StudyTakenShape(TypedDict):
    """Study stored from a zip's CT images; ``already_stored`` of them had been stored before."""

    study_instance_uid: Uid
    url: str
    accepted: int
    already_stored: int
    left_out: list[LeftOutShape]
    message: str


RawAnswerShape = TypedDict("RawAnswerShape", {"class": str | None, "confidence": dict[str, Probability]})
"""Unvalidated output for input outside the validated domain; to be shown only with a warning."""


PredictionShape = TypedDict(
    "PredictionShape",
    {
        "id": str,
        "class": str | None,
        "confidence": dict[str, Probability],
        "confidence_percent": dict[str, Percent],
        "displayed": str | None,
        "displayed_basis": str | None,
        "interval": Interval | None,
        "prediction_set": list[str],
        "input": InputShape,
        "model": UsedModelShape,
        "patient": UploadPatientShape,
        "explanation_url": str | None,
        "unvalidated": NotRequired[RawAnswerShape],
    },
)
"""Prediction for an upload. ``confidence`` holds point estimates; ``displayed`` is what users are shown."""
