"""JSON models of uploads and predictions."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field
from pydantic.json_schema import SkipJsonSchema

from db.domain import uploads
from inference.displayed import Displayed, DisplayedProbability, Question, read_displayed
from webapp import ports
from webapp.api.models import ABSENT, Answer, Model, Percent, Share, Uid, merged, rounded
from webapp.http import rounding


class UploadInput(Answer):
    """Detected kind of the upload, and whether the model is validated for such input."""

    kind: Annotated[str, Field(json_schema_extra={"enum": ["slice", "nodule", "dicom"]})]
    in_domain: bool
    reasons: list[str]


class UsedModel(Model):
    """Identity of the model, and the temperature that its logits were divided by."""

    temperature: Annotated[float, AfterValidator(rounded(4))]


class UploadPatient(Answer):
    """Patient details provided with an upload."""

    age: int | SkipJsonSchema[None] = ABSENT
    sex: str | SkipJsonSchema[None] = ABSENT
    smoking_pack_years: float | SkipJsonSchema[None] = ABSENT
    family_history: bool | SkipJsonSchema[None] = ABSENT
    symptoms: str | SkipJsonSchema[None] = ABSENT


class LeftOut(Answer):
    """Files of one kind in a zip that are not CT images."""

    kind: str
    count: int
    text: str


class AcceptedStudy(Answer):
    """Study stored from a zip's CT images; ``already_stored`` of them had been stored before."""

    study_instance_uid: Uid
    url: str
    accepted: int
    already_stored: int
    left_out: list[LeftOut]
    message: str

    @classmethod
    def of(cls, study: ports.AcceptedStudy, url: str) -> Self:
        """Return the outcome of an uploaded zip."""
        left_out = ", ".join(files.text for files in study.left_out)
        message = (
            f"{study.accepted} CT image{'s' if study.accepted != 1 else ''} accepted"
            + (f", {study.already_stored} of them already stored" if study.already_stored else "")
            + (f"; left out: {left_out}." if left_out else ".")
        )
        return cls.model_validate(merged(study, url=url, message=message))


class RawAnswer(Answer):
    """Unvalidated output for input outside the validated domain; to be shown only with a warning."""

    predicted_class: str | None = Field(serialization_alias="class")
    confidence: dict[str, Share]

    @classmethod
    def of(cls, answer: uploads.UploadAnswer) -> Self:
        """Return the unvalidated output, with confidences that sum to 1."""
        return cls(predicted_class=answer.top_class, confidence=rounding.confidence(answer.probabilities))


class Prediction(Answer):
    """Prediction for an upload. ``confidence`` holds point estimates; ``displayed`` is what users are shown."""

    id: str
    predicted_class: str | None = Field(serialization_alias="class")
    confidence: dict[str, Share]
    confidence_percent: dict[str, Percent]
    displayed: str | None
    displayed_basis: str | None
    interval: tuple[Share, Share] | None
    prediction_set: list[str]
    input: UploadInput
    model: UsedModel
    patient: UploadPatient
    explanation_url: str | None
    unvalidated: RawAnswer | SkipJsonSchema[None] = ABSENT

    @classmethod
    def of(cls, record: uploads.UploadPrediction, explanation_url: str | None) -> Self:
        """Return the prediction of a record."""
        answer = record.answer
        shares = rounding.confidence(answer.probabilities) if answer.in_domain else {}
        shown = displayed_prediction(answer)
        reasons = [reason.text for reason in answer.reasons]
        return cls.model_validate(
            merged(
                record,
                predicted_class=answer.predicted_class,
                confidence=shares,
                confidence_percent=rounding.percent(shares),
                displayed=shown.text if shown else None,
                displayed_basis=shown.sentence if shown else None,
                interval=(shown.low, shown.high) if isinstance(shown, DisplayedProbability) else None,
                prediction_set=answer.prediction_set,
                input={"kind": answer.kind, "in_domain": answer.in_domain, "reasons": reasons},
                model=merged(answer.model, temperature=answer.temperature),
                explanation_url=explanation_url,
                unvalidated=RawAnswer.of(answer) if answer.probabilities and not answer.in_domain else None,
            )
        )


def displayed_prediction(answer: uploads.UploadAnswer) -> Displayed | None:
    """Return the displayed probability of ``malignant``; None without a validated result."""
    if not answer.in_domain or "malignant" not in answer.probabilities:
        return None
    return read_displayed(answer.displayed, Question.SLICE if answer.kind == "slice" else Question.MALIGNANCY)
