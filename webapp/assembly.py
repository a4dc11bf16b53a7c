"""Puts the app together: services, guards, failures, pages."""

from __future__ import annotations

import re
import threading
from typing import Any

from flask import Flask
from flask_cors import CORS

from db.engine import Database
from webapp import (
    account,
    admin,
    candidate,
    conformance,
    events,
    failures,
    guard,
    headers,
    health,
    languages,
    monitoring,
    oidc,
    pages,
    predictions,
    routing,
    scanners,
    status,
    studies,
    templating,
    trail,
    worklist,
)
from webapp.dicomweb import query, rendered, retrieve, store
from webapp.evidence import EvidenceFolder
from webapp.metrics import Metrics
from webapp.options import WebOptions
from webapp.ports import Predictor, SharedFiles, StoredFiles, StudyImages, StudyIntake
from webapp.ratelimit import RateLimit
from webapp.services import EXTENSION, Services
from webapp.sessions import SessionStore
from webapp.slots import Slots
from webapp.views import ViewLog
from webapp.watch import ChangeWatch

ARCHIVES = 2
"""Archives taken at once."""
LARGE_PICTURES = 1
"""Pictures of many pixels decoded at once, some 300 MiB each."""
PASSWORD_CHECKS = 2
"""Password hashes computed at once, 32 MiB each."""
MAX_FORM_FIELDS = 50
MAX_FORM_TEXT_BYTES = 500_000
"""Werkzeug holds this bound against its read buffer of 64 KiB too: a tighter one would refuse large files."""
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
    trail.blueprint,
    monitoring.blueprint,
    conformance.blueprint,
    admin.blueprint,
    scanners.blueprint,
    candidate.blueprint,
    query.blueprint,
    rendered.blueprint,
    retrieve.blueprint,
    store.blueprint,
)


def assemble(
    *,
    database: Database,
    predictor: Predictor,
    images: StudyImages,
    files: StoredFiles,
    intake: StudyIntake,
    options: WebOptions,
    pictures: SharedFiles | None,
) -> Flask:
    """Do what ``webapp.create_app`` says."""
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
        evidence=EvidenceFolder(options.evidence_root, options.evidence_limit, pictures),
        sessions=SessionStore(database, options.session_idle_s, options.session_lifetime_s),
        metrics=Metrics(database, options.counts_folder),
        watch=ChangeWatch(database),
        views=ViewLog(),
        prediction_limit=RateLimit(options.predictions_per_minute),
        sign_in_limit=RateLimit(options.sign_ins_per_minute),
        prediction_slots=threading.BoundedSemaphore(options.max_predictions),
        stream_slots=threading.BoundedSemaphore(options.max_streams),
        archive_slots=Slots(ARCHIVES, waiting=options.threads // 4, wait_s=20.0),
        large_picture_slots=Slots(LARGE_PICTURES, waiting=options.threads // 4, wait_s=20.0),
        password_slots=Slots(PASSWORD_CHECKS, waiting=options.threads // 4, wait_s=5.0),
    )
    for part in (routing, headers, guard, failures, languages, templating, oidc):
        part.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    if options.cors_origins:
        resources: dict[str | re.Pattern[str], dict[str, Any]] = {"/predict": {}, "/model_status": {}}
        CORS(app, resources=resources, origins=list(options.cors_origins), methods=["GET", "POST"], max_age=600)
    return app
