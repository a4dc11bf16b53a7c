"""What pathology said of nodules, brought in from outside: matched with findings, once each, every row on record."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.records import AnalysisStatus, AuditEvent
from db.engine.session import insert_once, now
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.arrivals import SeriesRow, StudyRow
from db.tables.ground_truth import PathologyRow

NEAR_MM = 5.0
"""A finding is that of a position so near to it, or within its own radius."""
_SHOWN = (AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED)


class Outcome(StrEnum):
    """What became of a report."""

    ADDED = "added"
    KNOWN = "known"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a report, and whether the models had found something there."""

    outcome: Outcome
    has_finding: bool


@dataclass(frozen=True, slots=True)
class NewPathology:
    """A report: of a study or series (one UID may be empty), of a finding or a position (patient, mm)."""

    study_instance_uid: str
    series_instance_uid: str
    finding_id: str
    position_mm: tuple[float, float, float] | None
    is_malignant: bool
    told_on: str
    """ISO 8601 date."""
    source: str


@dataclass(frozen=True, slots=True)
class PathologyRecord:
    """A report that was imported; ``finding_id`` is None where the models had found nothing there."""

    id: str
    finding_id: str | None
    is_malignant: bool
    told_on: str
    source: str
    imported_by: str
    imported_at: datetime


def import_pathology(session: Session, new: NewPathology, *, imported_by: str, replace: bool = False) -> Imported:
    """Keep a report, once. One of the same place, date and source with another label is refused, or replaced.

    Raises
    ------
    UnknownRecordError
        There is no such study, series or finding.
    InvalidRecordError
        It contradicts one that was imported.
    """
    study_id, series_id = _place(session, new)
    finding = _named_finding(session, new, study_id, series_id) if new.finding_id else None
    position = (finding.x_mm, finding.y_mm, finding.z_mm) if finding else new.position_mm
    if position is None:
        raise InvalidRecordError("position", "is missing, as is a finding")
    what = new.finding_id or ",".join(f"{value:.1f}" for value in position)
    key = hashlib.sha256(f"{study_id}\0{what}\0{new.told_on}\0{new.source}".encode()).hexdigest()[:32]
    known = session.get(PathologyRow, key)
    if known is not None:
        return _again(session, known, new, imported_by=imported_by, replace=replace)
    finding = finding or _nearest(session, study_id, series_id, position)
    finding_id = finding.id if finding else None
    values: dict[str, object] = {
        "id": key,
        "study_id": study_id,
        "finding_id": finding_id,
        **dict(zip(("x_mm", "y_mm", "z_mm"), position, strict=True)),
        "is_malignant": new.is_malignant,
        "told_on": new.told_on,
        "source": new.source,
        "imported_by": imported_by,
        "imported_at": now(session),
    }
    insert_once(session, PathologyRow, values)
    _audit(session, "pathology:imported", key, finding_id or study_id, new, imported_by)
    return Imported(Outcome.ADDED, finding is not None)


def pathology_records(session: Session) -> tuple[PathologyRecord, ...]:
    """List what was imported, oldest first."""
    rows = session.scalars(select(PathologyRow).order_by(PathologyRow.imported_at, PathologyRow.id))
    return tuple(
        PathologyRecord(
            row.id, row.finding_id, row.is_malignant, row.told_on, row.source, row.imported_by, row.imported_at
        )
        for row in rows
    )


def _place(session: Session, new: NewPathology) -> tuple[str, str | None]:
    """Find study and series by the UIDs that are given; they have to belong together."""
    if new.series_instance_uid:
        found = session.execute(
            select(SeriesRow.id, StudyRow.id, StudyRow.study_instance_uid)
            .join(StudyRow, SeriesRow.study_id == StudyRow.id)
            .where(SeriesRow.series_instance_uid == new.series_instance_uid)
        ).one_or_none()
        if found is None or new.study_instance_uid not in ("", found[2]):
            raise UnknownRecordError("series")
        return found[1], found[0]
    study_id = session.scalars(
        select(StudyRow.id).where(StudyRow.study_instance_uid == new.study_instance_uid)
    ).one_or_none()
    if study_id is None:
        raise UnknownRecordError("study")
    return study_id, None


def _named_finding(session: Session, new: NewPathology, study_id: str, series_id: str | None) -> FindingRow:
    row = session.get(FindingRow, new.finding_id)
    if row is None or row.study_id != study_id or series_id not in (None, row.series_id):
        raise UnknownRecordError("finding")
    return row


def _nearest(
    session: Session, study_id: str, series_id: str | None, position: tuple[float, float, float]
) -> FindingRow | None:
    """Find what the models found there, that of the malignancy model first; None where they found nothing."""
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


def _again(session: Session, known: PathologyRow, new: NewPathology, *, imported_by: str, replace: bool) -> Imported:
    if known.is_malignant == new.is_malignant:
        return Imported(Outcome.KNOWN, known.finding_id is not None)
    if not replace:
        raise InvalidRecordError("label", "contradicts what was imported of the same place, date and source")
    known.is_malignant, known.imported_by, known.imported_at = new.is_malignant, imported_by, now(session)
    session.flush()
    _audit(session, "pathology:replaced", known.id, known.finding_id or known.study_id, new, imported_by)
    return Imported(Outcome.REPLACED, known.finding_id is not None)


def _audit(session: Session, action: str, key: str, subject: str, new: NewPathology, imported_by: str) -> None:
    details: dict[str, object] = {"pathology": key, "malignant": new.is_malignant, "date": new.told_on}
    audit.append(session, AuditEvent(action, imported_by, subject, details=details))
