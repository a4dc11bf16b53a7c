"""Builds the collaborators of every part from the settings; the only place that knows them all."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url

from db.domain import Role
from db.engine import Database, load_or_create_audit_key
from dicom_node.decode_process import DecodeLimits
from dicom_node.files import Files
from dicom_node.store import InstanceStore
from lungnode.errors import CommandError
from lungnode.live_model import LiveBundle, LivePool, SwitchingPredictor, checked
from lungnode.settings import Destination, LogSettings, ModelSettings, Peer, Settings, WebSettings, is_loopback

if TYPE_CHECKING:
    from flask import Flask

    from dicom_node.access import PeerRule
    from dicom_node.analysis_process import AnalysisPool, MakeAnalyzer
    from dicom_node.delivery import DeliveryConfig
    from dicom_node.intake import Intake
    from dicom_node.listener import ListenerSettings
    from dicom_node.pipeline import Analyzer
    from dicom_node.priors import PriorFetcher
    from dicom_node.results import ResultMaker
    from dicom_node.roster import Roster
    from dicom_node.scp import PortServices
    from dicom_node.scu import RemoteNode
    from dicom_node.tls import TlsFiles
    from dicom_node.trials import Trials
    from dicom_node.worker import Chore
    from dicom_node.workflow import AnalysisWorkflows, WorkflowConfig
    from lungnode.predicting import ModelPredictor, UnavailablePredictor
    from lungnode.stored_series import StoredSeries
    from webapp.options import Node, OidcProvider, WebOptions

_log = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """Open the records; the schema was brought up to date by whoever started this process."""
    return Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))


def open_store(settings: Settings) -> InstanceStore:
    """Open the stored instances: a folder of HOME, or an object store with one as cache."""
    return InstanceStore(stored_files(settings) or settings.store_root, settings.dicom.min_free_mb << 20)


def stored_files(settings: Settings) -> Files | None:
    """Connect to the object store where one is set.

    Raises
    ------
    CommandError
        What speaks with it is not installed.
    """
    if not settings.store.url:
        return None
    from dicom_node.object_files import ObjectFiles, ObjectStoreAddress

    store = settings.store
    address = ObjectStoreAddress(store.url, store.endpoint_url, store.key, store.secret.get_secret_value())
    try:
        return ObjectFiles(
            settings.store_root, address, cache_bytes=store.cache_mb << 20, grace_s=settings.worker.timeout_s
        )
    except ImportError:
        raise CommandError("LUNGNODE_STORE__URL needs the extra s3: pip install 'lungnode[s3]'") from None


def scratch_folder(settings: Settings) -> Path:
    """Name the folder for files that live as long as one request."""
    return settings.home / "scratch"


def decode_limits(settings: Settings) -> DecodeLimits:
    """Bound what the process may use that decodes strangers' files."""
    return DecodeLimits(
        memory_mb=settings.worker.memory_mb, timeout_s=settings.worker.timeout_s, scratch=scratch_folder(settings)
    )


def build_intake(settings: Settings, store: InstanceStore, database: Database) -> Intake:
    """Make what takes instances, from the network and from uploads."""
    from dicom_node.intake import Intake, IntakeLimits

    return Intake(store, database, IntakeLimits(max_instance_bytes=settings.dicom.max_instance_mb << 20))


def listener_settings(settings: Settings) -> ListenerSettings:
    """Say what the listener has to know.

    Raises
    ------
    OSError
        A file of TLS cannot be read.
    """
    from dicom_node.listener import ListenerSettings
    from dicom_node.tls import ServerTls

    dicom, files = settings.dicom, tls_files(settings)
    return ListenerSettings(
        host=dicom.host,
        port=dicom.port,
        ae_title=dicom.ae_title,
        peers=tuple(peer_rule(peer) for peer in dicom.peers),
        max_associations=dicom.max_associations,
        timeout_s=dicom.timeout_s,
        tls=ServerTls(files) if files else None,
    )


