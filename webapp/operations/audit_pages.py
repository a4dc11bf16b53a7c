"""Audit trail pages. Subjects are our own opaque ids."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, render_template
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from db.analyses.analyses import analysis_record
from db.audit import trail as audit
from db.read_models import result_timeline as timelines
from webapp.endpoints import AUDIT, HTML, Rule, endpoint
from webapp.http.errors import NotFoundError
from webapp.http.forms import clean_text
from webapp.http.messages import english
from webapp.services.registry import current_services
from webapp.services.view_audit import ViewAudit

blueprint = Blueprint("trail", __name__)

PAGE = 100
MAX_SUBJECT = 64
MAX_DIGITS = 15


def _sequence_number(text: str) -> int | None:
    """Return a number of up to 15 ASCII digits; None if empty."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError("not a sequence number")
    return int(text) if text else None


class AuditParameters(BaseModel):
    """Parameters of the audit trail."""

    before: Annotated[
        Annotated[int, Field(ge=1)] | SkipJsonSchema[None],
        BeforeValidator(_sequence_number),
        Field(description="Only events before this sequence number."),
        Rule(english("The cursor must be a sequence number."), "bad_cursor", 400),
    ] = None
    subject: Annotated[
        str,
        Field(max_length=MAX_SUBJECT, description="Only events about this opaque id."),
        BeforeValidator(clean_text),
        Rule(english("Unknown subject."), "bad_subject", 400),
    ] = ""


@endpoint(blueprint, "GET", "/audit", may=AUDIT, answers={200: HTML}, query=AuditParameters)
def page(query: AuditParameters) -> str:
    """The audit trail as a page."""
    subject, before = query.subject or None, query.before
    with current_services().database.read() as session:
        entries = audit.recent(session, limit=PAGE + 1, before=before, subject=subject)
        has_timeline = subject is not None and analysis_record(session, subject) is not None
    older = entries[PAGE - 1].sequence if len(entries) > PAGE else None
    return render_template(
        "audit.html",
        entries=entries[:PAGE],
        subject=subject,
        older=older,
        before=before or "",
        has_timeline=has_timeline,
    )


@endpoint(
    blueprint,
    "GET",
    "/audit/results/<hex_id:analysis_id>",
    may=AUDIT,
    answers={200: HTML},
    audit=ViewAudit.RESULT,
)
def result_timeline(analysis_id: str) -> str:
    """The timeline of one result."""
    with current_services().database.read() as session:
        timeline = timelines.result_timeline(session, analysis_id)
    if timeline is None:
        raise NotFoundError("Result not found.")
    return render_template("result_timeline.html", timeline=timeline)
