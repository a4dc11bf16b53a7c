"""What the watch for drift keeps: one observation a series, counted by scanner, and what comparing them found.

Analyses are collected after they finished, by a cursor, so that nothing is added to recording an answer and no look
reads what an earlier one has read. Observations hold no identity and stay when their study is purged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import Row, Select, Text, cast, exists, func, or_, select
from sqlalchemy.orm import Session

from db.analyses.scanners import UNKNOWN, Scanner, scanner_of
from db.domain.records import AnalysisStatus
from db.engine.session import insert_once, lock_names, now
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.arrivals import InstanceRow
from db.tables.ground_truth import AssessmentRow, PathologyRow
from db.tables.scanners import DriftCheckRow, ObservationRow, WatchedScannerRow, WatchReportRow

BATCH = 500
OVERLAP = timedelta(minutes=10)
"""Transactions of other hosts may commit, and their clocks run, so much later than others'."""
COLLECTED = (AnalysisStatus.CURRENT, AnalysisStatus.SUPERSEDED, AnalysisStatus.QUARANTINED)
JOIN = " + "
"""Between the codes of several reasons."""
_LOCK = "watching"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one series looked like (None: it was refused unread) and what was answered."""

    model_sha256: str
    reason_codes: tuple[str, ...]
    summary: dict[str, object] | None
    nodule: tuple[float, ...]
    malignancy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WatchedScanner:
    """A scanner, how many of its series were read, and how many blocks of them were compared."""

    scanner: Scanner
    series_count: int
    block: int


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """What the comparison of one block found: what changed, and stability indices by name."""

    block: int
    checked_at: datetime
    drifted: tuple[str, ...]
    indices: dict[str, float]


@dataclass(slots=True)
class Outcomes:
    """Series from machines of one model: how many, why which had no answer, and which findings no malignancy."""

    series: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    findings: int = 0
    doubts: Counter[str] = field(default_factory=Counter)


def collect(session: Session) -> int:
    """Take up to ``BATCH`` analyses that finished since the last time; tells how many.

    A series counts once, by the first analysis that read it: one that was refused unread, such as before all of its
    images had come, gives way to a later one.
    """
    lock_names(session, _LOCK)
    state = _state(session)
    rows = select(AnalysisRow).where(AnalysisRow.finished_at.is_not(None), AnalysisRow.status.in_(COLLECTED))
    is_known = or_(ObservationRow.number.is_not(None), ObservationRow.finished_at >= AnalysisRow.finished_at)
    rows = rows.where(~exists().where(ObservationRow.series_id == AnalysisRow.series_id, is_known))
    if state.collected_to is not None:
        rows = rows.where(AnalysisRow.finished_at >= state.collected_to - OVERLAP)
    found = session.scalars(rows.order_by(AnalysisRow.finished_at, AnalysisRow.id).limit(BATCH)).all()
    if not found:
        return 0
    _observe(session, found)
    latest = max(row.finished_at for row in found if row.finished_at is not None)
    state.collected_to = max(latest, state.collected_to or latest)
    session.flush()
    return len(found)


def _observe(session: Session, found: Sequence[AnalysisRow]) -> None:
    """Put down what was observed of the series of these analyses, in their order."""
    series_ids = {row.series_id for row in found}
    findings, sites = _findings(session, [row.id for row in found]), _sites(session, series_ids)
    known = session.scalars(select(ObservationRow).where(ObservationRow.series_id.in_(series_ids)))
    observed = {row.series_id: row for row in known}
    sequence = session.scalars(select(func.max(ObservationRow.sequence))).one() or 0
    for row in found:
        one = observed.get(row.series_id)
        if one is None:
            sequence += 1
            one = ObservationRow(sequence=sequence, series_id=row.series_id, site=sites.get(row.series_id) or UNKNOWN)
            observed[row.series_id] = one
        elif one.number is not None:
            continue
        _fill(session, one, row, findings.get(row.id, []))
        session.add(one)


def watched_scanners(session: Session) -> tuple[WatchedScanner, ...]:
    """List the scanners that series were read of, those of most series first."""
    rows = select(WatchedScannerRow).where(WatchedScannerRow.series_count > 0)
    ordered = rows.order_by(WatchedScannerRow.series_count.desc(), WatchedScannerRow.key)
    return tuple(WatchedScanner(_scanner(row), row.series_count, row.block) for row in session.scalars(ordered))


def numbered(session: Session, scanner: Scanner, first: int, last: int) -> tuple[Observation, ...]:
    """List a scanner's series of these numbers, both counted in."""
    rows = _observations().where(ObservationRow.scanner_key == scanner.key)
    rows = rows.where(ObservationRow.number.between(first, last)).order_by(ObservationRow.number)
    return tuple(map(_observed, session.execute(rows)))


