"""Services of an app, for its views."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from flask import current_app, request

from db.database import Database
from webapp.http.concurrency import Slots
from webapp.http.errors import TooManyRequestsError
from webapp.http.rate_limit import RateClass, RateLimit
from webapp.http.sessions import SessionStore
from webapp.options import WebOptions
from webapp.ports import Predictor, StoredFiles, StudyImages, StudyIntake
from webapp.services.change_feed import ChangeFeed
from webapp.services.metrics import Metrics
from webapp.services.readiness import Readiness
from webapp.services.upload_images import UploadImages
from webapp.services.view_audit import ViewLog

EXTENSION = "lungnode"


@dataclass(frozen=True, slots=True)
class Services:
    """Services available to views."""

    database: Database
    predictor: Predictor
    images: StudyImages
    files: StoredFiles
    intake: StudyIntake
    options: WebOptions
    upload_images: UploadImages
    sessions: SessionStore
    metrics: Metrics
    change_feed: ChangeFeed
    view_log: ViewLog
    limits: Mapping[RateClass, RateLimit]
    prediction_slots: threading.BoundedSemaphore
    stream_slots: threading.BoundedSemaphore
    password_slots: Slots
    archive_slots: Slots
    large_picture_slots: Slots
    readiness: Readiness = field(default_factory=Readiness)
    started: float = field(default_factory=time.monotonic)


WAIT_FOR_SLOT_S = 10.0


def current_services() -> Services:
    """Return the services of the current app."""
    return cast("Services", current_app.extensions[EXTENSION])


def absolute_url(path: str) -> str:
    """Return the absolute URL of a path of this site, as seen by the client."""
    return (current_services().options.public_url or request.host_url.rstrip("/")) + path


def reference_to(path: str) -> str:
    """Return the URL of a path of this site, independent of the Host header.

    With a public URL it is absolute, else relative (RFC 3986 4.2).
    """
    return current_services().options.public_url + path


@contextmanager
def compute_slot() -> Iterator[None]:
    """Hold one of a limited number of slots for computation or intake.

    Raises
    ------
    TooManyRequestsError
        If no slot becomes free in time.
    """
    slots = current_services().prediction_slots
    if not slots.acquire(timeout=WAIT_FOR_SLOT_S):
        raise TooManyRequestsError(WAIT_FOR_SLOT_S)
    try:
        yield
    finally:
        slots.release()
