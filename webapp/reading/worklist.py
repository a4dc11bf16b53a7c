"""Worklist page and API, reviews and saved filters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, render_template, request

from db.analyses import reviews
from db.domain.errors import InvalidCursorError
from db.domain.records import StudyState, WorklistItem, WorklistOrder, WorklistPage, WorklistQuery
from db.worklist import rows as records
from db.worklist import saved_filters
from webapp.accounts.identity import principal
from webapp.api import serializers
from webapp.api.shapes_worklist import (
    NewReviewShape,
    NewSavedFilterShape,
    ReviewShape,
    SavedFilterShape,
    SavedFiltersShape,
    WorklistItemShape,
    WorklistShape,
)
from webapp.api.worklist_query import DEFAULT_LIMIT, WORKLIST_QUERY, address, filter_fields, read_query
from webapp.endpoints import DECIDE, EMPTY, HTML, READ_CLINICAL, endpoint
from webapp.http import forms
from webapp.http.errors import BadRequestError
from webapp.parameters import check_names, names_of
from webapp.reading import blinded_reading
from webapp.services.registry import current_services

blueprint = Blueprint("worklist", __name__)

PROBABILITY_STEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.65, 0.8, 0.9)
"""Bounds offered by the page; the URL accepts any from 0 to 1."""


def query_of_request() -> WorklistQuery:
    """Return the query of the current request."""
    query = read_query(request.args, current_services().options.max_wait_s)
    return blinded_reading.blind_query(query) if blinded_reading.reads_first() else query


def _page_of(query: WorklistQuery) -> WorklistPage:
    try:
        with current_services().database.read() as session:
            return records.worklist_page(session, query)
    except InvalidCursorError:
        raise BadRequestError("The cursor is invalid.", code="bad_cursor") from None


@endpoint(blueprint, "GET", "/api/v1/worklist", may=READ_CLINICAL, answers={200: WorklistShape}, query=WORKLIST_QUERY)
def listing() -> Response:
    """Studies, newest first by default."""
    result = _page_of(query_of_request())
    return jsonify(items=_serialized(result.items), next=result.next_cursor)


@endpoint(blueprint, "GET", "/worklist", may=READ_CLINICAL, answers={200: HTML}, query=WORKLIST_QUERY)
def page() -> str:
    """The worklist as a page."""
    query = query_of_request()
    result = _page_of(query)
    max_wait_s, reads_first = current_services().options.max_wait_s, blinded_reading.reads_first()
    fields = filter_fields(request.args)
    unread_s = {item.study_instance_uid: _waited_s(item) for item in result.items if item.reviewed_at is None}
    with current_services().database.read() as session:
        load = records.reading_load(session, max_wait_s)
        saved = saved_filters.saved_filters(session, principal().name)
    return render_template(
        "worklist.html",
        items=_serialized(result.items),
        query=query,
        fields=blinded_reading.blind_fields(fields) if reads_first else fields,
        reads_first=reads_first,
        next_cursor=result.next_cursor,
        page_limit=None if query.limit == DEFAULT_LIMIT else str(query.limit),
        states=list(StudyState),
        orders=[order for order in WorklistOrder if not (reads_first and order is WorklistOrder.PRIORITY)],
        steps=PROBABILITY_STEPS,
        load=load,
        max_wait_s=max_wait_s,
        overdue={uid: waited_s for uid, waited_s in unread_s.items() if waited_s >= max_wait_s},
        saved=[serializers.saved_filter(record) for record in saved],
        address=address,
    )


def _serialized(items: Iterable[WorklistItem]) -> list[WorklistItemShape]:
    serialized = [serializers.worklist_item(item) for item in items]
    return [blinded_reading.blind_item(item) for item in serialized] if blinded_reading.reads_first() else serialized


def _waited_s(item: WorklistItem) -> float:
    return (datetime.now(UTC) - item.received_at).total_seconds()


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/review",
    may=DECIDE,
    answers={200: ReviewShape},
    body=NewReviewShape,
)
def review(study_uid: str) -> Response:
    """Mark a study as reviewed or unread."""
    is_reviewed = forms.json_body().get("reviewed")
    if not isinstance(is_reviewed, bool):
        raise BadRequestError("The field reviewed must be true or false.", code="bad_reviewed")
    actor = principal().name
    with current_services().database.begin() as session:
        if is_reviewed:
            reviews.review_study(session, study_uid, reviewed_by=actor)
        else:
            reviews.reopen_study(session, study_uid, reopened_by=actor)
    return jsonify(study_instance_uid=study_uid, reviewed=is_reviewed)


@endpoint(blueprint, "GET", "/api/v1/worklist/filters", may=READ_CLINICAL, answers={200: SavedFiltersShape})
def filters() -> Response:
    """The caller's saved filters."""
    with current_services().database.read() as session:
        saved = saved_filters.saved_filters(session, principal().name)
    return jsonify(filters=[serializers.saved_filter(record) for record in saved])


@endpoint(
    blueprint,
    "POST",
    "/api/v1/worklist/filters",
    may=READ_CLINICAL,
    answers={201: SavedFilterShape},
    errors=(422,),
    body=NewSavedFilterShape,
)
def save_filter() -> tuple[Response, int]:
    """Save a filter under a name."""
    body = forms.json_body()
    query = forms.json_object(body.get("query"))
    if not all(isinstance(value, str) for value in query.values()):
        raise BadRequestError("A filter must contain worklist parameters as texts.", code="bad_filter")
    check_names(query, names_of(WORKLIST_QUERY))
    read_query(query, current_services().options.max_wait_s)
    with current_services().database.begin() as session:
        record = saved_filters.save_filter(session, principal().name, forms.text_of(body, "name"), filter_fields(query))
    return jsonify(serializers.saved_filter(record)), 201


@endpoint(blueprint, "DELETE", "/api/v1/worklist/filters/<hex_id:filter_id>", may=READ_CLINICAL, answers={204: EMPTY})
def remove_filter(filter_id: str) -> Response:
    """Delete a saved filter."""
    with current_services().database.begin() as session:
        saved_filters.remove_filter(session, principal().name, filter_id)
    return Response(status=204)
