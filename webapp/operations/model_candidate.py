"""Candidate model page: comparison with the live model, and promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import promotions, shadow
from webapp.accounts.identity import principal
from webapp.services.registry import current_services

if TYPE_CHECKING:
    from webapp.operations.model_comparison import CandidateReport

from webapp.api.models_admin import ReasonForm
from webapp.api.models_status import Candidate
from webapp.endpoints import ADMINISTER, HTML, endpoint

blueprint = Blueprint("candidate", __name__)


def _report() -> CandidateReport | None:
    """Return the comparison of the latest shadow model, or None."""
    from webapp.operations.model_comparison import candidate_report  # imported here, as no other page needs scipy

    with current_services().database.read() as session:
        models = shadow.shadow_models(session)
        return candidate_report(session, models[0]) if models else None


@endpoint(blueprint, "GET", "/admin/candidate", may=ADMINISTER, answers={200: HTML})
def page() -> str:
    """Render the comparison of the candidate model with the live one."""
    with current_services().database.read() as session:
        changes = promotions.promotions(session)
    return render_template("candidate.html", report=_report(), changes=changes)


@endpoint(blueprint, "POST", "/admin/candidate/rollback", may=ADMINISTER, form=ReasonForm)
def roll_back_from_page(form: ReasonForm) -> BaseResponse:
    """Restore the previous live model, and return to the page."""
    with current_services().database.begin() as session:
        promotions.roll_back(session, by=principal().name, reason=form.reason)
    return redirect(url_for("candidate.page", _anchor="changes"), 303)


@endpoint(blueprint, "GET", "/api/v1/admin/candidate", may=ADMINISTER, answers={200: Candidate})
def comparison() -> Candidate:
    """Return the comparison of the candidate model with the live one."""
    report = _report()
    return Candidate.model_validate({"report": report.as_json() if report else None})
