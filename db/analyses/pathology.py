"""Imported pathology results of nodules, matched with findings; each is stored once."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.analyses import AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.engine.session import insert_once, now
from db.studies.lifecycle import study_id_of
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.ground_truth import PathologyRow
from db.tables.studies import SeriesRow, StudyRow

NEAR_MM = 5.0
"""Largest distance, in mm, from a position to the finding it belongs to (or the finding's radius if larger)."""
_SHOWN = (AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED)


class Outcome(StrEnum):
    """Outcome of an import."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Imported:
    """Outcome of an import, and whether a finding matches the report."""

    outcome: Outcome
    has_finding: bool


@dataclass(frozen=True, slots=True)
class NewPathology:
    """A pathology report on a study or series (one UID may be empty), for a finding or a position (patient, mm)."""

    study_instance_uid: str
    series_instance_uid: str
    finding_id: str
    position_mm: tuple[float, float, float] | None
    is_malignant: bool
    reported_on: str
    """ISO 8601 date."""
    source: str


@dataclass(frozen=True, slots=True)
class PathologyRecord:
    """An imported report; ``finding_id`` is None if no finding matches."""

    id: str
    finding_id: str | None
    is_malignant: bool
    reported_on: str
    source: str
    imported_by: str
    imported_at: datetime


def import_pathology(session: Session, new: NewPathology, *, imported_by: str, replace: bool = False) -> Imported:
    """Import a report, once. One of the same position, date and source with another label is refused or replaced.

    Raises
    ------
    UnknownRecordError
        There is no such study, series or finding.
    InvalidRecordError
        It contradicts an imported one.
    """
    study_id, series_id = _study_and_series(session, new)
    finding = _named_finding(session, new, study_id, series_id) if new.finding_id else None
    position = (finding.x_mm, finding.y_mm, finding.z_mm) if finding else new.position_mm
    if position is None:
        raise InvalidRecordError("position", "is missing, as is a finding")
    target = new.finding_id or ",".join(f"{value:.1f}" for value in position)
    key = hashlib.sha256(f"{study_id}\0{target}\0{new.reported_on}\0{new.source}".encode()).hexdigest()[:32]
    existing = session.get(PathologyRow, key)
    if existing is not None:
        return _import_again(session, existing, new, imported_by=imported_by, replace=replace)
    finding = finding or _nearest(session, study_id, series_id, position)
    finding_id = finding.id if finding else None
    values: dict[str, object] = {
        "id": key,
        "study_id": study_id,
        "finding_id": finding_id,
        **dict(zip(("x_mm", "y_mm", "z_mm"), position, strict=True)),
        "is_malignant": new.is_malignant,
        "reported_on": new.reported_on,
        "source": new.source,
        "imported_by": imported_by,
        "imported_at": now(session),
    }
    insert_once(session, PathologyRow, values)
    _audit(session, "pathology:imported", key, finding_id or study_id, new, imported_by)
    return Imported(Outcome.ADDED, finding is not None)


def pathology_records(session: Session) -> tuple[PathologyRecord, ...]:
    """List the imported reports, oldest first."""
    rows = session.scalars(select(PathologyRow).order_by(PathologyRow.imported_at, PathologyRow.id))
    return tuple(
        PathologyRecord(
            row.id, row.finding_id, row.is_malignant, row.reported_on, row.source, row.imported_by, row.imported_at
        )
        for row in rows
    )


def _study_and_series(session: Session, new: NewPathology) -> tuple[str, str | None]:
    """Return the ids of study and series by their UIDs, which must belong together."""
    if new.series_instance_uid:
        row = session.execute(
            select(SeriesRow.id, StudyRow.id, StudyRow.study_instance_uid)
            .join(StudyRow, SeriesRow.study_id == StudyRow.id)
            .where(SeriesRow.series_instance_uid == new.series_instance_uid)
        ).one_or_none()
        if row is None or new.study_instance_uid not in ("", row[2]):
            raise UnknownRecordError("series")
        return row[1], row[0]
    return study_id_of(session, new.study_instance_uid), None


def _named_finding(session: Session, new: NewPathology, study_id: str, series_id: str | None) -> FindingRow:
    row = session.get(FindingRow, new.finding_id)
    if row is None or row.study_id != study_id or series_id not in (None, row.series_id):
        raise UnknownRecordError("finding")
    return row


def _nearest(
    session: Session, study_id: str, series_id: str | None, position: tuple[float, float, float]
) -> FindingRow | None:
    """Return the finding nearest to a position, one with a malignancy probability first; None if none is near."""
    rows = select(FindingRow).join(AnalysisRow, FindingRow.analysis_id == AnalysisRow.id)
    rows = rows.where(FindingRow.study_id == study_id, AnalysisRow.status.in_(_SHOWN))
    if series_id is not None:
        rows = rows.where(FindingRow.series_id == series_id)
    near = [
        (row.malignancy_probability is None, distance, row.id, row)
        for row in session.scalars(rows)
        if (distance := math.dist(position, (row.x_mm, row.y_mm, row.z_mm))) <= max(NEAR_MM, (row.diameter_mm or 0) / 2)
    ]
    return min(near)[3] if near else None


def _import_again(
    session: Session, row: PathologyRow, new: NewPathology, *, imported_by: str, replace: bool
) -> Imported:
    if row.is_malignant == new.is_malignant:
        return Imported(Outcome.UNCHANGED, row.finding_id is not None)
    if not replace:
        raise InvalidRecordError("label", "contradicts an imported report of the same position, date and source")
    row.is_malignant, row.imported_by, row.imported_at = new.is_malignant, imported_by, now(session)
    session.flush()
    _audit(session, "pathology:replaced", row.id, row.finding_id or row.study_id, new, imported_by)
    return Imported(Outcome.REPLACED, row.finding_id is not None)


def _audit(session: Session, action: str, key: str, subject: str, new: NewPathology, imported_by: str) -> None:
    details: dict[str, object] = {"pathology": key, "malignant": new.is_malignant, "date": new.reported_on}
    audit.append(session, AuditEvent(action, imported_by, subject, details=details))
