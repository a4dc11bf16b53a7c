"""How the model fares in use: drift by scanner, overrides, calibration; no identity in any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template
from flask_babel import lazy_gettext as _l

from db.analyses.quarantine import held_scanners
from db.monitoring.drift_observations import latest_report
from webapp.operations import drift_plots, plots
from webapp.operations.drift_plots import Overlay, Trend
from webapp.operations.plots import Reliability
from webapp.services.registry import current_services

blueprint = Blueprint("monitoring", __name__)

Told = Mapping[str, Any]

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
"""What is compared, in words."""
NEEDED = {
    "series": _l("only %(n)s of %(needed)s series"),
    "reference": _l("only %(n)s of %(needed)s series by this model before"),
    "findings": _l("only %(n)s of %(needed)s findings"),
    "verdicts": _l("only %(n)s of %(needed)s verdicts"),
    "cases": _l("only %(n)s of %(needed)s cases"),
}
"""Why there is no figure."""
INPUT = frozenset({"lung_hu", "soft_hu", "noise_hu", "slice_mm", "pixel_mm", "nodule_mm", "hu_shares"})


@dataclass(frozen=True, slots=True)
class ScannerView:
    """One scanner with its plots."""

    told: Told
    is_held: bool
    trends: dict[str, Trend]
    overlays: dict[str, Overlay]


@dataclass(frozen=True, slots=True)
class SiteView:
    """The reliability of one sender's cases, by where their truth is from."""

    told: Told
    diagrams: dict[str, Reliability]


@blueprint.get("/monitoring")
def page() -> str:
    """Show what the watch last reported."""
    with current_services().database.read() as session:
        found, held = latest_report(session), {scanner.key for scanner in held_scanners(session)}
    at, report = found or (None, {})
    return render_template(
        "monitoring.html",
        at=at,
        report=report,
        scanners=[_scanner(told, held, report.get("hu_range")) for told in _list(report, "scanners")],
        overall=_overlays(_part(report, "overall", "outputs")),
        sites=[_site(told) for told in _list(report, "sites")],
        features=FEATURES,
        needed=NEEDED,
    )


def _scanner(told: Told, held: set[str], hu_range: object) -> ScannerView:
    trends = {
        "input": drift_plots.trend(told["history"], "input", INPUT),
        "nodule": drift_plots.trend(told["history"], "nodule", frozenset({"nodule_probability"})),
        "malignancy": drift_plots.trend(told["history"], "malignancy", frozenset({"malignancy_probability"})),
    }
    low, high = hu_range if isinstance(hu_range, list) else (0.0, 1.0)
    overlays = {"input": drift_plots.overlay(_part(told, "figures", "inputs", "histogram"), low, high, "HU")}
    return ScannerView(
        told,
        told["key"] in held,
        {name: trend for name, trend in trends.items() if trend},
        {name: one for name, one in overlays.items() if one} | _overlays(_part(told, "figures", "outputs")),
    )


def _overlays(outputs: Told) -> dict[str, Overlay]:
    found = {name: drift_plots.overlay(outputs.get(name), 0, 100, "%") for name in ("nodule", "malignancy")}
    return {name: one for name, one in found.items() if one}


def _site(told: Told) -> SiteView:
    found = {name: plots.reliability(part.get("reliability")) for name, part in told.items() if isinstance(part, dict)}
    return SiteView(told, {name: one for name, one in found.items() if one})


def _part(told: object, *path: str) -> Told:
    for name in path:
        told = told.get(name) if isinstance(told, Mapping) else None
    return told if isinstance(told, Mapping) else {}


def _list(report: Told, name: str) -> list[Told]:
    return report.get(name, [])
