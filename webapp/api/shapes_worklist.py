"""JSON shapes of the worklist."""

from __future__ import annotations

from typing import Annotated, TypedDict

from webapp.api.shapes import Interval, Moment, Probability, ReasonShape, StateWord, Uid


class PatientShape(TypedDict):
    """Patient attributes as received."""

    id: str
    name: str
    birth_date: str
    sex: str


class WorklistItemShape(TypedDict):
    """One study on the worklist."""

    study_instance_uid: Uid
    patient: PatientShape
    accession_number: str
    study_date: str
    study_description: str
    state: StateWord
    reasons: list[ReasonShape]
    series_count: int
    instance_count: int
    finding_count: int | None
    """None, as the probability, for a blinded reader."""
    malignancy_probability: Probability | None
    interval: Interval | None
    """Bounds of the probability from calibration cases; None if no percentage is shown."""
    displayed: str | None
    """Displayed text of the probability, in English: ``> 82 % (32 of 34 similar)``."""
    received_at: Moment
    analysed_at: Moment | None
    waiting_s: float
    reviewed_at: Moment | None
    reviewed_by: str | None
    caveats: list[ReasonShape]
    """Caveats of the study's current analyses."""
    result_failures: list[ReasonShape]
    """Failures to create result objects; an administrator can retry."""


class WorklistShape(TypedDict):
    """One page of the worklist; ``next`` is the cursor of the next page."""

    items: list[WorklistItemShape]
    next: str | None


class NewReviewShape(TypedDict):
    """Review status to set."""

    reviewed: bool


class ReviewShape(TypedDict):
    """Review status; later images and results reopen a study."""

    study_instance_uid: Uid
    reviewed: bool


class NewSavedFilterShape(TypedDict):
    """A filter to save; ``query`` holds parameters of ``GET /api/v1/worklist``."""

    name: Annotated[str, ("minLength", 1), ("maxLength", 60)]
    query: dict[str, str]


class SavedFilterShape(NewSavedFilterShape):
    """A saved filter, with the URL of the filtered worklist."""

    id: str
    url: str


class SavedFiltersShape(TypedDict):
    """The caller's saved filters, oldest first."""

    filters: list[SavedFilterShape]