def peer_rule(peer: Peer) -> PeerRule:
    """Say what a peer may do, and how it is known."""
    from dicom_node.access import PeerRule
    from dicom_node.identity import CertificateRule

    certificate = CertificateRule(frozenset(peer.certificate_sha256), frozenset(peer.certificate_names))
    return PeerRule(peer.ae_title, peer.host, peer.may_store, peer.may_query, certificate)


def tls_files(settings: Settings) -> TlsFiles | None:
    """Name the files of TLS, where the settings do."""
    from dicom_node.tls import TlsFiles

    tls = settings.dicom.tls
    if tls.certificate is None or tls.key is None or tls.authority is None:
        return None
    return TlsFiles(tls.certificate, tls.key, tls.authority, tls.revocations, tls.require_certificate)


def remote_node(settings: Settings, node: Peer | Destination, ae_title: str = "") -> RemoteNode:
    """Say how another node is called; by another AE title where one is given."""
    from dicom_node.scu import RemoteNode

    tls = tls_files(settings) if node.tls else None
    return RemoteNode(ae_title or node.ae_title, node.host, node.port, tls=tls, tls_name=node.tls_name)


def address_book(settings: Settings) -> dict[str, RemoteNode]:
    """Name every node that has an address here, by AE title: peers, and destinations of results."""
    peers = [remote_node(settings, peer) for peer in settings.dicom.peers]
    return {node.ae_title: node for node in (*delivery_config(settings).destinations, *peers) if not node.url}


def port_services(settings: Settings, database: Database, store: InstanceStore) -> PortServices:
    """Make what the port answers besides C-STORE: queries, retrievals and storage commitment."""
    from dicom_node.commitment import report_handler
    from dicom_node.commitment_scp import CommitmentService
    from dicom_node.query_scp import QueryService
    from dicom_node.retrieve_scp import RetrieveService
    from dicom_node.scp import PortServices

    station, nodes = settings.dicom.ae_title, address_book(settings)
    committing = [d.ae_title for d in settings.dicom.destinations if d.storage_commitment]
    return PortServices(
        query=QueryService(database, station),
        retrieve=RetrieveService(database, store, station, nodes),
        commitment=CommitmentService(database, store, station, nodes),
        reports=report_handler(database, committing) if committing else None,
    )


def analyzer_maker(settings: Settings) -> MakeAnalyzer:
    """Give a function that loads the models in the process where it is called."""
    return partial(load_analyzer, settings.model, settings.log)


def load_analyzer(model: ModelSettings, log: LogSettings, promoted: LiveBundle | None = None) -> Analyzer:
    """Load the nodule models in a process of their own, which gets its logs here as well."""
    from inference.predictor import load_models
    from lungnode.logs import configure_logging

    configure_logging(log.level, log.format)
    return load_models(model.bundle, model.device, model.engine, model.opinion, over=checked(promoted)).nodule


def load_candidate(model: ModelSettings, log: LogSettings) -> Analyzer:
    """Load the second nodule model where it disturbs least: on one CPU, at the lowest priority, first to go."""
    import torch

    from inference.predictor import load_models
    from lungnode.logs import configure_logging

    configure_logging(log.level, log.format)
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    torch.set_num_threads(1)
    return load_models(model.bundle, "cpu", model.engine, model.opinion, over=model.shadow_bundle).nodule


def build_trials(settings: Settings, database: Database, store: InstanceStore) -> Trials | None:
    """Make what tries a second model on series that were answered; None where there is none."""
    from dicom_node.analysis_process import AnalysisLimits, AnalysisProcess
    from dicom_node.trials import Trials

    if settings.model.shadow_bundle is None:
        return None
    limits = AnalysisLimits(decode_limits(settings), timeout_s=settings.worker.timeout_s)
    load = partial(load_candidate, settings.model, settings.log)
    return Trials(database, store.files.locate, partial(AnalysisProcess, load, limits))


