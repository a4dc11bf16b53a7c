"""Assembly of the Flask app: services, guard, error handlers, blueprints."""

from __future__ import annotations

import re
import threading
from typing import Any

from flask import Flask
from flask_cors import CORS

from db.database import Database
from webapp import guard, headers, templating
from webapp.accounts import account, oidc
from webapp.api import status
from webapp.dicomweb import query, rendered, retrieve, store
from webapp.endpoints import Endpoint, check_declared, declare_static, declared
from webapp.http import error_handlers, i18n, routing
from webapp.http.concurrency import Slots
from webapp.http.rate_limit import RateClass, RateLimit
from webapp.http.sessions import SessionStore
from webapp.operations import admin, audit_pages, conformance, health, model_candidate, monitoring, pages, scanners
from webapp.options import WebOptions
from webapp.ports import Predictor, SharedFiles, StoredFiles, StudyImages, StudyIntake
from webapp.reading import events, studies, worklist
from webapp.services.change_feed import ChangeFeed
from webapp.services.metrics import Metrics
from webapp.services.registry import EXTENSION, Services
from webapp.services.upload_images import UploadImages
from webapp.services.view_audit import ViewLog
from webapp.upload import predictions

ARCHIVES = 2
"""Zip uploads processed at once."""
LARGE_PICTURES = 1
"""Large images decoded at once, some 300 MiB each."""
PASSWORD_CHECKS = 2
"""Password hashes computed at once, 32 MiB each."""
MAX_FORM_FIELDS = 50
MAX_FORM_TEXT_BYTES = 500_000
"""Werkzeug applies this bound to its read buffer of 64 KiB too: a tighter one would refuse large files."""
BLUEPRINTS = (
    pages.blueprint,
    account.blueprint,
    oidc.blueprint,
    predictions.blueprint,
    status.blueprint,
    worklist.blueprint,
    studies.blueprint,
    events.blueprint,
    health.blueprint,
    audit_pages.blueprint,
    monitoring.blueprint,
    conformance.blueprint,
    admin.blueprint,
    scanners.blueprint,
    model_candidate.blueprint,
    query.blueprint,
    rendered.blueprint,
    retrieve.blueprint,
    store.blueprint,
)


def create_app(
    *,
    database: Database,
    predictor: Predictor,
    images: StudyImages,
    files: StoredFiles,
    intake: StudyIntake,
    options: WebOptions,
    pictures: SharedFiles | None = None,
) -> Flask:
    """Create the Flask app. It opens no socket, starts no thread and reads no environment.

    Parameters
    ----------
    database
        The database, migrated to the latest schema.
    predictor
        Answers uploads and clicks.
    images
        Slices of stored studies in anatomical order, with their geometry.
    files
        Stored instances as bytes, for DICOMweb.
    intake
        Stores uploaded DICOM instances and zips.
    options
        Everything else; ``upload_images_root`` is created if missing.
    pictures
        Shared storage of upload images for web processes on other hosts; its folder contains ``upload_images_root``.
    """
    app = Flask("webapp", static_folder="static", template_folder="templates")
    app.config.update(
        MAX_CONTENT_LENGTH=options.max_upload_bytes,
        MAX_FORM_PARTS=MAX_FORM_FIELDS,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_TEXT_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[EXTENSION] = Services(
        database=database,
        predictor=predictor,
        images=images,
        files=files,
        intake=intake,
        options=options,
        upload_images=UploadImages(options.upload_images_root, options.upload_images_limit, pictures),
        sessions=SessionStore(database, options.session_idle_s, options.session_lifetime_s),
        metrics=Metrics(database, options.counts_folder),
        change_feed=ChangeFeed(database),
        view_log=ViewLog(database),
        limits={
            RateClass.PREDICTIONS: RateLimit(options.predictions_per_minute),
            RateClass.SIGN_INS: RateLimit(options.sign_ins_per_minute),
        },
        prediction_slots=threading.BoundedSemaphore(options.max_predictions),
        stream_slots=threading.BoundedSemaphore(options.max_streams),
        archive_slots=Slots(ARCHIVES, waiting=options.threads // 4, wait_s=20.0),
        large_picture_slots=Slots(LARGE_PICTURES, waiting=options.threads // 4, wait_s=20.0),
        password_slots=Slots(PASSWORD_CHECKS, waiting=options.threads // 4, wait_s=5.0),
    )
    for part in (routing, headers, guard, error_handlers, i18n, templating, oidc):
        part.install(app)
    add_endpoints(app)
    if options.cors_origins:
        shared = [endpoint for endpoint in declared(app) if endpoint.is_cross_origin]
        resources: dict[str | re.Pattern[str], dict[str, Any]] = {path: {} for one in shared for path in one.paths}
        methods = sorted({endpoint.method for endpoint in shared})
        CORS(app, resources=resources, origins=list(options.cors_origins), methods=methods, max_age=600)
    return app


def add_endpoints(app: Flask) -> None:
    """Add all endpoints to an app, with their declarations."""
    declare_static(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    check_declared(app)


def declared_endpoints() -> tuple[Endpoint, ...]:
    """Return the declarations of all endpoints, without database or predictor."""
    app = Flask("webapp", static_folder="static")
    routing.install(app)
    add_endpoints(app)
    return declared(app)
