"""The worklist: the page, and the same as JSON."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, render_template, request

from db import worklist as records
from db.domain import StudyState, WorklistPage, WorklistQuery
from db.errors import InvalidCursorError
from webapp import present
from webapp.errors import BadRequestError
from webapp.forms import MAX_TEXT, clean_text
from webapp.services import services

blueprint = Blueprint("worklist", __name__)

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


def query_of_request() -> WorklistQuery:
    """Read what is asked for off the address.

    Raises
    ------
    BadRequestError
        For an unknown state or a limit that is no number from 1 to 500.
    """
    state = request.args.get("state") or None
    if state is not None and state not in set(StudyState):
        raise BadRequestError("There is no such state.", code="bad_state")
    limit = request.args.get("limit", str(DEFAULT_LIMIT))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:6]) <= MAX_LIMIT:
        raise BadRequestError(f"The limit must be a whole number from 1 to {MAX_LIMIT}.", code="bad_limit")
    text = clean_text(request.args.get("q", ""))
    if len(text) > MAX_TEXT:
        raise BadRequestError("The text to look for is too long.", code="bad_text")
    return WorklistQuery(
        state=StudyState(state) if state else None,
        text=text,
        limit=int(limit),
        cursor=request.args.get("cursor") or None,
    )


def _page_of(query: WorklistQuery) -> WorklistPage:
    try:
        with services().database.read() as session:
            return records.worklist_page(session, query)
    except InvalidCursorError:
        raise BadRequestError("The cursor is not one that this worklist gave.", code="bad_cursor") from None


@blueprint.get("/api/v1/worklist")
def listing() -> Response:
    """List studies, newest first."""
    found = _page_of(query_of_request())
    return jsonify(items=[present.worklist_item(item) for item in found.items], next=found.next_cursor)


@blueprint.get("/worklist")
def page() -> str:
    """Show the worklist."""
    query = query_of_request()
    found = _page_of(query)
    return render_template(
        "worklist.html",
        items=[present.worklist_item(item) for item in found.items],
        query=query,
        next_cursor=found.next_cursor,
        states=list(StudyState),
    )
