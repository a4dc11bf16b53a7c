"""The JSON of an upload and its answer."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from webapp.api.shapes import Interval, ModelShape, Percent, Probability, Uid


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


class LeftOutShape(TypedDict):
    """Files of one kind in a zip that are no CT images."""

    kind: str
    count: int
    text: str


class StudyTakenShape(TypedDict):
    """The CT images of a zip were stored as a study; ``already_stored`` of them had been before."""

    study_instance_uid: Uid
    url: str
    accepted: int
    already_stored: int
    left_out: list[LeftOutShape]
    message: str


RawAnswerShape = TypedDict("RawAnswerShape", {"class": str | None, "confidence": dict[str, Probability]})
"""A raw answer for input that the model was not validated for; never to be shown without its warning."""


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
"""The answer to an upload. ``confidence`` holds point estimates; people are shown ``displayed``."""
