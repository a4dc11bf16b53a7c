"""Scanners held to shadow: what comes from them is analysed and kept, and neither shown to readers nor sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session, aliased

from db.analyses.scanners import Scanner, recent_scanners, scanner_of
from db.audit import trail as audit
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.records import AnalysisStatus, AuditEvent
from db.engine.session import free_text, lock_names, new_id, now
from db.tables.analyses import AnalysisRow
from db.tables.scanners import ScannerHoldRow


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """Who held a scanner, since when and why; ``released_at`` is None while it is held."""

    scanner: Scanner
    reason: str
    held_by: str
    held_at: datetime
    series_count: int
    """How many of its series were known then."""
    release_reason: str
    released_by: str
    released_at: datetime | None


def hold_scanner(session: Session, scanner: Scanner, reason: str, *, held_by: str, series_count: int = 0) -> HoldRecord:
    """Hold a scanner; one that is held already stays as it is.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    """
    told = _told(reason)
    lock_names(session, f"hold:{scanner.key}")
    if (held := _current(session, scanner)) is not None:
        return _record(held)
    row = ScannerHoldRow(
        id=new_id(),
        **scanner._asdict(),
        series_count=series_count,
        reason=told,
        held_by=held_by,
        held_at=now(session),
        release_reason="",
        released_by="",
        released_at=None,
    )
    session.add(row)
    session.flush()
    audit.append(session, AuditEvent("scanner:held", held_by, scanner.key, details=_details(scanner, told)))
    return _record(row)


def release_scanner(session: Session, scanner: Scanner, reason: str, *, released_by: str) -> HoldRecord:
    """Let a scanner's future series be answered as any others; what is in shadow stays there.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    UnknownRecordError
        If it is not held.
    """
    told = _told(reason)
    lock_names(session, f"hold:{scanner.key}")
    row = _current(session, scanner)
    if row is None:
        raise UnknownRecordError("held scanner")
    row.release_reason, row.released_by, row.released_at = told, released_by, now(session)
    session.flush()
    audit.append(session, AuditEvent("scanner:released", released_by, scanner.key, details=_details(scanner, told)))
    return _record(row)


def is_held(session: Session, scanner: Scanner) -> bool:
    """Whether a scanner is held now."""
    return _current(session, scanner) is not None


def held_scanners(session: Session) -> dict[Scanner, HoldRecord]:
    """Tell which scanners are held now."""
    rows = session.scalars(select(ScannerHoldRow).where(ScannerHoldRow.released_at.is_(None)))
    return {record.scanner: record for record in map(_record, rows)}


def latest_hold(session: Session, scanner: Scanner) -> HoldRecord | None:
    """Return the last time that a scanner was held, or None."""
    found = select(ScannerHoldRow).where(_is(scanner)).order_by(ScannerHoldRow.held_at.desc(), ScannerHoldRow.id)
    row = session.scalars(found.limit(1)).one_or_none()
    return _record(row) if row else None


def quarantined_analyses(session: Session, scanner: Scanner | None = None) -> tuple[str, ...]:
    """List the analyses that stand for their series and are not shown, oldest first; of one scanner, or of all."""
    found = session.execute(_in_shadow())
    return tuple(analysis_id for analysis_id, measures in found if scanner in (None, scanner_of(measures)))


@dataclass(frozen=True, slots=True)
class ScannerState:
    """A scanner with what is held of it."""

    scanner: Scanner
    series_count: int
    """Among the latest series that were answered."""
    hold: HoldRecord | None
    quarantined_count: int
    """Series that stand in shadow, also after a release."""


def scanner_states(session: Session) -> tuple[ScannerState, ...]:
    """List the scanners that series came from lately, and those that are held."""
    counts, held = recent_scanners(session), held_scanners(session)
    shadow: dict[Scanner, int] = {}
    for _, measures in session.execute(_in_shadow()):
        scanner = scanner_of(measures)
        shadow[scanner] = shadow.get(scanner, 0) + 1
    every: Sequence[Scanner] = sorted({*counts, *held, *shadow})
    return tuple(ScannerState(one, counts.get(one, 0), held.get(one), shadow.get(one, 0)) for one in every)


def state_of(session: Session, scanner: Scanner) -> ScannerState:
    """Look at one scanner."""
    known = {state.scanner: state for state in scanner_states(session)}
    return known.get(scanner, ScannerState(scanner, 0, None, 0))


def scanner_by_key(session: Session, key: str) -> Scanner:
    """Find a known scanner by the beginning of its key.

    Raises
    ------
    UnknownRecordError
        If there is none, or more than one.
    """
    found = [state.scanner for state in scanner_states(session) if key and state.scanner.key.startswith(key)]
    if len(found) != 1:
        raise UnknownRecordError("scanner")
    return found[0]


def _in_shadow() -> Select[str, dict[str, object]]:
    """Select the analyses in shadow that no later one of their series has followed."""
    later = aliased(AnalysisRow)
    last = select(func.max(later.ordinal)).where(
        later.series_id == AnalysisRow.series_id, later.status != AnalysisStatus.FAILED
    )
    statement = select(AnalysisRow.id, AnalysisRow.measures).where(
        AnalysisRow.status == AnalysisStatus.QUARANTINED, AnalysisRow.ordinal == last.scalar_subquery()
    )
    return statement.order_by(AnalysisRow.requested_at, AnalysisRow.id)


def _current(session: Session, scanner: Scanner) -> ScannerHoldRow | None:
    found = select(ScannerHoldRow).where(_is(scanner), ScannerHoldRow.released_at.is_(None))
    return session.scalars(found).one_or_none()


def _is(scanner: Scanner) -> ColumnElement[bool]:
    return and_(
        ScannerHoldRow.model == scanner.model,
        ScannerHoldRow.kernel == scanner.kernel,
        ScannerHoldRow.slice_spacing == scanner.slice_spacing,
    )


def _told(reason: str) -> str:
    if not (told := free_text(reason).strip()):
        raise InvalidRecordError("reason", "is needed")
    return told


def _details(scanner: Scanner, reason: str) -> dict[str, object]:
    return {"scanner": list(scanner), "reason": reason}


def _record(row: ScannerHoldRow) -> HoldRecord:
    return HoldRecord(
        scanner=Scanner(row.model, row.kernel, row.slice_spacing),
        reason=row.reason,
        held_by=row.held_by,
        held_at=row.held_at,
        series_count=row.series_count,
        release_reason=row.release_reason,
        released_by=row.released_by,
        released_at=row.released_at,
    )
