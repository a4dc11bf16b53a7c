"""Monitoring page: drift by scanner, overrides, calibration; without patient identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template
from flask_babel import lazy_gettext as _l

from db.analyses.quarantine import quarantined_scanners
from db.monitoring.drift_observations import latest_report
from webapp.endpoints import AUDIT, HTML, endpoint
from webapp.operations import drift_plots, plots
from webapp.operations.drift_plots import Overlay, Trend
from webapp.operations.plots import Reliability
from webapp.services.registry import current_services

blueprint = Blueprint("monitoring", __name__)

Fields = Mapping[str, Any]

FEATURES = {
    "lung_hu": _l("HU of the lungs"),
    "soft_hu": _l("HU of soft tissue"),
    "noise_hu": _l("noise"),
    "slice_mm": _l("slice spacing"),
    "pixel_mm": _l("pixel spacing"),
    "nodule_mm": _l("nodule size"),
    "hu_shares": _l("HU histogram"),
    "nodule_probability": _l("nodule probabilities"),
    "malignancy_probability": _l("malignancy probabilities"),
    "findings": _l("findings per series"),
    "unanswered": _l("series without an answer"),
}
"""Display names of the monitored features."""
NEEDED = {
    "series": _l("only %(n)s of %(needed)s series"),
    "reference": _l("only %(n)s of %(needed)s series by this model before"),
    "findings": _l("only %(n)s of %(needed)s findings"),
    "verdicts": _l("only %(n)s of %(needed)s verdicts"),
    "cases": _l("only %(n)s of %(needed)s cases"),
}
"""Messages for too few cases."""
INPUT = frozenset({"lung_hu", "soft_hu", "noise_hu", "slice_mm", "pixel_mm", "nodule_mm", "hu_shares"})


@dataclass(frozen=True, slots=True)
class ScannerView:
    """Data of one scanner with its plots."""

    data: Fields
    is_held: bool
    trends: dict[str, Trend]
    overlays: dict[str, Overlay]


@dataclass(frozen=True, slots=True)
class SiteView:
    """Reliability diagrams of one site, by source of ground truth."""

    data: Fields
    diagrams: dict[str, Reliability]


@endpoint(blueprint, "GET", "/monitoring", may=AUDIT, answers={200: HTML})
def page() -> str:
    """Drift and calibration of the model in use, as a page."""
    with current_services().database.read() as session:
        latest, held = latest_report(session), {scanner.key for scanner in quarantined_scanners(session)}
    at, report = latest or (None, {})
    return render_template(
        "monitoring.html",
        at=at,
        report=report,
        scanners=[_scanner(entry, held, report.get("hu_range")) for entry in _list(report, "scanners")],
        overall=_overlays(_part(report, "overall", "outputs")),
        sites=[_site(entry) for entry in _list(report, "sites")],
        features=FEATURES,
        needed=NEEDED,
    )


def _scanner(data: Fields, held: set[str], hu_range: object) -> ScannerView:
    trends = {
        "input": drift_plots.trend(data["history"], "input", INPUT),
        "nodule": drift_plots.trend(data["history"], "nodule", frozenset({"nodule_probability"})),
        "malignancy": drift_plots.trend(data["history"], "malignancy", frozenset({"malignancy_probability"})),
    }
    low, high = hu_range if isinstance(hu_range, list) else (0.0, 1.0)
    overlays = {"input": drift_plots.overlay(_part(data, "figures", "inputs", "histogram"), low, high, "HU")}
    return ScannerView(
        data,
        data["key"] in held,
        {name: trend for name, trend in trends.items() if trend},
        {name: overlay for name, overlay in overlays.items() if overlay} | _overlays(_part(data, "figures", "outputs")),
    )


def _overlays(outputs: Fields) -> dict[str, Overlay]:
    overlays = {name: drift_plots.overlay(outputs.get(name), 0, 100, "%") for name in ("nodule", "malignancy")}
    return {name: overlay for name, overlay in overlays.items() if overlay}


def _site(data: Fields) -> SiteView:
    diagrams = {
        name: plots.reliability(part.get("reliability")) for name, part in data.items() if isinstance(part, dict)
    }
    return SiteView(data, {name: diagram for name, diagram in diagrams.items() if diagram})


def _part(value: object, *path: str) -> Fields:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(report: Fields, name: str) -> list[Fields]:
    return report.get(name, [])
