"""Candidate model page: comparison with the live model, and promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import promotions, shadow
from webapp.accounts.identity import principal
from webapp.http import forms
from webapp.services.registry import current_services

if TYPE_CHECKING:
    from webapp.operations.model_comparison import CandidateReport

blueprint = Blueprint("candidate", __name__)


def _report() -> CandidateReport | None:
    """Return the comparison of the latest shadow model, or None."""
    from webapp.operations.model_comparison import candidate_report  # imported here, as no other page needs scipy

    with current_services().database.read() as session:
        models = shadow.shadow_models(session)
        return candidate_report(session, models[0]) if models else None


@blueprint.get("/admin/candidate")
def page() -> str:
    """Show the comparison and the promotions."""
    with current_services().database.read() as session:
        changes = promotions.promotions(session)
    return render_template("candidate.html", report=_report(), changes=changes)


@blueprint.post("/admin/candidate/rollback")
def roll_back_from_page() -> BaseResponse:
    """Restore the previous live model, and return to the page."""
    with current_services().database.begin() as session:
        promotions.roll_back(session, by=principal().name, reason=forms.text_of(request.form, "reason"))
    return redirect(url_for("candidate.page", _anchor="changes"), 303)


@blueprint.get("/api/v1/admin/candidate")
def comparison() -> Response:
    """Return the comparison as JSON; ``report`` is null without a shadow model."""
    report = _report()
    return jsonify(report=report.as_json() if report else None)
