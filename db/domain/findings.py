"""Findings and the verdicts of readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from db.domain.errors import InvalidRecordError
from db.domain.masks import FindingMask, Line
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason

FRAME_OF_REFERENCE_UID = "frame_of_reference_uid"
"""Attribute of a finding: the frame of reference of its position; left out if the series states none."""


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


MIN_LENGTH_MM, MAX_LENGTH_MM = 0.5, 400.0
"""Range of an axis that a reader draws: a pixel of a fine reconstruction, and the width of a chest."""


@dataclass(frozen=True, slots=True)
class ReaderSize:
    """Long and short axis that a reader measured on one frame of the finding's series.

    Parameters
    ----------
    sop_instance_uid, frame_number
        The frame (counted from 1).
    long_axis, short_axis
        Their ends.
    long_mm, short_mm
        Their lengths.

    Raises
    ------
    InvalidRecordError
        A length is out of range, or the short axis is the longer one.
    """

    sop_instance_uid: str
    frame_number: int
    long_axis: Line
    short_axis: Line
    long_mm: float
    short_mm: float

    def __post_init__(self) -> None:
        """Check the lengths."""
        if not MIN_LENGTH_MM <= self.short_mm <= self.long_mm <= MAX_LENGTH_MM:
            raise InvalidRecordError("size", f"is not {MIN_LENGTH_MM:g} to {MAX_LENGTH_MM:g} mm, the long axis first")

    @property
    def mean_mm(self) -> float:
        """Mean of long and short axis (MacMahon et al. 2017)."""
        return (self.long_mm + self.short_mm) / 2.0


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
    size: ReaderSize | None = None
    """The size as the reader measured it, which overrides the model's; None where the model's stands."""


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
