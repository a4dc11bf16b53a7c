"""The candidate model as administrators see it: how it compares with the live one, and which was promoted when."""

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
    """Compare the model that was tried last; None where none ever was."""
    from webapp.operations.model_comparison import candidate_report  # with scipy, which no other page needs

    with current_services().database.read() as session:
        known = shadow.shadow_models(session)
        return candidate_report(session, known[0]) if known else None


@blueprint.get("/admin/candidate")
def page() -> str:
    """Show how the candidate compares."""
    with current_services().database.read() as session:
        changes = promotions.promotions(session)
    return render_template("candidate.html", report=_report(), changes=changes)


@blueprint.post("/admin/candidate/rollback")
def roll_back_from_page() -> BaseResponse:
    """Make the model live again that was so before, and show the page again."""
    with current_services().database.begin() as session:
        promotions.roll_back(session, by=principal().name, reason=forms.text_of(request.form, "reason"))
    return redirect(url_for("candidate.page", _anchor="changes"), 303)


@blueprint.get("/api/v1/admin/candidate")
def comparison() -> Response:
    """Give the same as data; ``report`` is null where no model was tried."""
    report = _report()
    return jsonify(report=report.as_json() if report else None)
