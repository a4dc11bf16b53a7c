"""The worklist's JSON."""

from __future__ import annotations

from typing import Annotated, TypedDict

from webapp.api.shapes import Interval, Moment, Probability, ReasonShape, StateWord, Uid


class PatientShape(TypedDict):
    """Whose images these are, as received."""

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
    """None, as the probability, for a browser whose reader chose to read before the model is shown."""
    malignancy_probability: Probability | None
    interval: Interval | None
    """Bounds of the probability that calibration cases bear; None where no percentage is shown."""
    displayed: str | None
    """What is shown of the probability, in English: ``> 82 % (32 of 34 similar)``."""
    received_at: Moment
    analysed_at: Moment | None
    waiting_s: float
    reviewed_at: Moment | None
    reviewed_by: str | None
    caveats: list[ReasonShape]
    """What a reader should know beside the answers of the study's current analyses."""
    result_failures: list[ReasonShape]
    """Result objects that could not be made; an administrator can have it tried again."""


class WorklistShape(TypedDict):
    """One page of the worklist; ``next`` is the cursor of the next one."""

    items: list[WorklistItemShape]
    next: str | None


class NewReviewShape(TypedDict):
    """Whether a reader is done with a study."""

    reviewed: bool


class ReviewShape(TypedDict):
    """What holds now; images and answers that come later reopen a study by themselves."""

    study_instance_uid: Uid
    reviewed: bool


class NewSavedFilterShape(TypedDict):
    """A name for a way to look at the worklist; ``query`` holds parameters of ``GET /api/v1/worklist``."""

    name: Annotated[str, ("minLength", 1), ("maxLength", 60)]
    query: dict[str, str]


class SavedFilterShape(NewSavedFilterShape):
    """A reader's own way to look at the worklist, and the page's address that shows it."""

    id: str
    url: str


class SavedFiltersShape(TypedDict):
    """The caller's saved filters, oldest first."""

    filters: list[SavedFilterShape]
