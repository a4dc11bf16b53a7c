"""Builds the collaborators of the worker from the settings: its queue, results and their delivery, tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from db.database import Database
from dicom_node.storage.instance_store import InstanceStore
from lungnode.settings.service import Settings
from lungnode.wiring.nodes import delivery_config, remote_node

if TYPE_CHECKING:
    from dicom_node.client.priors import PriorFetcher
    from dicom_node.jobs.liveness import HeartbeatMonitor
    from dicom_node.jobs.worker import PeriodicTask
    from dicom_node.jobs.workflow import AnalysisWorkflows, WorkflowConfig
    from dicom_node.results.objects import ResultMaker


def workflow_config(settings: Settings) -> WorkflowConfig:
    """Place the queue: a SQLite file of its own in HOME, or the PostgreSQL database of the records."""
    from dicom_node.jobs.workflow import WorkflowConfig

    return WorkflowConfig(
        url=workflow_url(settings),
        executor_id=settings.worker.executor_id,
        version=settings.worker.queue_version,
        concurrency=settings.worker.concurrency,
    )


def workflow_url(settings: Settings) -> str:
    """Return the URL of the queue's database."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.home / 'workflows.db'}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def build_result_maker(settings: Settings, database: Database, store: InstanceStore) -> ResultMaker:
    """Make what turns answered analyses into DICOM objects."""
    from dicom_node.results.objects import ReportSettings, ResultMaker

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
    """Return a function that creates and sends due result objects."""
    from dicom_node.jobs.worker import with_advisory_lock
    from dicom_node.results.delivery import deliver_due

    config = delivery_config(settings)

    def deliver() -> object:
        maker.follow_up()
        return deliver_due(database, store.files, config)

    return with_advisory_lock(database, "deliver", deliver)


def build_priors(settings: Settings, database: Database) -> PriorFetcher | None:
    """Build the fetcher of priors; None if no peer provides any."""
    from dicom_node.client.priors import PriorFetcher, PriorSource

    sources = [
        PriorSource(remote_node(settings, peer, peer.query_ae_title), peer.priors, peer.priors_hours)
        for peer in settings.dicom.peers
        if peer.priors
    ]
    return PriorFetcher(database, settings.dicom.ae_title, sources) if sources else None


def build_periodic_tasks(settings: Settings, database: Database, store: InstanceStore) -> list[PeriodicTask]:
    """Build the periodic tasks that one host runs: monitoring, priors, alerts, purge."""
    from dicom_node.jobs.worker import PeriodicTask, with_advisory_lock
    from dicom_node.storage.purge import Purge
    from lungnode.monitoring.alerts import Alerts
    from lungnode.monitoring.drift_watch import quarantine_drifted
    from lungnode.monitoring.self_check import (
        CLOCK_EVERY_S,
        DATABASE_EVERY_S,
        FILES_EVERY_S,
        check_clock,
        check_database,
        check_files,
    )
    from lungnode.monitoring.watch_report import WATCH_EVERY_S, run_watch

    tasks = [
        PeriodicTask("watch", WATCH_EVERY_S, partial(run_watch, database)),
        PeriodicTask("clock", CLOCK_EVERY_S, partial(check_clock, database), first_s=0.0),
        PeriodicTask("pages", DATABASE_EVERY_S, partial(check_database, database), first_s=10.0),
        PeriodicTask("files", FILES_EVERY_S, partial(check_files, database, store), first_s=20.0),
    ]
    if settings.alerts.quarantine_drifted:
        tasks.append(PeriodicTask("quarantine", WATCH_EVERY_S, partial(quarantine_drifted, database)))
    if settings.alerts.webhooks:
        alerts = Alerts(settings, database, settings.home / "alerts.json")
        tasks.append(PeriodicTask("alerts", 60.0, alerts.notify))
    if (fetcher := build_priors(settings, database)) is not None:
        tasks.append(PeriodicTask("priors", 5.0, fetcher.run_due))
    if settings.retention.days:
        purge = Purge(database, store, timedelta(days=settings.retention.days))
        tasks.append(PeriodicTask("purge", 3600.0, purge.run))
    return [replace(task, action=with_advisory_lock(database, task.name, task.action)) for task in tasks]


def build_heartbeat_monitor(settings: Settings, database: Database, workflows: AnalysisWorkflows) -> HeartbeatMonitor:
    """Build the heartbeat of this worker, which also takes over jobs of silent ones."""
    from dicom_node.jobs.liveness import HeartbeatMonitor

    version = package_version("lungnode")
    return HeartbeatMonitor(
        database,
        settings.worker.executor_id,
        version,
        workflows.resume,
        workflows.resume_strays,
        timeout_s=settings.worker.heartbeat_timeout_s,
    )