def build_live_pool(
    settings: Settings, database: Database, store: InstanceStore, make_analyzer: MakeAnalyzer
) -> LivePool:
    """Make the analysing processes of the model that counts; ``make_analyzer`` loads the one of the settings."""

    def maker(promoted: LiveBundle | None) -> MakeAnalyzer:
        return partial(load_analyzer, settings.model, settings.log, promoted) if promoted else make_analyzer

    return LivePool(database, store.files, partial(build_pool, settings), maker)


def build_pool(settings: Settings, make_analyzer: MakeAnalyzer) -> AnalysisPool:
    """Make the analysing processes; they are started by ``AnalysisPool.start``."""
    from dicom_node.analysis_process import AnalysisLimits, AnalysisPool

    limits = AnalysisLimits(decode_limits(settings), timeout_s=settings.worker.timeout_s)
    return AnalysisPool(make_analyzer, limits, settings.worker.concurrency)


def workflow_config(settings: Settings) -> WorkflowConfig:
    """Place the queue: a SQLite file of its own in HOME, or the PostgreSQL database of the records."""
    from dicom_node.workflow import WorkflowConfig

    return WorkflowConfig(
        url=workflow_url(settings),
        executor_id=settings.worker.executor_id,
        version=settings.worker.queue_version,
        concurrency=settings.worker.concurrency,
    )


