"""The JSON of an upload and its answer."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from webapp.shapes import ModelShape, Percent, Probability, Uid


class InputShape(TypedDict):
    """What the upload was taken for, and whether the model was validated for such input."""

    kind: Literal["slice", "nodule", "dicom"]
    in_domain: bool
    reasons: list[str]


class UsedModelShape(ModelShape):
    """Which model answered, and the temperature that its logits were divided by."""

    temperature: float


class UploadPatientShape(TypedDict, total=False):
    """What the uploader told about the patient."""

    age: int
    sex: str
    smoking_pack_years: float
    family_history: bool
    symptoms: str


class StudyTakenShape(TypedDict):
    """A zip was taken into intake as a study."""

    study_instance_uid: Uid
    url: str


RawAnswerShape = TypedDict("RawAnswerShape", {"class": str | None, "confidence": dict[str, Probability]})
"""A raw answer for input that the model was not validated for; never to be shown without its warning."""


PredictionShape = TypedDict(
    "PredictionShape",
    {
        "id": str,
        "class": str | None,
        "confidence": dict[str, Probability],
        "confidence_percent": dict[str, Percent],
        "prediction_set": list[str],
        "input": InputShape,
        "model": UsedModelShape,
        "patient": UploadPatientShape,
        "explanation_url": str | None,
        "unvalidated": NotRequired[RawAnswerShape],
    },
)
"""The answer to an upload."""
