"""Metrics for Prometheus; labels are endpoints, methods and states, never a person, a path or a UID."""

from __future__ import annotations

import json
import time
from collections import Counter as Sums
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from db.database import Database
from db.monitoring import faults
from db.monitoring.workload import LatelyDone, lately_done, workload
from webapp.services.drift_metrics import drift_metrics
from webapp.services.records_metrics import RecordsCollector

LISTENER_COUNTS = {
    "associations": ("outcome", "Associations by outcome."),
    "association_rejections": ("reason", "Associations that were rejected, by reason."),
    "connections_closed": ("reason", "Connections that were closed before they said whom they call."),
    "instances": ("verdict", "Instances that were taken, by what became of them."),
    "refusals": ("reason", "Instances that were refused, by reason."),
    "received_bytes": ("", "Bytes of datasets received."),
    "protocol_errors": ("code", "Associations that ended by a breach of the protocol."),
    "audits_dropped": ("", "Rejections that were too many for the audit trail."),
}
"""Label and help text of the DICOM port's counters, by name."""
LISTENER_GAUGES = {"associations_open": "Associations that have a place now."}
STALE_S = 60.0
"""Age after which a listener's counters are ignored."""
QUANTILES = (0.5, 0.95)


def workload_metrics(session: Session) -> Iterator[Metric]:
    """Yield metrics of studies, deliveries and the queue."""
    load = workload(session)
    studies = GaugeMetricFamily("lungnode_studies", "Studies by state.", labels=("state",))
    for state, count in load.studies.items():
        studies.add_metric((state.value,), count)
    deliveries = GaugeMetricFamily("lungnode_deliveries", "Result objects by status.", labels=("status",))
    for status, count in load.deliveries.items():
        deliveries.add_metric((status.value,), count)
    yield from (studies, deliveries)
    yield GaugeMetricFamily(
        "lungnode_result_failures", "Analyses of which result objects could not be made.", load.result_failures
    )
    yield GaugeMetricFamily("lungnode_queue_depth", "Analyses queued or running.", value=load.queue_depth)
    yield GaugeMetricFamily(
        "lungnode_oldest_queued_seconds", "Age of the oldest unfinished analysis.", value=load.oldest_queued_s
    )
    broken = GaugeMetricFamily("lungnode_faults", "Faults of this node that stand, by code.", labels=("code",))
    for code, count in faults.counts(session).items():
        broken.add_metric((code,), count)
    yield broken
    yield from _lately(lately_done(session))


def _lately(done: LatelyDone) -> Iterator[Metric]:
    """Yield latencies and outcomes of the last 24 hours, as gauges."""
    seconds = GaugeMetricFamily(
        "lungnode_stage_seconds", "Time that a stage took, last 24 hours.", labels=("stage", "quantile")
    )
    for stage, values in done.seconds.items():
        for share in QUANTILES if values else ():
            seconds.add_metric((stage, str(share)), _quantile(values, share))
    outcomes = GaugeMetricFamily("lungnode_analyses_24h", "Analyses that ended, last 24 hours.", labels=("outcome",))
    for outcome in ("analysed", "not_analysed", "failed", "quarantined"):
        outcomes.add_metric((outcome,), done.outcomes[outcome])
    reasons = GaugeMetricFamily(
        "lungnode_gate_reasons_24h", "Why there was no answer, last 24 hours.", labels=("reason",)
    )
    for reason, count in sorted(done.reasons.items()):
        reasons.add_metric((reason,), count)
    yield from (seconds, outcomes, reasons)


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the quantile of the values at ``share``."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class ListenerCollector(Collector):
    """Collector of the DICOM port's counters, from the files of its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> Iterator[Metric]:
        """Return no metrics, so that registering reads no files."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the sums of the running processes' counters."""
        counts = self._counts()
        for name, (label, text) in LISTENER_COUNTS.items():
            family = CounterMetricFamily(f"lungnode_dicom_{name}", text, labels=(label,) if label else ())
            for (counted, value), count in sorted(counts.items()):
                if counted == name:
                    family.add_metric((value,) if label else (), count)
            yield family
        for name, text in LISTENER_GAUGES.items():
            yield GaugeMetricFamily(f"lungnode_dicom_{name}", text, value=counts[name, ""])

    def _counts(self) -> Sums[tuple[str, str]]:
        sums: Sums[tuple[str, str]] = Sums()
        for path in self._folder.glob("counts-*.json"):
            try:
                if abs(time.time() - path.stat().st_mtime) < STALE_S:
                    sums.update({(name, label): count for name, label, count in json.loads(path.read_text())})
            except (OSError, ValueError, TypeError):
                continue  # being replaced, or not ours
        return sums


class Metrics:
    """Metrics of one app, in a registry of its own."""

    def __init__(self, database: Database, counts_folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(RecordsCollector(database, workload_metrics))
        self.registry.register(RecordsCollector(database, drift_metrics))
        if counts_folder is not None:
            self.registry.register(ListenerCollector(counts_folder))
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