def first_of_model(
    session: Session, scanner: Scanner, model_sha256: str, *, before: int, limit: int
) -> tuple[Observation, ...]:
    """List the first series of a scanner that a model was asked about, among those numbered lower than ``before``."""
    rows = _observations().where(ObservationRow.scanner_key == scanner.key, ObservationRow.number < before)
    rows = rows.where(ObservationRow.model_sha256 == model_sha256).order_by(ObservationRow.number).limit(limit)
    return tuple(map(_observed, session.execute(rows)))


def latest_observations(session: Session, limit: int) -> tuple[Observation, ...]:
    """List the latest series of all scanners that were read, oldest first."""
    rows = _observations().where(ObservationRow.number.is_not(None)).order_by(ObservationRow.sequence.desc())
    return tuple(map(_observed, session.execute(rows.limit(limit))))[::-1]


def record_check(session: Session, scanner: Scanner, check: DriftCheck, figures: Mapping[str, object]) -> None:
    """Keep what a comparison found, once."""
    values = {"scanner_key": scanner.key, **asdict(check), "figures": dict(figures)}
    if insert_once(session, DriftCheckRow, values):
        row = session.get_one(WatchedScannerRow, scanner.key)
        row.block = max(row.block, check.block)
        session.flush()


def latest_checks(session: Session, scanner: Scanner, limit: int) -> tuple[DriftCheck, ...]:
    """List what the latest comparisons of a scanner found, oldest first."""
    columns = (DriftCheckRow.block, DriftCheckRow.checked_at, DriftCheckRow.drifted, DriftCheckRow.indices)
    rows = select(*columns).where(DriftCheckRow.scanner_key == scanner.key).order_by(DriftCheckRow.block.desc())
    return tuple(DriftCheck(*row) for row in reversed(session.execute(rows.limit(limit)).all()))


def figures_of_check(session: Session, scanner: Scanner, block: int) -> dict[str, object]:
    """Return all figures of one comparison."""
    return session.get_one(DriftCheckRow, (scanner.key, block)).figures


def outcomes_by_machine(session: Session, since: datetime) -> dict[str, Outcomes]:
    """Count what became of the series of each machine's model that finished since a moment."""
    codes, doubts = (cast(column, Text) for column in (ObservationRow.reason_codes, ObservationRow.doubts))
    rows = (
        select(WatchedScannerRow.model, codes, doubts, func.count(), func.sum(ObservationRow.finding_count))
        .join(WatchedScannerRow, ObservationRow.scanner_key == WatchedScannerRow.key)
        .where(ObservationRow.finished_at >= since)
        .group_by(WatchedScannerRow.model, codes, doubts)
    )
    found: dict[str, Outcomes] = {}
    for model, reasons, doubtful, series, findings in session.execute(rows):
        one = found.setdefault(model, Outcomes())
        one.series += series
        one.findings += findings
        if named := JOIN.join(json.loads(reasons)):
            one.reasons[named] += series
        for doubt in json.loads(doubtful):
            one.doubts[doubt] += series
    return found


