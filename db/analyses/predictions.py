"""Predictions for uploads, recorded before they are sent."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.records import AuditEvent, ModelIdentity, UploadPatient, UploadPrediction
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
    patient, model = prediction.patient, prediction.model
    session.add(
        PredictionRow(
            id=prediction.id,
            kind=prediction.kind,
            input_sha256=prediction.input_sha256,
            predicted_class=prediction.predicted_class,
            probabilities=dict(prediction.probabilities),
            prediction_set=prediction.prediction_set,
            in_domain=prediction.in_domain,
            reasons=prediction.reasons,
            unvalidated=prediction.unvalidated,
            displayed=prediction.displayed,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            temperature=prediction.temperature,
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
    for probability in prediction.probabilities.values():
        check_share("probabilities", probability)
    check_finite("temperature", prediction.temperature)
    check_finite("smoking_pack_years", prediction.patient.smoking_pack_years)
    checked_json("unvalidated", prediction.unvalidated or {})
    checked_json("displayed", prediction.displayed or {})


def _optional(value: str | None) -> str | None:
    return None if value is None else free_text(value)


def _audit(session: Session, prediction: UploadPrediction, actor: str) -> None:
    details: dict[str, object] = {
        "kind": prediction.kind,
        "input_sha256": prediction.input_sha256,
        "predicted_class": prediction.predicted_class,
        "in_domain": prediction.in_domain,
        "model_sha256": prediction.model.sha256,
    }
    audit.append(session, AuditEvent("prediction:answered", actor, prediction.id, details=details))


def prediction_record(session: Session, prediction_id: str) -> UploadPrediction | None:
    """Return the prediction of that id, or None."""
    row = session.get(PredictionRow, prediction_id)
    if row is None:
        return None
    return record_of(
        UploadPrediction,
        row,
        probabilities=dict(row.probabilities),
        model=ModelIdentity(row.model_name, row.model_version, row.model_sha256),
        patient=UploadPatient(row.age, row.sex, row.smoking_pack_years, row.family_history, row.symptoms),
    )


def prediction_count(session: Session) -> int:
    """Return the number of predictions for uploads."""
    return session.scalars(select(func.count()).select_from(PredictionRow)).one()
