"""Scanner quarantine: series of a quarantined scanner are analysed and stored, not shown to readers and not sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session, aliased

from db.audit import trail as audit
from db.domain.analyses import AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.scanners import Scanner, scanner_of
from db.engine.session import free_text, lock_names, new_id, now, record_of, required
from db.tables.analyses import AnalysisRow
from db.tables.scanners import ScannerQuarantineRow

RECENT_SERIES = 2000
"""Number of latest series whose scanners are listed for quarantine."""


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """One quarantine of a scanner; ``released_at`` is None while it is in force."""

    scanner: Scanner
    reason: str
    held_by: str
    held_at: datetime
    series_count: int
    """Number of its series at that time."""
    release_reason: str
    released_by: str
    released_at: datetime | None


def quarantine_scanner(
    session: Session, scanner: Scanner, reason: str, *, held_by: str, series_count: int = 0
) -> QuarantineRecord:
    """Put a scanner into quarantine; no change if it is there already.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    """
    checked_reason = _checked_reason(reason)
    lock_names(session, f"quarantine:{scanner.key}")
    if (current := _current(session, scanner)) is not None:
        return _record(current)
    row = ScannerQuarantineRow(
        id=new_id(),
        **scanner._asdict(),
        series_count=series_count,
        reason=checked_reason,
        held_by=held_by,
        held_at=now(session),
        release_reason="",
        released_by="",
        released_at=None,
    )
    session.add(row)
    session.flush()
    audit.append(session, AuditEvent("scanner:held", held_by, scanner.key, details=_details(scanner, checked_reason)))
    return _record(row)


def release_scanner(session: Session, scanner: Scanner, reason: str, *, released_by: str) -> QuarantineRecord:
    """Release a scanner; its quarantined analyses stay quarantined.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    UnknownRecordError
        If it is not in quarantine.
    """
    checked_reason = _checked_reason(reason)
    lock_names(session, f"quarantine:{scanner.key}")
    row = required(_current(session, scanner), "scanner in quarantine")
    row.release_reason, row.released_by, row.released_at = checked_reason, released_by, now(session)
    session.flush()
    audit.append(
        session, AuditEvent("scanner:released", released_by, scanner.key, details=_details(scanner, checked_reason))
    )
    return _record(row)


def is_in_quarantine(session: Session, scanner: Scanner) -> bool:
    """Return whether a scanner is in quarantine."""
    return _current(session, scanner) is not None


def quarantined_scanners(session: Session) -> dict[Scanner, QuarantineRecord]:
    """Return the scanners in quarantine, with their records."""
    rows = session.scalars(select(ScannerQuarantineRow).where(ScannerQuarantineRow.released_at.is_(None)))
    return {record.scanner: record for record in map(_record, rows)}


def latest_quarantine(session: Session, scanner: Scanner) -> QuarantineRecord | None:
    """Return the latest quarantine of a scanner, or None."""
    statement = (
        select(ScannerQuarantineRow)
        .where(_is(scanner))
        .order_by(ScannerQuarantineRow.held_at.desc(), ScannerQuarantineRow.id)
    )
    row = session.scalars(statement.limit(1)).one_or_none()
    return _record(row) if row else None


def quarantined_analyses(session: Session, scanner: Scanner | None = None) -> tuple[str, ...]:
    """List the quarantined analyses that no later one followed, oldest first; of one scanner or of all."""
    rows = session.execute(_quarantined())
    return tuple(analysis_id for analysis_id, measures in rows if scanner in (None, scanner_of(measures)))


@dataclass(frozen=True, slots=True)
class ScannerState:
    """A scanner with its quarantine and the number of its quarantined series."""

    scanner: Scanner
    series_count: int
    """Number among the latest completed series."""
    hold: QuarantineRecord | None
    quarantined_count: int
    """Quarantined series, also after a release."""


def scanner_states(session: Session) -> tuple[ScannerState, ...]:
    """List the scanners of recent series, and those in quarantine."""
    counts, held = recent_scanners(session), quarantined_scanners(session)
    quarantined: dict[Scanner, int] = {}
    for _, measures in session.execute(_quarantined()):
        key = scanner_of(measures)
        quarantined[key] = quarantined.get(key, 0) + 1
    scanners: Sequence[Scanner] = sorted({*counts, *held, *quarantined})
    return tuple(
        ScannerState(scanner, counts.get(scanner, 0), held.get(scanner), quarantined.get(scanner, 0))
        for scanner in scanners
    )


def state_of(session: Session, scanner: Scanner) -> ScannerState:
    """Return the state of one scanner."""
    states = {state.scanner: state for state in scanner_states(session)}
    return states.get(scanner, ScannerState(scanner, 0, None, 0))


def scanner_by_key(session: Session, key: str) -> Scanner:
    """Return the scanner whose key has this prefix.

    Raises
    ------
    UnknownRecordError
        If there is none, or more than one.
    """
    matches = [state.scanner for state in scanner_states(session) if key and state.scanner.key.startswith(key)]
    if len(matches) != 1:
        raise UnknownRecordError("scanner")
    return matches[0]


def _quarantined() -> Select[str, dict[str, object]]:
    """Select the quarantined analyses that no later one of their series followed."""
    later = aliased(AnalysisRow)
    last = select(func.max(later.ordinal)).where(
        later.series_id == AnalysisRow.series_id, later.status != AnalysisStatus.FAILED
    )
    statement = select(AnalysisRow.id, AnalysisRow.measures).where(
        AnalysisRow.status == AnalysisStatus.QUARANTINED, AnalysisRow.ordinal == last.scalar_subquery()
    )
    return statement.order_by(AnalysisRow.requested_at, AnalysisRow.id)


def _current(session: Session, scanner: Scanner) -> ScannerQuarantineRow | None:
    statement = select(ScannerQuarantineRow).where(_is(scanner), ScannerQuarantineRow.released_at.is_(None))
    return session.scalars(statement).one_or_none()


def _is(scanner: Scanner) -> ColumnElement[bool]:
    return and_(
        ScannerQuarantineRow.model == scanner.model,
        ScannerQuarantineRow.kernel == scanner.kernel,
        ScannerQuarantineRow.slice_spacing == scanner.slice_spacing,
    )


def _checked_reason(reason: str) -> str:
    if not (text := free_text(reason).strip()):
        raise InvalidRecordError("reason", "is needed")
    return text


def _details(scanner: Scanner, reason: str) -> dict[str, object]:
    return {"scanner": list(scanner), "reason": reason}


def _record(row: ScannerQuarantineRow) -> QuarantineRecord:
    return record_of(QuarantineRecord, row, scanner=Scanner(row.model, row.kernel, row.slice_spacing))


def recent_scanners(session: Session) -> dict[Scanner, int]:
    """Count the latest answered series by scanner."""
    answered = AnalysisRow.status.in_((AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED))
    latest = select(AnalysisRow.measures).where(answered).order_by(AnalysisRow.requested_at.desc()).limit(RECENT_SERIES)
    counts: dict[Scanner, int] = {}
    for measures in session.scalars(latest):
        if "spacing_mm" in measures:  # absent if the series was refused before reading
            scanner = scanner_of(measures)
            counts[scanner] = counts.get(scanner, 0) + 1
    return dict(sorted(counts.items()))
