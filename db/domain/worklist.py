"""Worklist, saved filters and the detail of a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from db.domain.analyses import AnalysisRecord
from db.domain.deliveries import DeliveryRecord
from db.domain.findings import FindingRecord
from db.domain.reasons import Reason
from db.domain.studies import OtherStudy, PatientAttributes, SeriesRecord, StudyState


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """One row of the worklist, as DESIGN's section 5 names its fields."""

    study_instance_uid: str
    patient: PatientAttributes
    accession_number: str
    study_date: str
    study_description: str
    state: StudyState
    reasons: tuple[Reason, ...]
    series_count: int
    instance_count: int
    finding_count: int
    malignancy_probability: float | None
    interval: tuple[float, float] | None
    received_at: datetime
    analysed_at: datetime | None
    waiting_s: float
    reviewed_at: datetime | None = None
    """Time of review; reset to None by later images or results."""
    reviewed_by: str | None = None
    caveats: tuple[Reason, ...] = ()
    """Those of the study's current analyses, each once."""
    displayed: str | None = None
    """Displayed text of the probability, in English."""
    result_failures: tuple[Reason, ...] = ()
    """Failures to create result objects."""
    has_prior: bool = False
    """True if the patient has an earlier study here."""
    assigned_to: str | None = None
    """Reader that the study is assigned to."""
    readers: tuple[str, ...] = ()
    """Readers who have the study open now, the earliest first."""
    is_stat: bool = False
    """High priority was asked for with any of its instances."""
    top_diameter_mm: float | None = None
    """Longest diameter of the finding with the highest malignancy probability; without any, of the largest.

    What a reader measured overrides the model's.
    """


class WorklistOrder(StrEnum):
    """Order of the worklist."""

    NEWEST = "newest"
    """The latest arrival first."""
    OLDEST = "oldest"
    """The earliest arrival first."""
    PRIORITY = "priority"
    """Unread studies first: STAT, those that waited too long, then by probability."""
    PATIENT = "patient"
    """By the patient's name."""
    PATIENT_DESC = "patient_desc"
    STUDY_DATE = "study_date"
    """The earliest study date first; an unknown one before all."""
    STUDY_DATE_DESC = "study_date_desc"


@dataclass(frozen=True, slots=True)
class WorklistQuery:
    """Filters, order and page position of a worklist query (keyset paging)."""

    state: StudyState | None = None
    text: str = ""
    """Words to find in name, id, accession number, description or study UID, ignoring case and accents."""
    date_from: str = ""
    """First and last study date that is listed (``YYYYMMDD``, both inclusive)."""
    date_to: str = ""
    min_probability: float | None = None
    """Least and largest of the highest calibrated malignancy probabilities that are listed (both inclusive)."""
    max_probability: float | None = None
    is_reviewed: bool | None = None
    order: WorklistOrder = WorklistOrder.NEWEST
    max_wait_s: float = 4 * 3600.0
    """Seconds that a study may wait for a reader before it comes first in the order by priority."""
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """One page of the worklist; ``next_cursor`` is None on the last."""

    items: tuple[WorklistItem, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReadingLoad:
    """Numbers of unread studies."""

    unread: int
    overdue: int
    """Those that have waited longer than ``max_wait_s``."""


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A reader's saved worklist filter; ``query`` holds the URL parameters by name."""

    id: str
    owner: str
    name: str
    query: dict[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """A study with everything that the viewer and the API show."""

    item: WorklistItem
    series: tuple[SeriesRecord, ...]
    analyses: tuple[AnalysisRecord, ...]
    findings: tuple[FindingRecord, ...]
    deliveries: tuple[DeliveryRecord, ...]
    others: tuple[OtherStudy, ...] = ()
    """The patient's other studies, latest first."""
