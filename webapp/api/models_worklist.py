"""JSON models of the worklist: items, reviews, saved filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from db.domain.studies import StudyState
from db.worklist.saved_filters import NAME_LIMIT
from inference.displayed import NO_EVIDENCE
from webapp.accounts.identity import principal
from webapp.api.models import Answer, Body, Interval, Moment, Probability, Reason, ShownName, Uid, rounded
from webapp.api.worklist_query import address
from webapp.endpoints import Rule
from webapp.http.forms import clean_text
from webapp.http.messages import english


def others(readers: Iterable[str]) -> list[str]:
    """Return the readers without the caller."""
    return [reader for reader in readers if reader != principal().name]


class Patient(Answer):
    """Patient attributes as received."""

    id: str = Field(validation_alias="patient_id")
    name: str
    birth_date: str
    sex: str


class WorklistItem(Answer):
    """One study on the worklist; what the model says is null for a blinded reader."""

    study_instance_uid: Uid
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    state: StudyState
    reasons: list[Reason]
    series_count: int
    instance_count: int
    finding_count: int | None
    malignancy_probability: Probability | None
    interval: Interval | None
    """Bounds of the probability from calibration cases; None if no percentage is shown."""
    displayed: str | None
    """Displayed text of the probability, in English: ``> 82 % (32 of 34 similar)``."""
    received_at: Moment
    analysed_at: Moment | None
    waiting_s: Annotated[float, AfterValidator(rounded(1))]
    reviewed_at: Moment | None
    reviewed_by: str | None
    caveats: list[Reason]
    """Caveats of the study's current analyses."""
    result_failures: list[Reason]
    """Failures to create result objects; an administrator can retry."""
    has_prior: bool
    """True if the patient has an earlier study here."""
    assigned_to: str | None
    """Reader that the study is assigned to."""
    readers: Annotated[list[ShownName], BeforeValidator(others)]
    """Others who have the study open now. It refuses nothing."""
    is_stat: bool
    """High priority was asked for: C-STORE Priority HIGH or Requested Procedure Priority (0040,1003) STAT or HIGH."""
    top_diameter_mm: Annotated[float, AfterValidator(rounded(1))] | None
    """Longest diameter of the finding with the highest malignancy probability; without any, of the largest.

    What a reader measured overrides the model's.
    """

    @field_validator("displayed")
    @classmethod
    def _shown(cls, text: str | None, info: ValidationInfo) -> str | None:
        return None if info.data["malignancy_probability"] is None else text or NO_EVIDENCE


class Worklist(Answer):
    """One page of the worklist; ``next`` is the cursor of the next page."""

    items: list[WorklistItem]
    next: str | None


class NewReview(Body):
    """Review status to set."""

    reviewed: Annotated[bool, Rule(english("The field reviewed must be true or false."), "bad_reviewed", 400)]


class Review(Answer):
    """Review status; later images and results reopen a study."""

    study_instance_uid: Uid
    reviewed: bool


class NewAssignment(Body):
    """Assignment to set: to the caller, or none."""

    assigned: Annotated[bool, Rule(english("The field assigned must be true or false."), "bad_assigned", 400)]


class Assignment(Answer):
    """Reader that a study is assigned to; it hinders no one else from reading."""

    study_instance_uid: Uid
    assigned_to: str | None


class NewSavedFilter(Body):
    """A filter to save; ``query`` holds parameters of ``GET /api/v1/worklist``."""

    query: Annotated[
        dict[str, str], Rule(english("A filter must contain worklist parameters as texts."), "bad_filter", 400)
    ]
    name: Annotated[
        str,
        Field(min_length=1, max_length=NAME_LIMIT),
        AfterValidator(clean_text),
        Rule(f"The field {{name}} must have 1 to {NAME_LIMIT} characters."),
    ]


class SavedFilter(Answer):
    """A saved filter, with the URL of the filtered worklist."""

    name: Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": NAME_LIMIT})]
    query: dict[str, str]
    id: str
    url: Annotated[str, BeforeValidator(address)] = Field(validation_alias="query")


class SavedFilters(Answer):
    """The caller's saved filters, oldest first."""

    filters: list[SavedFilter]
