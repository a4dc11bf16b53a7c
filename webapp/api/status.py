"""What the models are, and the document of this interface."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify

from db.analyses import predictions
from webapp.api.openapi import document
from webapp.services.registry import current_services

blueprint = Blueprint("status", __name__)


def model_status_fields() -> dict[str, object]:
    """Give the models' own account with the server's counters."""
    services = current_services()
    with services.database.read() as session:
        served = predictions.prediction_count(session)
    uptime_s = round(time.monotonic() - services.started, 1)
    return {**services.predictor.status(), "uptime_s": uptime_s, "predictions_served": served}


@blueprint.get("/model_status")
def model_status() -> Response:
    """Give name, version, digest, metrics, limits and counters of every model."""
    return jsonify(model_status_fields())


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Give the OpenAPI 3.1 document of all that answers JSON."""
    return jsonify(document(current_services().options.version))
