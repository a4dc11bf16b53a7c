"""Drift and calibration metrics for Prometheus, from the latest monitoring report.

Labels are scanner models, kernels and spacings (50 of each at most, the alarmed ones first) and AE titles (20).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from db.monitoring.drift_observations import latest_report

Fields = Mapping[str, Any]

SCANNER = ("scanner", "kernel", "slice_spacing")
INDICES = ("input", "nodule", "malignancy")
WINDOWS = ("reference", "recent")
TRUTHS = ("read_first", "model_seen", "pathology")
CALIBRATION = {
    "lungnode_calibration_error": ("ece", "Calibration error of probabilities against what became known."),
    "lungnode_calibration_error_floor": ("ece_floor", "Calibration error that a perfect model would show."),
    "lungnode_calibration_p": ("p", "Share of perfect models that show so large a calibration error."),
    "lungnode_brier_score": ("brier", "Brier score of probabilities against what became known."),
    "lungnode_calibration_cases": ("n", "Cases whose truth became known, as far as they were looked at."),
}
ALL = ("all", "", "")


def drift_metrics(session: Session) -> Iterator[Metric]:
    """Yield the gauges of the live model; none before the first report."""
    latest = latest_report(session)
    if latest is None:
        return
    at, report = latest
    yield GaugeMetricFamily("lungnode_watch_timestamp_seconds", "When the watch last reported.", at.timestamp())
    yield from _scanners(report)
    yield from _shares(report)
    yield from _calibration(report)
    alarms = GaugeMetricFamily("lungnode_drift_alarms", "Alarms of the watch for drift.", labels=("kind",))
    for kind, names in report["alarms"].items():
        alarms.add_metric((kind,), len(names))
    yield alarms


def _scanners(report: Fields) -> Iterator[Metric]:
    psi = GaugeMetricFamily(
        "lungnode_drift_psi", "Stability index of the latest block against the first series.", labels=(*SCANNER, "of")
    )
    alarm = GaugeMetricFamily("lungnode_drift_alarm", "Whether a scanner is alarmed.", labels=SCANNER)
    series = GaugeMetricFamily("lungnode_drift_series", "Series of a scanner that were read.", labels=SCANNER)
    for scanner in report["scanners"]:
        labels = _labels(scanner)
        alarm.add_metric(labels, int(scanner["is_alarmed"]))
        series.add_metric(labels, scanner["series_count"])
        latest = scanner["history"][-1] if scanner["history"] else {}
        for name in INDICES:
            if name in latest:
                psi.add_metric((*labels, name), latest[name])
    for name in INDICES[1:]:
        if "psi" in (overall := report["overall"]["outputs"].get(name) or {}):
            psi.add_metric((*ALL, name), overall["psi"])
    yield from (psi, alarm, series)


def _shares(report: Fields) -> Iterator[Metric]:
    """Yield the shares of series not analysed, and of judged findings that were rejected or doubted."""
    abstained = GaugeMetricFamily(
        "lungnode_abstention_ratio", "Series read that had no answer.", labels=(*SCANNER, "window")
    )
    overridden = GaugeMetricFamily(
        "lungnode_override_ratio", "Judged findings rejected or doubted.", labels=(*SCANNER, "window")
    )
    findings = GaugeMetricFamily(
        "lungnode_findings_per_series", "Findings of an answered series.", labels=(*SCANNER, "window")
    )
    overall = report["overall"]
    lanes = [
        (ALL, overall["outputs"], overall["overrides"]),
        *(
            (_labels(scanner), (scanner["figures"] or {}).get("outputs", {}), scanner["overrides"])
            for scanner in report["scanners"]
        ),
    ]
    for labels, outputs, overrides in lanes:
        for window in WINDOWS:
            _add_share(abstained, (*labels, window), (outputs.get("unanswered") or {}).get(window))
            _add_share(overridden, (*labels, window), overrides.get(window))
            mean = (outputs.get("findings") or {}).get(window)
            if mean:
                findings.add_metric((*labels, window), mean["mean"])
    refused = GaugeMetricFamily(
        "lungnode_unanswered_ratio", "Series that were refused or abstained from, last 30 days.", labels=("machine",)
    )
    for machine in report["machines"]:
        _add_share(refused, (machine["model"],), machine["unanswered"])
    yield from (abstained, overridden, findings, refused)


def _calibration(report: Fields) -> Iterator[Metric]:
    for metric, (name, text) in CALIBRATION.items():
        family = GaugeMetricFamily(metric, text, labels=("site", "truth"))
        for site in report["sites"]:
            for truth in TRUTHS:
                if "ece" in site[truth]:
                    family.add_metric((site["site"], truth), site[truth][name])
        yield family


def _labels(scanner: Fields) -> tuple[str, str, str]:
    return scanner["model"], scanner["kernel"], scanner["slice_spacing"]


def _add_share(family: GaugeMetricFamily, labels: tuple[str, ...], share: Fields | None) -> None:
    if share and share["n"]:
        family.add_metric(labels, share["k"] / share["n"])
