"""Model status and the OpenAPI document."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify

from db.analyses import predictions
from webapp.api.openapi import document
from webapp.services.registry import current_services

blueprint = Blueprint("status", __name__)


def model_status_fields() -> dict[str, object]:
    """Return the models' status with the server's counters."""
    services = current_services()
    with services.database.read() as session:
        served = predictions.prediction_count(session)
    uptime_s = round(time.monotonic() - services.started, 1)
    return {**services.predictor.status(), "uptime_s": uptime_s, "predictions_served": served}


@blueprint.get("/model_status")
def model_status() -> Response:
    """Return name, version, digest, metrics, limits and counters of every model."""
    return jsonify(model_status_fields())


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return jsonify(document(current_services().options.version))
