"""Predictions for uploads, recorded before they are sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.models import ModelIdentity
from db.domain.uploads import UploadAnswer, UploadPatient, UploadPrediction
from db.engine.session import check_finite, check_share, checked_json, free_text, record_of
from db.tables.analyses import PredictionRow


def record_prediction(session: Session, prediction: UploadPrediction, *, actor: str) -> None:
    """Record the prediction for an upload.

    Raises
    ------
    InvalidRecordError
        If a probability is outside 0 to 1, or a number is not finite.
    """
    _check(prediction)
    answer, patient, model = prediction.answer, prediction.patient, prediction.answer.model
    session.add(
        PredictionRow(
            id=prediction.id,
            kind=answer.kind,
            input_sha256=prediction.input_sha256,
            predicted_class=answer.predicted_class,
            probabilities=dict(answer.probabilities) if answer.in_domain else {},
            prediction_set=answer.prediction_set,
            in_domain=answer.in_domain,
            reasons=answer.reasons,
            unvalidated=_unvalidated(answer),
            displayed=answer.displayed,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            temperature=answer.temperature,
            age=patient.age,
            sex=_optional(patient.sex),
            smoking_pack_years=patient.smoking_pack_years,
            family_history=patient.family_history,
            symptoms=_optional(patient.symptoms),
            created_by=actor,
            created_at=prediction.created_at,
        )
    )
    session.flush()
    _audit(session, prediction, actor)


def _check(prediction: UploadPrediction) -> None:
    for probability in prediction.answer.probabilities.values():
        check_share("probabilities", probability)
    check_finite("temperature", prediction.answer.temperature)
    check_finite("smoking_pack_years", prediction.patient.smoking_pack_years)
    checked_json("displayed", prediction.answer.displayed or {})


def _unvalidated(answer: UploadAnswer) -> dict[str, object] | None:
    """Return the raw output for input outside the validated domain, which is stored apart."""
    if answer.in_domain or not answer.probabilities:
        return None
    return {"class": answer.top_class, "confidence": answer.probabilities}


def _optional(value: str | None) -> str | None:
    return None if value is None else free_text(value)


def _audit(session: Session, prediction: UploadPrediction, actor: str) -> None:
    details: dict[str, object] = {
        "kind": prediction.answer.kind,
        "input_sha256": prediction.input_sha256,
        "predicted_class": prediction.answer.predicted_class,
        "in_domain": prediction.answer.in_domain,
        "model_sha256": prediction.answer.model.sha256,
    }
    audit.append(session, AuditEvent("prediction:answered", actor, prediction.id, details=details))


def prediction_record(session: Session, prediction_id: str) -> UploadPrediction | None:
    """Return the prediction of that id, or None."""
    row = session.get(PredictionRow, prediction_id)
    if row is None:
        return None
    unvalidated: Any = row.unvalidated or {"confidence": {}}
    return record_of(
        UploadPrediction,
        row,
        answer=record_of(
            UploadAnswer,
            row,
            probabilities=dict(row.probabilities if row.in_domain else unvalidated["confidence"]),
            model=ModelIdentity(row.model_name, row.model_version, row.model_sha256),
        ),
        patient=UploadPatient(row.age, row.sex, row.smoking_pack_years, row.family_history, row.symptoms),
    )


def prediction_count(session: Session) -> int:
    """Return the number of predictions for uploads."""
    return session.scalars(select(func.count()).select_from(PredictionRow)).one()
