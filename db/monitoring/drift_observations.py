"""Drift monitoring records: one observation per series, numbered by scanner, and the checks of their blocks.

Finished analyses are collected by a cursor, so that completing an analysis costs no more and each is read once.
Observations hold no identity and stay when their study is purged.
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

from db.domain.analyses import AnalysisStatus
from db.domain.reconstructions import OTHER_RECONSTRUCTION
from db.domain.scanners import UNKNOWN, Scanner, scanner_of
from db.engine.session import insert_once, lock_names, now
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.ground_truth import AssessmentRow, PathologyRow
from db.tables.scanners import DriftCheckRow, ObservationRow, WatchedScannerRow, WatchReportRow
from db.tables.studies import InstanceRow

BATCH = 500
OVERLAP = timedelta(minutes=10)
"""Allowance for late commits and clock differences of other hosts."""
COLLECTED = (AnalysisStatus.CURRENT, AnalysisStatus.SUPERSEDED, AnalysisStatus.QUARANTINED)
JOIN = " + "
"""Separator of several reason codes."""
_LOCK = "watching"


@dataclass(frozen=True, slots=True)
class Observation:
    """Image summary of one series (None if it was refused before reading) and its probabilities."""

    model_sha256: str
    reason_codes: tuple[str, ...]
    summary: dict[str, object] | None
    nodule: tuple[float, ...]
    malignancy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WatchedScanner:
    """A scanner with its numbers of read series and of compared blocks."""

    scanner: Scanner
    series_count: int
    block: int


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """Result of one block's comparison: drifted features, and stability indices by name."""

    block: int
    checked_at: datetime
    drifted: tuple[str, ...]
    indices: dict[str, float]


@dataclass(slots=True)
class Outcomes:
    """Counts for one scanner model: series, reasons for abstaining, findings, and reasons without malignancy."""

    series: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    findings: int = 0
    doubts: Counter[str] = field(default_factory=Counter)


def collect(session: Session) -> int:
    """Collect up to ``BATCH`` newly finished analyses; return their number.

    A series counts once, by the first analysis that read it; one refused before reading, such as before all of its
    images had arrived, is replaced by a later one.
    """
    lock_names(session, _LOCK)
    state = _state(session)
    rows = select(AnalysisRow).where(AnalysisRow.finished_at.is_not(None), AnalysisRow.status.in_(COLLECTED))
    is_observed = or_(ObservationRow.number.is_not(None), ObservationRow.finished_at >= AnalysisRow.finished_at)
    rows = rows.where(~exists().where(ObservationRow.series_id == AnalysisRow.series_id, is_observed))
    if state.collected_to is not None:
        rows = rows.where(AnalysisRow.finished_at >= state.collected_to - OVERLAP)
    analyses = session.scalars(rows.order_by(AnalysisRow.finished_at, AnalysisRow.id).limit(BATCH)).all()
    if not analyses:
        return 0
    _observe(session, analyses)
    latest = max(row.finished_at for row in analyses if row.finished_at is not None)
    state.collected_to = max(latest, state.collected_to or latest)
    session.flush()
    return len(analyses)


def _observe(session: Session, analyses: Sequence[AnalysisRow]) -> None:
    """Record the observations of these analyses, in their order."""
    series_ids = {row.series_id for row in analyses}
    findings, sites = _findings(session, [row.id for row in analyses]), _sites(session, series_ids)
    existing = session.scalars(select(ObservationRow).where(ObservationRow.series_id.in_(series_ids)))
    observed = {row.series_id: row for row in existing}
    sequence = session.scalars(select(func.max(ObservationRow.sequence))).one() or 0
    for row in analyses:
        observation = observed.get(row.series_id)
        if observation is None:
            sequence += 1
            observation = ObservationRow(
                sequence=sequence, series_id=row.series_id, site=sites.get(row.series_id) or UNKNOWN
            )
            observed[row.series_id] = observation
        elif observation.number is not None:
            continue
        _fill(session, observation, row, findings.get(row.id, []))
        session.add(observation)