def workflow_url(settings: Settings) -> str:
    """Tell the URL of the queue's database."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.home / 'workflows.db'}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def build_result_maker(settings: Settings, database: Database, store: InstanceStore) -> ResultMaker:
    """Make what turns answered analyses into DICOM objects."""
    from dicom_node.results import ReportSettings, ResultMaker

    report = ReportSettings(
        station=settings.dicom.ae_title,
        software_version=package_version("lungnode"),
        destinations=tuple(destination.ae_title for destination in settings.dicom.destinations),
        kinds=settings.dicom.results,
        memory_mb=settings.worker.memory_mb,
    )
    return ResultMaker(database, store.files, report)


def build_delivery(
    settings: Settings, database: Database, maker: ResultMaker, store: InstanceStore
) -> Callable[[], object]:
    """Give a function that makes result objects which became due, and sends every one that is."""
    from dicom_node.delivery import deliver_due
    from dicom_node.worker import alone

    config = delivery_config(settings)

    def deliver() -> object:
        maker.follow_up()
        return deliver_due(database, store.files, config)

    return alone(database, "deliver", deliver)


def delivery_config(settings: Settings) -> DeliveryConfig:
    """Say to whom results go, and that never to ourselves."""
    from dicom_node.delivery import DeliveryConfig

    dicom = settings.dicom
    return DeliveryConfig(
        station=dicom.ae_title,
        destinations=tuple(
            replace(
                remote_node(settings, node),
                storage_commitment=node.storage_commitment,
                url=node.url,
                authorization=node.authorization.get_secret_value(),
                ca_file=node.ca_file,
            )
            for node in dicom.destinations
        ),
        own_address=(dicom.host, dicom.port) if dicom.port else None,
    )


def build_priors(settings: Settings, database: Database) -> PriorFetcher | None:
    """Make what fetches earlier studies; None where no peer is asked for any."""
    from dicom_node.priors import PriorFetcher, PriorSource

    sources = [
        PriorSource(remote_node(settings, peer, peer.query_ae_title), peer.priors, peer.priors_hours)
        for peer in settings.dicom.peers
        if peer.priors
    ]
    return PriorFetcher(database, settings.dicom.ae_title, sources) if sources else None


def build_chores(settings: Settings, database: Database, store: InstanceStore) -> list[Chore]:
    """List what is done now and then beside analyses, by one host of all: the watch, earlier studies, alerts, purge."""
    from dicom_node.purge import Purge
    from dicom_node.worker import Chore, alone
    from lungnode.alerts import Alerts
    from lungnode.monitoring import LOOK_EVERY_S, look
    from lungnode.scanners import hold_drifted

    chores = [Chore("watch", LOOK_EVERY_S, partial(look, database))]
    if settings.alerts.hold_drifted:
        chores.append(Chore("holds", LOOK_EVERY_S, partial(hold_drifted, database)))
    if settings.alerts.webhooks:
        alerts = Alerts(settings, database, settings.home / "alerts.json")
        chores.append(Chore("alerts", 60.0, alerts.look))
    if (fetcher := build_priors(settings, database)) is not None:
        chores.append(Chore("priors", 5.0, fetcher.run_due))
    if settings.retention.days:
        purge = Purge(database, store, timedelta(days=settings.retention.days))
        chores.append(Chore("purge", 3600.0, purge.run))
    return [replace(chore, action=alone(database, chore.name, chore.action)) for chore in chores]


def build_roster(settings: Settings, database: Database, workflows: AnalysisWorkflows) -> Roster:
    """Make what tells that this worker lives, and takes up what silent ones left."""
    from dicom_node.roster import Roster

    version = package_version("lungnode")
    return Roster(
        database,
        settings.worker.executor_id,
        version,
        workflows.resume,
        workflows.resume_strays,
        silent_s=settings.worker.silent_s,
    )


def web_options(settings: Settings) -> WebOptions:
    """Say what the web has to know."""
    from lungnode.conformance import statement
    from webapp.options import WebOptions

    web = settings.web
    return WebOptions(
        evidence_root=(settings.store_root if settings.store.url else settings.home) / "evidence",
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
        threads=web.threads,
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
        rights.append("known by its certificate")
    if peer.priors:
        hours = "" if peer.priors_hours is None else ", {:02d} to {:02d} h".format(*peer.priors_hours)
        rights.append(f"asked for {peer.priors} earlier studies{hours}")
    return Node(peer.ae_title, f"{peer.host}:{peer.port}", "; ".join(rights))


def _destination(destination: Destination) -> Node:
    from webapp.options import Node

    note = "storage commitment" if destination.storage_commitment else ""
    return Node(destination.ae_title, destination.url or f"{destination.host}:{destination.port}", note)


class Web:
    """The web with everything behind it; ``close`` ends its children."""

    def __init__(self, settings: Settings) -> None:
        from lungnode.archive_files import ArchiveFiles, SharedPictures
        from lungnode.stored_series import StoredSeries
        from lungnode.web_intake import WebIntake
        from webapp import create_app

        self._database = open_database(settings)
        secret_key = hmac.digest(self._database.audit_key, b"forms of the web", "sha256")
        self.options = replace(web_options(settings), secret_key=secret_key)
        self._store = open_store(settings)
        self._stored = StoredSeries(self._database, self._store, decode_limits(settings))
        self._files = ArchiveFiles(self._store, decode_limits(settings))
        build = partial(build_predictor, settings, self._stored)
        self.predictor = SwitchingPredictor(self._database, self._store.files, build)
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
        """End event streams and decoding children, and give up files and connections."""
        from webapp.services import EXTENSION

        self.app.extensions[EXTENSION].watch.close()
        self._stored.close()
        self._files.close()
        self.predictor.close()
        self._store.close()
        self._database.dispose()


def build_predictor(
    settings: Settings, stored: StoredSeries, promoted: LiveBundle | None = None
) -> ModelPredictor | UnavailablePredictor:
    """Load the models for uploads and clicks, or stand in for models that cannot be loaded."""
    from inference.errors import InferenceError
    from inference.predictor import load_models
    from lungnode.predicting import ModelPredictor, UnavailablePredictor

    model = settings.model
    try:
        models = load_models(model.bundle, model.device, model.engine, model.opinion, over=checked(promoted))
    except InferenceError:
        _log.exception("model:unavailable")
        return UnavailablePredictor()
    return ModelPredictor(models, stored, decode_limits(settings))
