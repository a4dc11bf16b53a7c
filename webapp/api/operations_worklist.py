"""API operations of the worklist."""

from __future__ import annotations

from webapp.api.operations import HTML, STUDY, Operation
from webapp.api.schema import Schema
from webapp.api.shapes_worklist import (
    NewReviewShape,
    NewSavedFilterShape,
    ReviewShape,
    SavedFilterShape,
    SavedFiltersShape,
    WorklistShape,
)

STATE: Schema = {"type": "string", "enum": ["receiving", "queued", "analysing", "analysed", "not_analysed", "failed"]}
DATE: Schema = {"type": "string", "pattern": r"^\d{4}-?\d{2}-?\d{2}$"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
WORKLIST_QUERY = (
    ("state", STATE, "Only studies in this state."),
    (
        "q",
        {"type": "string", "maxLength": 2000},
        "Words in name, id, accession number, description or study UID; one or two letters match the start of a word.",
    ),
    ("date_from", DATE, "Only studies of this study date or later."),
    ("date_to", DATE, "Only studies of this study date or earlier."),
    ("min_probability", SHARE, "Only studies whose highest calibrated probability is this or more."),
    ("max_probability", SHARE, "Only studies whose highest calibrated probability is this or less."),
    ("reviewed", {"type": "string", "enum": ["yes", "no"]}, "Only reviewed, or only unread studies."),
    (
        "sort",
        {"type": "string", "enum": ["newest", "oldest", "priority"], "default": "newest"},
        "By arrival; or overdue ones first, then by probability, then those without one, then reviewed ones.",
    ),
    ("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "Studies on one page."),
    ("cursor", {"type": "string"}, "`next` of the previous page."),
)
FILTERS = "/api/v1/worklist/filters"
WORKLIST = (
    Operation("get", "/worklist", "The worklist as a page", {200: HTML}, (400,), query=WORKLIST_QUERY),
    Operation(
        "get",
        "/api/v1/worklist",
        "Studies, newest first by default",
        {200: WorklistShape},
        (400, 503),
        query=WORKLIST_QUERY,
    ),
    Operation("get", FILTERS, "The caller's saved filters", {200: SavedFiltersShape}, (503,)),
    Operation(
        "post",
        FILTERS,
        "Save a filter under a name",
        {201: SavedFilterShape},
        (400, 415, 422, 503),
        body=NewSavedFilterShape,
    ),
    Operation("delete", FILTERS + "/{filter_id}", "Delete a saved filter", {204: {}}, (404, 503)),
    Operation(
        "post",
        STUDY + "/review",
        "Mark a study as reviewed or unread",
        {200: ReviewShape},
        (400, 404, 415, 503),
        body=NewReviewShape,
    ),
)