def watched_scanners(session: Session) -> tuple[WatchedScanner, ...]:
    """List the scanners with read series, those with most series first."""
    rows = select(WatchedScannerRow).where(WatchedScannerRow.series_count > 0)
    ordered = rows.order_by(WatchedScannerRow.series_count.desc(), WatchedScannerRow.key)
    return tuple(WatchedScanner(_scanner(row), row.series_count, row.block) for row in session.scalars(ordered))


def numbered(session: Session, scanner: Scanner, first: int, last: int) -> tuple[Observation, ...]:
    """List a scanner's observations by number, bounds included."""
    rows = _observations().where(ObservationRow.scanner_key == scanner.key)
    rows = rows.where(ObservationRow.number.between(first, last)).order_by(ObservationRow.number)
    return tuple(map(_observed, session.execute(rows)))


def first_of_model(
    session: Session, scanner: Scanner, model_sha256: str, *, before: int, limit: int
) -> tuple[Observation, ...]:
    """List the first observations of a scanner and model, among those numbered below ``before``."""
    rows = _observations().where(ObservationRow.scanner_key == scanner.key, ObservationRow.number < before)
    rows = rows.where(ObservationRow.model_sha256 == model_sha256).order_by(ObservationRow.number).limit(limit)
    return tuple(map(_observed, session.execute(rows)))


def latest_observations(session: Session, limit: int) -> tuple[Observation, ...]:
    """List the latest read series of all scanners, oldest first."""
    rows = _observations().where(ObservationRow.number.is_not(None)).order_by(ObservationRow.sequence.desc())
    return tuple(map(_observed, session.execute(rows.limit(limit))))[::-1]


def record_check(session: Session, scanner: Scanner, check: DriftCheck, figures: Mapping[str, object]) -> None:
    """Record the result of a comparison, once."""
    values = {"scanner_key": scanner.key, **asdict(check), "figures": dict(figures)}
    if insert_once(session, DriftCheckRow, values):
        row = session.get_one(WatchedScannerRow, scanner.key)
        row.block = max(row.block, check.block)
        session.flush()


def latest_checks(session: Session, scanner: Scanner, limit: int) -> tuple[DriftCheck, ...]:
    """List the latest comparisons of a scanner, oldest first."""
    columns = (DriftCheckRow.block, DriftCheckRow.checked_at, DriftCheckRow.drifted, DriftCheckRow.indices)
    rows = select(*columns).where(DriftCheckRow.scanner_key == scanner.key).order_by(DriftCheckRow.block.desc())
    return tuple(DriftCheck(*row) for row in reversed(session.execute(rows.limit(limit)).all()))


def figures_of_check(session: Session, scanner: Scanner, block: int) -> dict[str, object]:
    """Return all figures of one comparison."""
    return session.get_one(DriftCheckRow, (scanner.key, block)).figures


def outcomes_by_machine(session: Session, since: datetime) -> dict[str, Outcomes]:
    """Count outcomes by scanner model, for series finished since a time."""
    codes, doubts = (cast(column, Text) for column in (ObservationRow.reason_codes, ObservationRow.doubts))
    rows = (
        select(WatchedScannerRow.model, codes, doubts, func.count(), func.sum(ObservationRow.finding_count))
        .join(WatchedScannerRow, ObservationRow.scanner_key == WatchedScannerRow.key)
        .where(ObservationRow.finished_at >= since)
        .group_by(WatchedScannerRow.model, codes, doubts)
    )
    outcomes: dict[str, Outcomes] = {}
    for model, reasons, doubtful, series, findings in session.execute(rows):
        machine_outcomes = outcomes.setdefault(model, Outcomes())
        machine_outcomes.series += series
        machine_outcomes.findings += findings
        if joined := JOIN.join(json.loads(reasons)):
            machine_outcomes.reasons[joined] += series
        for doubt in json.loads(doubtful):
            machine_outcomes.doubts[doubt] += series
    return outcomes


