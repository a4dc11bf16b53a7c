"""What can be asked of the worklist."""

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
        "Words that name, id, accession number, description or study UID hold; one or two letters begin a word.",
    ),
    ("date_from", DATE, "Only studies of this study date or later."),
    ("date_to", DATE, "Only studies of this study date or earlier."),
    ("min_probability", SHARE, "Only studies whose highest calibrated probability is this or more."),
    ("max_probability", SHARE, "Only studies whose highest calibrated probability is this or less."),
    ("reviewed", {"type": "string", "enum": ["yes", "no"]}, "Only studies that a reader is done with, or is not."),
    (
        "sort",
        {"type": "string", "enum": ["newest", "oldest", "priority"], "default": "newest"},
        "By arrival; or what waited too long first, then by probability, then what has none, then what is reviewed.",
    ),
    ("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "Studies on one page."),
    ("cursor", {"type": "string"}, "`next` of the page before."),
)
FILTERS = "/api/v1/worklist/filters"
WORKLIST = (
    Operation("get", "/worklist", "The worklist as a page", {200: HTML}, (400,), query=WORKLIST_QUERY),
    Operation(
        "get",
        "/api/v1/worklist",
        "Studies, newest first unless another order is asked for",
        {200: WorklistShape},
        (400, 503),
        query=WORKLIST_QUERY,
    ),
    Operation("get", FILTERS, "The caller's saved filters", {200: SavedFiltersShape}, (503,)),
    Operation(
        "post",
        FILTERS,
        "Keep a filter under a name",
        {201: SavedFilterShape},
        (400, 415, 422, 503),
        body=NewSavedFilterShape,
    ),
    Operation("delete", FILTERS + "/{filter_id}", "Forget a saved filter", {204: {}}, (404, 503)),
    Operation(
        "post",
        STUDY + "/review",
        "Say that a reader is done with a study, or is not",
        {200: ReviewShape},
        (400, 404, 415, 503),
        body=NewReviewShape,
    ),
)
