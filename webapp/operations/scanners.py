"""Scanner quarantine endpoints; hold and release are audited with their reason."""

from __future__ import annotations

from flask import Blueprint, redirect, url_for
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import analyses, quarantine
from webapp.accounts.identity import principal
from webapp.api.models_admin import HoldScanner, ReasonForm, ReleaseScanner, Scanner, Scanners
from webapp.endpoints import ADMINISTER, endpoint
from webapp.services.registry import current_services

blueprint = Blueprint("scanners", __name__)


@endpoint(blueprint, "GET", "/api/v1/admin/scanners", may=ADMINISTER, answers={200: Scanners})
def listing() -> Scanners:
    """Scanners and their quarantine."""
    with current_services().database.read() as session:
        states = quarantine.scanner_states(session)
    return Scanners.model_validate({"items": states})


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/scanners/<hex_id:key>/hold",
    may=ADMINISTER,
    answers={200: Scanner},
    body=HoldScanner,
)
def hold(key: str, body: HoldScanner) -> Scanner:
    """Put a scanner into quarantine."""
    return _hold(key, body.reason)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/scanners/<hex_id:key>/release",
    may=ADMINISTER,
    answers={200: Scanner},
    body=ReleaseScanner,
)
def release(key: str, body: ReleaseScanner) -> Scanner:
    """Release a scanner from quarantine."""
    return _release(key, body.reason, rerun=body.rerun)


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/hold", may=ADMINISTER, form=ReasonForm)
def hold_from_page(key: str, form: ReasonForm) -> BaseResponse:
    """Put a scanner into quarantine, and return to the page."""
    _hold(key, form.reason)
    return _page()


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/release", may=ADMINISTER, form=ReasonForm)
def release_from_page(key: str, form: ReasonForm) -> BaseResponse:
    """Release a scanner, and return to the page."""
    _release(key, form.reason, rerun=form.rerun)
    return _page()


@endpoint(blueprint, "POST", "/admin/scanners/<hex_id:key>/rerun", may=ADMINISTER)
def rerun_from_page(key: str) -> BaseResponse:
    """Request new analyses of a released scanner's quarantined series, and return to the page."""
    with current_services().database.begin() as session:
        analyses.rerun_quarantined(session, quarantine.scanner_by_key(session, key), requested_by=principal().name)
    return _page()


def _page() -> BaseResponse:
    return redirect(url_for("admin.page", _anchor="scanners"), 303)


def _hold(key: str, reason: str) -> Scanner:
    with current_services().database.begin() as session:
        scanner = quarantine.scanner_by_key(session, key)
        quarantine.quarantine_scanner(session, scanner, reason, held_by=principal().name)
        return Scanner.model_validate(quarantine.state_of(session, scanner))


def _release(key: str, reason: str, *, rerun: bool) -> Scanner:
    with current_services().database.begin() as session:
        scanner = quarantine.scanner_by_key(session, key)
        quarantine.release_scanner(session, scanner, reason, released_by=principal().name)
        if rerun:
            analyses.rerun_quarantined(session, scanner, requested_by=principal().name)
        return Scanner.model_validate(quarantine.state_of(session, scanner))