def report_fingerprint(session: Session) -> list[object]:
    """Return values that change whenever a new report would differ."""
    latest = (
        select(func.max(ObservationRow.sequence)),
        select(func.max(AssessmentRow.created_at)),
        select(func.max(PathologyRow.imported_at)),
    )
    return [None if (value := session.scalars(statement).one()) is None else str(value) for statement in latest]


def save_report(session: Session, report: Mapping[str, object]) -> None:
    """Store the latest report, replacing the previous one."""
    state = _state(session)
    state.report, state.reported_at = dict(report), now(session)
    session.flush()


def latest_report(session: Session) -> tuple[datetime, dict[str, Any]] | None:
    """Return the latest report and its time; None before the first."""
    row = session.get(WatchReportRow, 1)
    return (row.reported_at, row.report) if row is not None and row.reported_at is not None else None


def _state(session: Session) -> WatchReportRow:
    insert_once(session, WatchReportRow, {"id": 1, "report": {}})
    return session.get_one(WatchReportRow, 1, populate_existing=True)


def _fill(session: Session, observation: ObservationRow, row: AnalysisRow, findings: Sequence[FindingRow]) -> None:
    scanner, summary = scanner_of(row.measures), row.measures.get("summary")
    counts = {"series_count": 0, "block": 0}
    insert_once(session, WatchedScannerRow, {"key": scanner.key, **scanner._asdict(), **counts})
    sizes = [finding.diameter_mm for finding in findings if finding.diameter_mm is not None]
    doubtful = [finding for finding in findings if finding.malignancy_probability is None]
    observation.analysis_id, observation.scanner_key, observation.model_sha256 = row.id, scanner.key, row.model_sha256
    observation.finished_at = row.finished_at or now(session)
    observation.reason_codes = tuple(reason.code for reason in row.reasons if reason != OTHER_RECONSTRUCTION)
    observation.findings = [[finding.nodule_probability, finding.malignancy_probability] for finding in findings]
    observation.finding_count = len(findings)
    observation.doubts = tuple(JOIN.join(reason.code for reason in finding.reasons) for finding in doubtful)
    if isinstance(summary, dict):
        watched = session.get_one(WatchedScannerRow, scanner.key)
        watched.series_count += 1
        observation.number = watched.series_count
        observation.summary = {**summary, "nodule_mm": median(sizes) if sizes else None}


def _findings(session: Session, analysis_ids: Sequence[str]) -> dict[str, list[FindingRow]]:
    findings: dict[str, list[FindingRow]] = {}
    rows = select(FindingRow).where(FindingRow.analysis_id.in_(analysis_ids)).order_by(FindingRow.ordinal)
    for row in session.scalars(rows):
        findings.setdefault(str(row.analysis_id), []).append(row)
    return findings


def _sites(session: Session, series_ids: set[str]) -> dict[str, str]:
    """Return the calling AE title of each series' first instance."""
    first = InstanceRow.series_id.in_(series_ids), InstanceRow.arrival == 1
    rows = session.execute(select(InstanceRow.series_id, InstanceRow.calling_ae_title).where(*first))
    return {series_id: title for series_id, title in rows}  # noqa: C416 (dict() does not know rows for pairs)


def _observations() -> Select[str, tuple[str, ...], dict[str, object] | None, list[object]]:
    return select(
        ObservationRow.model_sha256, ObservationRow.reason_codes, ObservationRow.summary, ObservationRow.findings
    )


def _observed(row: Row[str, tuple[str, ...], dict[str, object] | None, list[Any]]) -> Observation:
    model_sha256, codes, summary, findings = row
    nodule, malignancy = (tuple(float(pair[at]) for pair in findings if pair[at] is not None) for at in (0, 1))
    return Observation(model_sha256, codes, summary, nodule, malignancy)


def _scanner(row: WatchedScannerRow) -> Scanner:
    return Scanner(row.model, row.kernel, row.slice_spacing)
