"""The audit trail as a page: what happened, by whom, to what. Subjects are our own opaque ids."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from db import audit
from webapp.errors import BadRequestError
from webapp.forms import clean_text
from webapp.services import services

blueprint = Blueprint("trail", __name__)

PAGE = 100
MAX_SUBJECT = 64
MAX_DIGITS = 15


@blueprint.get("/audit")
def page() -> str:
    """List events, newest first; ``subject`` tells the story of one thing, ``before`` pages."""
    subject = clean_text(request.args.get("subject", "")) or None
    before = request.args.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= MAX_DIGITS):
        raise BadRequestError("The trail is paged by whole numbers.", code="bad_cursor")
    if subject is not None and len(subject) > MAX_SUBJECT:
        raise BadRequestError("There is no such subject.", code="bad_subject")
    with services().database.read() as session:
        entries = audit.recent(session, limit=PAGE + 1, before=int(before) if before else None, subject=subject)
    older = entries[PAGE - 1].sequence if len(entries) > PAGE else None
    return render_template("audit.html", entries=entries[:PAGE], subject=subject, older=older, before=before)
