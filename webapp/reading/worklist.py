"""Worklist page and API, reviews and saved filters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from flask import Blueprint, Response, render_template, request

from db.analyses import reviews
from db.domain import worklist as domain
from db.domain.errors import InvalidCursorError
from db.domain.studies import StudyState
from db.domain.worklist import WorklistOrder, WorklistPage, WorklistQuery
from db.worklist import rows, saved_filters
from webapp.accounts.identity import principal
from webapp.api.models_worklist import (
    Assignment,
    NewAssignment,
    NewReview,
    NewSavedFilter,
    Review,
    SavedFilter,
    SavedFilters,
    Worklist,
    WorklistItem,
)
from webapp.api.worklist_query import DEFAULT_LIMIT, WorklistParameters, address, filter_fields
from webapp.endpoints import DECIDE, EMPTY, HTML, READ_CLINICAL, endpoint, validated
from webapp.http.errors import BadRequestError
from webapp.parameters import check_names
from webapp.reading import blinded_reading
from webapp.services.registry import current_services

blueprint = Blueprint("worklist", __name__)

PROBABILITY_STEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.65, 0.8, 0.9)
"""Bounds offered by the page; the URL accepts any from 0 to 1."""


def _permitted(parameters: WorklistParameters) -> WorklistQuery:
    """Return the query of a request, as this reader may make it."""
    query = parameters.to_query(current_services().options.max_wait_s)
    return blinded_reading.blind_query(query) if blinded_reading.reads_first() else query


def _page_of(query: WorklistQuery) -> WorklistPage:
    try:
        with current_services().database.read() as session:
            return rows.worklist_page(session, query)
    except InvalidCursorError:
        raise BadRequestError("The cursor is invalid.", code="bad_cursor") from None


@endpoint(blueprint, "GET", "/api/v1/worklist", may=READ_CLINICAL, answers={200: Worklist}, query=WorklistParameters)
def listing(query: WorklistParameters) -> Worklist:
    """Studies, newest first by default."""
    result = _page_of(_permitted(query))
    return Worklist(items=_items(result.items), next=result.next_cursor)


@endpoint(blueprint, "GET", "/worklist", may=READ_CLINICAL, answers={200: HTML}, query=WorklistParameters)
def page(query: WorklistParameters) -> str:
    """The worklist as a page."""
    permitted = _permitted(query)
    result = _page_of(permitted)
    max_wait_s, reads_first = current_services().options.max_wait_s, blinded_reading.reads_first()
    fields = filter_fields(request.args)
    unread_s = {item.study_instance_uid: _waited_s(item) for item in result.items if item.reviewed_at is None}
    with current_services().database.read() as session:
        load = rows.reading_load(session, max_wait_s)
        saved = saved_filters.saved_filters(session, principal().name)
    return render_template(
        "worklist.html",
        items=_items(result.items),
        query=permitted,
        fields=blinded_reading.blind_fields(fields) if reads_first else fields,
        reads_first=reads_first,
        asks_choice=not blinded_reading.has_chosen(),
        next_cursor=result.next_cursor,
        page_limit=None if query.limit == DEFAULT_LIMIT else str(query.limit),
        states=list(StudyState),
        orders=[order for order in WorklistOrder if not (reads_first and order is WorklistOrder.PRIORITY)],
        steps=PROBABILITY_STEPS,
        load=load,
        max_wait_s=max_wait_s,
        overdue={uid: waited_s for uid, waited_s in unread_s.items() if waited_s >= max_wait_s},
        saved=[SavedFilter.model_validate(record) for record in saved],
        address=address,
    )


def _items(listed: Iterable[domain.WorklistItem]) -> list[WorklistItem]:
    items = [WorklistItem.model_validate(record) for record in listed]
    return [blinded_reading.blind_item(item) for item in items] if blinded_reading.reads_first() else items


def _waited_s(item: domain.WorklistItem) -> float:
    return (datetime.now(UTC) - item.received_at).total_seconds()


@endpoint(
    blueprint, "POST", "/api/v1/studies/<uid:study_uid>/review", may=DECIDE, answers={200: Review}, body=NewReview
)
def review(study_uid: str, body: NewReview) -> Review:
    """Mark a study as reviewed or unread."""
    actor = principal().name
    with current_services().database.begin() as session:
        if body.reviewed:
            reviews.review_study(session, study_uid, reviewed_by=actor)
        else:
            reviews.reopen_study(session, study_uid, reopened_by=actor)
    return Review(study_instance_uid=study_uid, reviewed=body.reviewed)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/assignment",
    may=DECIDE,
    answers={200: Assignment},
    body=NewAssignment,
)
def assign(study_uid: str, body: NewAssignment) -> Assignment:
    """Assign a study to the caller, or end its assignment."""
    actor = principal().name
    with current_services().database.begin() as session:
        if body.assigned:
            reviews.assign_study(session, study_uid, reader=actor)
        else:
            reviews.unassign_study(session, study_uid, unassigned_by=actor)
    return Assignment(study_instance_uid=study_uid, assigned_to=actor if body.assigned else None)


@endpoint(blueprint, "GET", "/api/v1/worklist/filters", may=READ_CLINICAL, answers={200: SavedFilters})
def filters() -> SavedFilters:
    """The caller's saved filters."""
    with current_services().database.read() as session:
        saved = saved_filters.saved_filters(session, principal().name)
    return SavedFilters.model_validate({"filters": saved})


@endpoint(
    blueprint, "POST", "/api/v1/worklist/filters", may=READ_CLINICAL, answers={201: SavedFilter}, body=NewSavedFilter
)
def save_filter(body: NewSavedFilter) -> SavedFilter:
    """Save a filter under a name."""
    check_names(body.query, WorklistParameters.model_fields)
    validated(WorklistParameters, body.query)
    with current_services().database.begin() as session:
        record = saved_filters.save_filter(session, principal().name, body.name, filter_fields(body.query))
    return SavedFilter.model_validate(record)


@endpoint(blueprint, "DELETE", "/api/v1/worklist/filters/<hex_id:filter_id>", may=READ_CLINICAL, answers={204: EMPTY})
def remove_filter(filter_id: str) -> Response:
    """Delete a saved filter."""
    with current_services().database.begin() as session:
        saved_filters.remove_filter(session, principal().name, filter_id)
    return Response(status=204)