def report_fingerprint(session: Session) -> list[object]:
    """Tell what a report would be made of, in short: where it is the same, so would be the report."""
    latest = (
        select(func.max(ObservationRow.sequence)),
        select(func.max(AssessmentRow.created_at)),
        select(func.max(PathologyRow.imported_at)),
    )
    return [None if (value := session.scalars(one).one()) is None else str(value) for one in latest]


def save_report(session: Session, report: Mapping[str, object]) -> None:
    """Keep the latest report in place of the one before."""
    state = _state(session)
    state.report, state.reported_at = dict(report), now(session)
    session.flush()


def latest_report(session: Session) -> tuple[datetime, dict[str, Any]] | None:
    """Return the latest report and when it was made; None before the first."""
    row = session.get(WatchReportRow, 1)
    return (row.reported_at, row.report) if row is not None and row.reported_at is not None else None


def _state(session: Session) -> WatchReportRow:
    insert_once(session, WatchReportRow, {"id": 1, "report": {}})
    return session.get_one(WatchReportRow, 1, populate_existing=True)


def _fill(session: Session, one: ObservationRow, row: AnalysisRow, findings: Sequence[FindingRow]) -> None:
    scanner, summary = scanner_of(row.measures), row.measures.get("summary")
    known = {"series_count": 0, "block": 0}
    insert_once(session, WatchedScannerRow, {"key": scanner.key, **scanner._asdict(), **known})
    sizes = [finding.diameter_mm for finding in findings if finding.diameter_mm is not None]
    doubtful = [finding for finding in findings if finding.malignancy_probability is None]
    one.analysis_id, one.scanner_key, one.model_sha256 = row.id, scanner.key, row.model_sha256
    one.finished_at = row.finished_at or now(session)
    one.reason_codes = tuple(reason.code for reason in row.reasons)
    one.findings = [[finding.nodule_probability, finding.malignancy_probability] for finding in findings]
    one.finding_count = len(findings)
    one.doubts = tuple(JOIN.join(reason.code for reason in finding.reasons) for finding in doubtful)
    if isinstance(summary, dict):
        watched = session.get_one(WatchedScannerRow, scanner.key)
        watched.series_count += 1
        one.number = watched.series_count
        one.summary = {**summary, "nodule_mm": median(sizes) if sizes else None}


def _findings(session: Session, analysis_ids: Sequence[str]) -> dict[str, list[FindingRow]]:
    found: dict[str, list[FindingRow]] = {}
    rows = select(FindingRow).where(FindingRow.analysis_id.in_(analysis_ids)).order_by(FindingRow.ordinal)
    for row in session.scalars(rows):
        found.setdefault(str(row.analysis_id), []).append(row)
    return found


def _sites(session: Session, series_ids: set[str]) -> dict[str, str]:
    """Tell who sent each series: the AE title that its first instance came from."""
    first = InstanceRow.series_id.in_(series_ids), InstanceRow.arrival == 1
    rows = session.execute(select(InstanceRow.series_id, InstanceRow.calling_ae_title).where(*first))
    return {series_id: title for series_id, title in rows}  # noqa: C416 (dict() does not know rows for pairs)


def _observations() -> Select[str, tuple[str, ...], dict[str, object] | None, list[object]]:
    return select(
        ObservationRow.model_sha256, ObservationRow.reason_codes, ObservationRow.summary, ObservationRow.findings
    )


def _observed(row: Row[str, tuple[str, ...], dict[str, object] | None, list[Any]]) -> Observation:
    model_sha256, codes, summary, findings = row
    nodule, malignancy = (tuple(float(one[at]) for one in findings if one[at] is not None) for at in (0, 1))
    return Observation(model_sha256, codes, summary, nodule, malignancy)


def _scanner(row: WatchedScannerRow) -> Scanner:
    return Scanner(row.model, row.kernel, row.slice_spacing)
