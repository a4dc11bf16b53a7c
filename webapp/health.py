"""Whether the service lives, whether it can work, and its counters."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from db import audit
from db.errors import DbError
from webapp.services import Services, services

blueprint = Blueprint("health", __name__)
log = structlog.get_logger(__name__)


@blueprint.get("/livez")
def livez() -> Response:
    """Answer: the process lives. Nothing else is asked."""
    return jsonify(alive=True)


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Check what answers depend on."""
    checks = {name: _outcome(check) for name, check in CHECKS.items()}
    ready = all(outcome == "ok" for outcome in checks.values())
    return jsonify(ready=ready, checks=checks), 200 if ready else 503


def _database(known: Services) -> bool:
    try:
        with known.database.read() as session:
            audit.recent(session, limit=1)
        return known.database.takes_writes()
    except (DbError, OSError):
        return False


def _model(known: Services) -> bool:
    return bool(known.predictor.status().get("sha256"))


CHECKS: dict[str, Callable[[Services], bool]] = {"database": _database, "model": _model}


def _outcome(check: Callable[[Services], bool]) -> str:
    return "ok" if check(services()) else "failed"


@blueprint.get("/metrics")
def metrics() -> Response:
    """Give the counters in Prometheus' text format."""
    return Response(generate_latest(services().metrics.registry), content_type=CONTENT_TYPE_LATEST)
