"""Audit trail pages. Subjects are our own opaque ids."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from db.analyses.analyses import analysis_record
from db.audit import trail as audit
from db.domain.records import AuditEvent
from db.read_models import result_timeline as timelines
from webapp.accounts.identity import principal
from webapp.endpoints import AUDIT, HTML, endpoint
from webapp.http.errors import BadRequestError, NotFoundError
from webapp.http.forms import clean_text
from webapp.services.registry import current_services

blueprint = Blueprint("trail", __name__)

PAGE = 100
MAX_SUBJECT = 64
MAX_DIGITS = 15
AUDIT_QUERY = (
    ("subject", {"type": "string", "maxLength": 64}, "Only events about this opaque id."),
    ("before", {"type": "integer", "minimum": 1}, "Only events before this sequence number."),
)


@endpoint(blueprint, "GET", "/audit", may=AUDIT, answers={200: HTML}, query=AUDIT_QUERY)
def page() -> str:
    """The audit trail as a page."""
    subject = clean_text(request.args.get("subject", "")) or None
    before = request.args.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= MAX_DIGITS):
        raise BadRequestError("The cursor must be a sequence number.", code="bad_cursor")
    if subject is not None and len(subject) > MAX_SUBJECT:
        raise BadRequestError("Unknown subject.", code="bad_subject")
    with current_services().database.read() as session:
        entries = audit.recent(session, limit=PAGE + 1, before=int(before) if before else None, subject=subject)
        has_story = subject is not None and analysis_record(session, subject) is not None
    older = entries[PAGE - 1].sequence if len(entries) > PAGE else None
    return render_template(
        "audit.html", entries=entries[:PAGE], subject=subject, older=older, before=before, has_story=has_story
    )


@endpoint(blueprint, "GET", "/audit/results/<hex_id:analysis_id>", may=AUDIT, answers={200: HTML})
def result_timeline(analysis_id: str) -> str:
    """The timeline of one result."""
    services, actor = current_services(), principal().name
    with services.database.read() as session:
        timeline = timelines.result_timeline(session, analysis_id)
    if timeline is None:
        raise NotFoundError("Result not found.")
    subject = f"story {analysis_id}"
    if services.view_log.is_new_view(actor, subject):
        with services.database.begin() as session:
            audit.append(session, AuditEvent("audit:read", actor, analysis_id))
        services.view_log.recorded(actor, subject)
    return render_template("result_timeline.html", timeline=timeline)
