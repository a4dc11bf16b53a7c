"""Scanner quarantine endpoints; hold and release are audited with their reason."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import analyses, quarantine
from webapp.accounts.identity import principal
from webapp.api import serializers
from webapp.api.shapes_admin import HoldScannerShape, ReleaseScannerShape, ScannerShape, ScannersShape
from webapp.endpoints import ADMINISTER, endpoint
from webapp.http import forms
from webapp.services.registry import current_services

blueprint = Blueprint("scanners", __name__)


@endpoint(blueprint, "GET", "/api/v1/admin/scanners", may=ADMINISTER, answers={200: ScannersShape})
def listing() -> Response:
    """Scanners and their quarantine."""
    with current_services().database.read() as session:
        states = quarantine.scanner_states(session)
    return jsonify(items=[serializers.scanner(state) for state in states])


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/scanners/<hex_id:key>/hold",
    may=ADMINISTER,
    answers={200: ScannerShape},
    errors=(422,),
    body=HoldScannerShape,
)
def hold(key: str) -> Response:
    """Put a scanner into quarantine."""
    return jsonify(_hold(key, forms.text_of(forms.json_body(), "reason")))


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/scanners/<hex_id:key>/release",
    may=ADMINISTER,
    answers={200: ScannerShape},
    errors=(422,),
    body=ReleaseScannerShape,
)
def release(key: str) -> Response:
    """Release a scanner from quarantine."""
    body = forms.json_body()
    return jsonify(_release(key, forms.text_of(body, "reason"), rerun=body.get("rerun") is True))


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/hold", may=ADMINISTER)
def hold_from_page(key: str) -> BaseResponse:
    """Put a scanner into quarantine, and return to the page."""
    _hold(key, forms.text_of(request.form, "reason"))
    return _page()


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/release", may=ADMINISTER)
def release_from_page(key: str) -> BaseResponse:
    """Release a scanner, and return to the page."""
    _release(key, forms.text_of(request.form, "reason"), rerun=request.form.get("rerun") == "yes")
    return _page()


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/rerun", may=ADMINISTER)
def rerun_from_page(key: str) -> BaseResponse:
    """Request new analyses of a released scanner's quarantined series, and return to the page."""
    with current_services().database.begin() as session:
        analyses.rerun_quarantined(session, quarantine.scanner_by_key(session, key), requested_by=principal().name)
    return _page()


def _page() -> BaseResponse:
    return redirect(url_for("admin.page", _anchor="scanners"), 303)


def _hold(key: str, reason: str) -> ScannerShape:
    with current_services().database.begin() as session:
        scanner = quarantine.scanner_by_key(session, key)
        quarantine.hold_scanner(session, scanner, reason, held_by=principal().name)
        return serializers.scanner(quarantine.state_of(session, scanner))


def _release(key: str, reason: str, *, rerun: bool) -> ScannerShape:
    with current_services().database.begin() as session:
        scanner = quarantine.scanner_by_key(session, key)
        quarantine.release_scanner(session, scanner, reason, released_by=principal().name)
        if rerun:
            analyses.rerun_quarantined(session, scanner, requested_by=principal().name)
        return serializers.scanner(quarantine.state_of(session, scanner))
