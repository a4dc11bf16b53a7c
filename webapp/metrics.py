"""Counters for Prometheus; labels are endpoints, methods and states, never a person, a path or a UID."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from db.engine import Database
from db.errors import DbError
from db.workload import workload


class WorkloadCollector(Collector):
    """Studies, deliveries and the queue, counted when they are asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: registering asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Count; a database that is away leaves its gauges out and the others readable."""
        try:
            with self._database.read() as session:
                load = workload(session)
        except (DbError, OSError):
            return
        studies = GaugeMetricFamily("lungnode_studies", "Studies by state.", labels=("state",))
        for state, count in load.studies.items():
            studies.add_metric((state.value,), count)
        deliveries = GaugeMetricFamily("lungnode_deliveries", "Result objects by status.", labels=("status",))
        for status, count in load.deliveries.items():
            deliveries.add_metric((status.value,), count)
        yield from (studies, deliveries)
        yield GaugeMetricFamily("lungnode_queue_depth", "Analyses queued or running.", value=load.queue_depth)
        yield GaugeMetricFamily(
            "lungnode_oldest_queued_seconds", "Age of the oldest unfinished analysis.", value=load.oldest_queued_s
        )


class Metrics:
    """The web's own registry, so that several apps can live in one process."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(WorkloadCollector(database))
        self.requests = Counter(
            "lungnode_http_requests", "Requests answered.", ("endpoint", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "lungnode_http_request_seconds", "Time to answer.", ("endpoint",), registry=self.registry
        )
        self.predictions = Counter(
            "lungnode_predictions", "Uploads answered.", ("kind", "answered"), registry=self.registry
        )
        self.refusals = Counter("lungnode_upload_refusals", "Uploads refused.", ("code",), registry=self.registry)
        self.streams = Gauge("lungnode_event_streams", "Event streams open.", registry=self.registry)
