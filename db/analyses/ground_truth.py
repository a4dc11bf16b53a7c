"""Verdicts and pathology results of findings, for monitoring calibration and overrides."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.findings import FindingOrigin, Verdict
from db.domain.scanners import Scanner
from db.tables.analyses import FindingRow
from db.tables.ground_truth import AssessmentRow, PathologyRow
from db.tables.scanners import ObservationRow, WatchedScannerRow
from db.tables.studies import StudyRow

LATEST = 2000
"""Number of latest verdicts and pathology reports to evaluate."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict in force on a model finding; ``patient`` is our opaque id."""

    scanner: Scanner
    site: str
    patient: str
    verdict: Verdict
    is_read_first: bool
    nodule_probability: float | None


@dataclass(frozen=True, slots=True)
class Proven:
    """A finding with a pathology result."""

    site: str
    patient: str
    is_malignant: bool
    malignancy_probability: float


def latest_judged(session: Session, limit: int = LATEST) -> tuple[Judged, ...]:
    """List the latest verdicts on model findings, oldest first; one per finding."""
    rows = (
        select(AssessmentRow.finding_id, AssessmentRow.verdict, AssessmentRow.is_read_first)
        .add_columns(FindingRow.nodule_probability, ObservationRow.site, StudyRow.patient_row_id)
        .add_columns(WatchedScannerRow.model, WatchedScannerRow.kernel, WatchedScannerRow.slice_spacing)
        .join(FindingRow, AssessmentRow.finding_id == FindingRow.id)
        .join(StudyRow, FindingRow.study_id == StudyRow.id)
        .join(ObservationRow, ObservationRow.series_id == FindingRow.series_id)
        .join(WatchedScannerRow, ObservationRow.scanner_key == WatchedScannerRow.key)
        .where(AssessmentRow.withdrawn_at.is_(None), FindingRow.origin == FindingOrigin.MODEL)
        .order_by(AssessmentRow.created_at.desc(), AssessmentRow.number.desc(), AssessmentRow.id)
        .limit(limit)
    )
    latest: dict[str, Judged] = {}
    for finding_id, verdict, is_read_first, probability, site, patient, *scanner in session.execute(rows):
        judged = Judged(Scanner(*scanner), site, patient, verdict, is_read_first, probability)
        latest.setdefault(finding_id, judged)
    return tuple(latest.values())[::-1]


def latest_proven(session: Session, limit: int = LATEST) -> tuple[Proven, ...]:
    """List findings with a malignancy probability and a pathology result; of several reports the latest counts."""
    rows = (
        select(PathologyRow.finding_id, PathologyRow.is_malignant, FindingRow.malignancy_probability)
        .add_columns(ObservationRow.site, StudyRow.patient_row_id)
        .join(FindingRow, PathologyRow.finding_id == FindingRow.id)
        .join(StudyRow, FindingRow.study_id == StudyRow.id)
        .join(ObservationRow, ObservationRow.series_id == FindingRow.series_id)
        .where(FindingRow.malignancy_probability.is_not(None))
        .order_by(PathologyRow.reported_on.desc(), PathologyRow.imported_at.desc(), PathologyRow.id)
        .limit(limit)
    )
    latest: dict[str, Proven] = {}
    for finding_id, is_malignant, probability, site, patient in session.execute(rows):
        latest.setdefault(finding_id, Proven(site, patient, is_malignant, probability))
    return tuple(latest.values())[::-1]
