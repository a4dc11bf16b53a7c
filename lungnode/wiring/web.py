"""Builds the web application and its collaborators from the settings."""

from __future__ import annotations

import hmac
import logging
from dataclasses import replace
from functools import partial
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from db.domain.accounts import Role
from lungnode.adapters.live_model import LiveBundle, checked
from lungnode.settings.dicom import Destination, Peer
from lungnode.settings.service import Settings, is_loopback
from lungnode.settings.web import WebSettings
from lungnode.wiring.base import build_intake, decode_limits, open_database, open_store

if TYPE_CHECKING:
    from flask import Flask

    from lungnode.adapters.live_predictor import LazyModels
    from lungnode.adapters.model_predictor import ModelPredictor
    from lungnode.adapters.stored_series import StoredSeries
    from lungnode.adapters.unavailable_predictor import UnavailablePredictor
    from webapp.options import Node, OidcProvider, WebOptions

_log = logging.getLogger(__name__)


def web_options(settings: Settings) -> WebOptions:
    """Return the options of the web application."""
    from lungnode.adapters.conformance import statement
    from webapp.options import WebOptions

    web = settings.web
    return WebOptions(
        upload_images_root=(settings.store_root if settings.store.url else settings.home) / "evidence",
        min_free_bytes=settings.dicom.min_free_mb << 20,
        counts_folder=settings.home / "run",
        conformance=statement(settings),
        version=package_version("lungnode"),
        auth_required=settings.web_auth_required,
        bound_to_loopback=is_loopback(web.host),
        max_upload_bytes=web.max_upload_mb << 20,
        cors_origins=web.cors_origins,
        public_url=web.public_url or "",
        allowed_hosts=(urlsplit(web.public_url).hostname or "",) if web.public_url else (),
        secure_cookies=bool(web.public_url and web.public_url.startswith("https://")),
        max_wait_s=web.max_wait_min * 60.0,
        report_template=web.report_template,
        threads=web.threads,
        trusted_proxies=web.trusted_proxies,
        forwarded_header=web.forwarded_header,
        oidc=_oidc(web),
        peers=tuple(_peer(peer) for peer in settings.dicom.peers),
        destinations=tuple(_destination(destination) for destination in settings.dicom.destinations),
    )


def _oidc(web: WebSettings) -> OidcProvider | None:
    from webapp.options import OidcProvider

    if web.oidc_issuer is None or web.oidc_client_secret is None:
        return None
    return OidcProvider(
        issuer=web.oidc_issuer,
        client_id=web.oidc_client_id,
        client_secret=web.oidc_client_secret.get_secret_value(),
        roles={value: Role(role) for value, role in web.oidc_roles.items()},
        role_claim=web.oidc_role_claim,
    )


def _peer(peer: Peer) -> Node:
    from webapp.options import Node

    rights = ["associate", *(["store"] if peer.may_store else []), *(["query and retrieve"] if peer.may_query else [])]
    if peer.is_bound:
        rights.append("identified by certificate")
    if peer.priors:
        hours = "" if peer.priors_hours is None else ", {:02d} to {:02d} h".format(*peer.priors_hours)
        rights.append(f"{peer.priors} priors requested{hours}")
    return Node(peer.ae_title, f"{peer.host}:{peer.port}", "; ".join(rights))


def _destination(destination: Destination) -> Node:
    from webapp.options import Node

    note = "storage commitment" if destination.storage_commitment else ""
    return Node(destination.ae_title, destination.url or f"{destination.host}:{destination.port}", note)


class Web:
    """The web application with its collaborators; ``close`` ends their child processes."""

    def __init__(self, settings: Settings) -> None:
        from lungnode.adapters.archive_files import ArchiveFiles, SharedPictures
        from lungnode.adapters.live_predictor import LivePredictor
        from lungnode.adapters.stored_series import StoredSeries
        from lungnode.adapters.web_intake import WebIntake
        from webapp.assembly import create_app

        self._database = open_database(settings)
        secret_key = hmac.digest(self._database.audit_key, b"forms of the web", "sha256")
        self.options = replace(web_options(settings), secret_key=secret_key)
        self._store = open_store(settings)
        self._stored = StoredSeries(self._database, self._store, decode_limits(settings))
        self._files = ArchiveFiles(self._store, decode_limits(settings), self._database)
        build = partial(describe_live, settings, self._stored)
        self.predictor = LivePredictor(self._database, self._store.files, build)
        self.app: Flask = create_app(
            database=self._database,
            predictor=self.predictor,
            images=self._stored,
            files=self._files,
            intake=WebIntake(build_intake(settings, self._store, self._database)),
            options=self.options,
            pictures=SharedPictures(self._store.files) if settings.store.url else None,
        )

    def close(self) -> None:
        """Close event streams, decoding processes, files and connections."""
        from webapp.services.registry import EXTENSION

        self.app.extensions[EXTENSION].change_feed.close()
        self._stored.close()
        self._files.close()
        self.predictor.close()
        self._store.close()
        self._database.dispose()


def describe_live(settings: Settings, stored: StoredSeries, promoted: LiveBundle | None = None) -> LazyModels:
    """Describe the models for uploads and clicks, which are loaded when first needed."""
    from inference.description import describe_models
    from inference.errors import InferenceError
    from lungnode.adapters.live_predictor import LazyModels

    model = settings.model
    description = None
    try:
        over = checked(promoted)
        description = describe_models(model.bundle, model.device, model.engine, model.variant, over=over)
    except InferenceError:
        _log.exception("model:unavailable")
    return LazyModels(description, partial(load_predictor, settings, stored, promoted))


def load_predictor(
    settings: Settings, stored: StoredSeries, promoted: LiveBundle | None = None
) -> ModelPredictor | UnavailablePredictor:
    """Load the models for uploads and clicks; an ``UnavailablePredictor`` if they cannot be loaded."""
    from inference.errors import InferenceError
    from inference.loading import load_models
    from lungnode.adapters.model_predictor import ModelPredictor
    from lungnode.adapters.unavailable_predictor import UnavailablePredictor

    model = settings.model
    try:
        models = load_models(
            *(model.bundle, model.device, model.engine, model.variant),
            over=checked(promoted),
            cache=settings.network_cache,
        )
    except InferenceError:
        _log.exception("model:unavailable")
        return UnavailablePredictor()
    return ModelPredictor(models, stored, decode_limits(settings))
