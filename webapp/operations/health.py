"""Liveness, readiness and metrics endpoints."""

from __future__ import annotations

import os
from collections.abc import Callable

from flask import Blueprint, Response, g
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from db.audit import trail as audit
from db.domain.errors import DbError
from db.engine.files import probe_disk
from webapp.accounts.identity import Principal
from webapp.api.models_status import Liveness, Readiness
from webapp.endpoints import ANY_QUERY, EVERYONE, OBSERVE, TEXT, endpoint
from webapp.services.registry import Services, current_services

blueprint = Blueprint("health", __name__)

"""Bytes written and synced to test the disk: a quota may apply although the file system reports free space."""


@endpoint(blueprint, "GET", "/livez", may=EVERYONE, answers={200: Liveness}, query=ANY_QUERY, is_probe=True)
def livez() -> Liveness:
    """Liveness of the process."""
    return Liveness(alive=True)


@endpoint(
    blueprint, "GET", "/readyz", may=EVERYONE, answers={200: Readiness, 503: Readiness}, query=ANY_QUERY, is_probe=True
)
def readyz() -> tuple[Readiness, int]:
    """Readiness of the service."""
    if not _may_read_details():
        ready = current_services().readiness.is_ready(lambda: _is_ready(_checks()))
        return Readiness(ready=ready), 200 if ready else 503
    checks = _checks()
    ready = _is_ready(checks)
    return Readiness(ready=ready, checks=checks), 200 if ready else 503


def _checks() -> dict[str, str]:
    return {name: _outcome(check) for name, check in CHECKS.items()}


def _is_ready(checks: dict[str, str]) -> bool:
    return all(outcome == "ok" for outcome in checks.values())


def _may_read_details() -> bool:
    if not current_services().options.auth_required:
        return True
    caller: Principal | None = g.get("principal")
    return caller is not None and caller.role in OBSERVE


def _database(services: Services) -> bool:
    try:
        with services.database.read() as session:
            audit.recent(session, limit=1)
        return services.database.takes_writes()
    except (DbError, OSError):
        return False


def _model(services: Services) -> bool:
    return bool(services.predictor.status().get("sha256"))


def _disk(services: Services) -> bool:
    """Return whether the disk is writable and has the minimum free space."""
    root = services.options.upload_images_root
    folder = next(path for path in (root, *root.parents) if path.is_dir())
    try:
        probe_disk(folder)
        state = os.statvfs(folder)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize >= services.options.min_free_bytes


CHECKS: dict[str, Callable[[Services], bool]] = {"database": _database, "disk": _disk, "model": _model}


def _outcome(check: Callable[[Services], bool]) -> str:
    return "ok" if check(current_services()) else "failed"


@endpoint(blueprint, "GET", "/metrics", may=OBSERVE, answers={200: TEXT}, query=ANY_QUERY)
def metrics() -> Response:
    """Counters for Prometheus."""
    return Response(generate_latest(current_services().metrics.registry), content_type=CONTENT_TYPE_LATEST)
