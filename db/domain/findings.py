"""Findings and the verdicts of readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from db.domain.masks import FindingMask
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason


class FindingOrigin(StrEnum):
    """Source of a finding."""

    MODEL = "model"
    READER = "reader"


class Verdict(StrEnum):
    """A reader's verdict on a finding."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class NewFinding:
    """A finding to record. Millimetres in the patient's frame (LPS); row and column 0-based, in stored pixels."""

    sop_instance_uid: str
    frame_number: int
    row: float
    column: float
    position_mm: tuple[float, float, float]
    diameter_mm: float | None
    nodule_probability: float | None
    malignancy_probability: float | None
    interval: tuple[float, float] | None
    prediction_set: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)
    """Further measures by name (``volume_mm3``, ``density``, ...) as JSON; ``displayed`` holds text and bounds shown
    for each probability (``malignancy``, ``nodule``)."""
    mask: FindingMask | None = None
    """Measured voxels; read by ``db.analyses.masks`` only, None in other records."""


def displayed_text(attributes: Mapping[str, object]) -> str | None:
    """Return the displayed malignancy text of a finding, in English; None if it has none."""
    records = attributes.get("displayed")
    record = records.get("malignancy") if isinstance(records, Mapping) else None
    text = record.get("text") if isinstance(record, Mapping) else None
    return text if isinstance(text, str) else None


@dataclass(frozen=True, slots=True)
class AssessmentRecord:
    """A reader's verdict on a finding; the latest counts."""

    id: str
    finding_id: str
    verdict: Verdict
    reason: str
    comment: str
    reader: str
    created_at: datetime
    withdrawn_at: datetime | None = None
    """Time of its withdrawal; it then no longer counts."""


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """A recorded finding with its latest verdict."""

    id: str
    analysis_id: str | None
    series_instance_uid: str
    study_instance_uid: str
    origin: FindingOrigin
    finding: NewFinding
    model: ModelIdentity
    assessment: AssessmentRecord | None
    created_at: datetime
    created_by: str
