"""The watch for drift: collects what was answered, compares each block of a scanner's series once, and reports.

Every look costs what is new since the last one, whatever was analysed before.
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
"""So many batches of analyses are collected in one look at most; the next look goes on."""
HISTORY = 30
"""So many blocks of a scanner are told of; where more have come at once, only these are compared."""
CALM = 2
"""Blocks in a row without drift that end an alarm: one alone neither ends nor repeats it."""


@dataclass(frozen=True, slots=True)
class ScannerDrift:
    """A scanner with its latest comparisons, oldest first; none while it has too few series."""

    watched: WatchedScanner
    checks: tuple[DriftCheck, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """What has changed in the latest block."""
        return self.checks[-1].drifted if self.checks else ()

    @property
    def is_alarmed(self) -> bool:
        """Whether something had changed in one of the latest blocks."""
        return any(check.drifted for check in self.checks[-CALM:])


def scanner_drifts(session: Session, history: int = CALM) -> tuple[ScannerDrift, ...]:
    """Tell of every scanner model, kernel and slice spacing what the comparisons found."""
    from db.monitoring.drift_observations import latest_checks, watched_scanners

    return tuple(
        ScannerDrift(watched, latest_checks(session, watched.scanner, history)) for watched in watched_scanners(session)
    )


def collect_finished(database: Database) -> int:
    """Collect analyses that finished; tells how many."""
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
    """Compare every block of a scanner's series that is whole and was not compared; tells how many."""
    from db.monitoring.drift_observations import watched_scanners
    from inference.drift.series_drift import REFERENCE, WINDOW

    with database.read() as session:
        scanners = watched_scanners(session)
    count = 0
    for watched in scanners:
        whole = max(0, watched.series_count - REFERENCE) // WINDOW
        for block in range(max(watched.block + 1, whole - HISTORY + 1), whole + 1):
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
    inputs = compare([one.summary or {} for one in reference], [one.summary or {} for one in recent])
    outputs = _compare_answers(same_model, [one for one in recent if one.model_sha256 == recent[-1].model_sha256])
    indices = {"input": inputs.psi} | _indices(outputs)
    figures = {"inputs": asdict(inputs), "outputs": asdict(outputs)}
    drifted = (*inputs.drifted, *getattr(outputs, "drifted", ()))
    with database.begin() as session:
        check = DriftCheck(block, now(session), drifted, indices)
        record_check(session, watched.scanner, check, figures)


def _same_model(
    session: Session, watched: WatchedScanner, reference: Sequence[Observation], sha256: str, before: int
) -> Sequence[Observation]:
    """Answers of another model are no reference: then it is the first series that this one was asked about."""
    from db.monitoring.drift_observations import first_of_model
    from inference.drift.series_drift import REFERENCE

    if all(one.model_sha256 == sha256 for one in reference):
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
    """Translate what was observed of series into what is compared."""
    from inference.drift.output_drift import Answer

    return [Answer(not one.reason_codes, one.nodule, one.malignancy) for one in observed]


def _indices(outputs: OutputDrift | TooFew) -> dict[str, float]:
    from inference.drift.series_drift import Stability

    found = {name: getattr(outputs, name, None) for name in ("nodule", "malignancy")}
    return {name: one.psi for name, one in found.items() if isinstance(one, Stability)}


def hold_drifted(database: Database) -> int:
    """Hold every scanner whose latest series look unlike its first ones; tells how many were not held before.

    One that somebody released is judged anew only by a whole further block of series.
    """
    from db.analyses.quarantine import hold_scanner, is_held, latest_hold
    from inference.drift.series_drift import WINDOW

    count = 0
    with database.begin() as session:
        for one in scanner_drifts(session):
            scanner, series_count = one.watched.scanner, one.watched.series_count
            last = latest_hold(session, scanner)
            if not one.drifted or is_held(session, scanner):
                continue
            if last is None or series_count >= last.series_count + WINDOW:
                reason = "unlike its first series: " + ", ".join(one.drifted)
                hold_scanner(session, scanner, reason, held_by="system", series_count=series_count)
                count += 1
    return count
