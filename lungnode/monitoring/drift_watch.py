"""Drift monitoring: collects finished analyses and compares each block of a scanner's series with its baseline once.

Each run costs what is new since the last one, whatever was analysed before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.database import Database
    from db.monitoring.drift_observations import DriftCheck, Observation, WatchedScanner
    from inference.drift.output_drift import Answer, OutputDrift
    from inference.drift.series_drift import TooFew

BATCHES = 10
"""Maximum number of batches of analyses that one run collects."""
HISTORY = 30
"""Number of latest blocks of a scanner that are compared and reported."""
CALM = 2
"""Consecutive blocks without drift that end an alarm."""


@dataclass(frozen=True, slots=True)
class ScannerDrift:
    """A scanner with its latest comparisons, oldest first; none while it has too few series."""

    watched: WatchedScanner
    checks: tuple[DriftCheck, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the quantities that drifted in the latest block."""
        return self.checks[-1].drifted if self.checks else ()

    @property
    def is_alarmed(self) -> bool:
        """Return True if any of the latest ``CALM`` blocks drifted."""
        return any(check.drifted for check in self.checks[-CALM:])


def scanner_drifts(session: Session, history: int = CALM) -> tuple[ScannerDrift, ...]:
    """Return the comparisons of every scanner (model, kernel and slice spacing)."""
    from db.monitoring.drift_observations import latest_checks, watched_scanners

    return tuple(
        ScannerDrift(watched, latest_checks(session, watched.scanner, history)) for watched in watched_scanners(session)
    )


def collect_finished(database: Database) -> int:
    """Collect finished analyses; return their number."""
    from db.monitoring.drift_observations import BATCH, collect

    count = 0
    for _ in range(BATCHES):
        with database.begin() as session:
            collected = collect(session)
        count += collected
        if collected < BATCH:
            break
    return count


def compare_blocks(database: Database) -> int:
    """Compare every complete block of series that was not compared yet; return their number."""
    from db.monitoring.drift_observations import watched_scanners
    from inference.drift.series_drift import REFERENCE, WINDOW

    with database.read() as session:
        scanners = watched_scanners(session)
    count = 0
    for watched in scanners:
        complete = max(0, watched.series_count - REFERENCE) // WINDOW
        for block in range(max(watched.block + 1, complete - HISTORY + 1), complete + 1):
            _compare(database, watched, block)
            count += 1
    return count


def _compare(database: Database, watched: WatchedScanner, block: int) -> None:
    from db.engine.session import now
    from db.monitoring.drift_observations import DriftCheck, numbered, record_check
    from inference.drift.series_drift import REFERENCE, WINDOW, compare

    first = REFERENCE + (block - 1) * WINDOW + 1
    with database.read() as session:
        reference = numbered(session, watched.scanner, 1, REFERENCE)
        recent = numbered(session, watched.scanner, first, first + WINDOW - 1)
        same_model = _same_model(session, watched, reference, recent[-1].model_sha256, first)
    inputs = compare([series.summary or {} for series in reference], [series.summary or {} for series in recent])
    outputs = _compare_answers(
        same_model, [series for series in recent if series.model_sha256 == recent[-1].model_sha256]
    )
    indices = {"input": inputs.psi} | _indices(outputs)
    figures = {"inputs": asdict(inputs), "outputs": asdict(outputs)}
    drifted = (*inputs.drifted, *getattr(outputs, "drifted", ()))
    with database.begin() as session:
        check = DriftCheck(block, now(session), drifted, indices)
        record_check(session, watched.scanner, check, figures)


def _same_model(
    session: Session, watched: WatchedScanner, reference: Sequence[Observation], sha256: str, before: int
) -> Sequence[Observation]:
    """Return the reference series; if they are from another model, the first series of the current one."""
    from db.monitoring.drift_observations import first_of_model
    from inference.drift.series_drift import REFERENCE

    if all(series.model_sha256 == sha256 for series in reference):
        return reference
    return first_of_model(session, watched.scanner, sha256, before=before, limit=REFERENCE)


def _compare_answers(reference: Sequence[Observation], recent: Sequence[Observation]) -> OutputDrift | TooFew:
    from inference.drift.output_drift import MIN_SERIES, compare_answers
    from inference.drift.series_drift import REFERENCE, TooFew

    if len(reference) < REFERENCE:
        return TooFew("reference", len(reference), REFERENCE)
    if len(recent) < MIN_SERIES:
        return TooFew("series", len(recent), MIN_SERIES)
    return compare_answers(answers(reference), answers(recent))


def answers(observed: Iterable[Observation]) -> list[Answer]:
    """Convert observations of series to the answers that are compared."""
    from inference.drift.output_drift import Answer

    return [Answer(not series.reason_codes, series.nodule, series.malignancy) for series in observed]


def _indices(outputs: OutputDrift | TooFew) -> dict[str, float]:
    from inference.drift.series_drift import Stability

    results = {name: getattr(outputs, name, None) for name in ("nodule", "malignancy")}
    return {name: result.psi for name, result in results.items() if isinstance(result, Stability)}


def quarantine_drifted(database: Database) -> int:
    """Quarantine every scanner that drifted in its latest block; return the number of new ones.

    A released scanner is quarantined again only after a further complete block of series.
    """
    from db.analyses.quarantine import is_in_quarantine, latest_quarantine, quarantine_scanner
    from inference.drift.series_drift import WINDOW

    count = 0
    with database.begin() as session:
        for state in scanner_drifts(session):
            scanner, series_count = state.watched.scanner, state.watched.series_count
            last = latest_quarantine(session, scanner)
            if not state.drifted or is_in_quarantine(session, scanner):
                continue
            if last is None or series_count >= last.series_count + WINDOW:
                reason = "unlike its first series: " + ", ".join(state.drifted)
                quarantine_scanner(session, scanner, reason, held_by="system", series_count=series_count)
                count += 1
    return count
