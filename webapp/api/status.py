"""Model status and the OpenAPI document."""

from __future__ import annotations

import time

from flask import Blueprint, Response, current_app, jsonify

from db.analyses import predictions
from webapp.api.models_status import ModelStatus
from webapp.api.openapi import document
from webapp.endpoints import JSON_OBJECT, SIGNED_IN, declared, endpoint
from webapp.services.registry import current_services

blueprint = Blueprint("status", __name__)


def model_status_fields() -> dict[str, object]:
    """Return the models' status with the server's counters."""
    services = current_services()
    with services.database.read() as session:
        served = predictions.prediction_count(session)
    uptime_s = round(time.monotonic() - services.started, 1)
    return {**services.predictor.status(), "uptime_s": uptime_s, "predictions_served": served}


@endpoint(blueprint, "GET", "/model_status", may=SIGNED_IN, answers={200: ModelStatus}, is_cross_origin=True)
def model_status() -> ModelStatus:
    """Models and their metrics."""
    return ModelStatus.model_validate(model_status_fields())


@endpoint(blueprint, "GET", "/openapi.json", may=SIGNED_IN, answers={200: JSON_OBJECT})
def openapi() -> Response:
    """The OpenAPI document."""
    return jsonify(document(current_services().options.version, declared(current_app)))
