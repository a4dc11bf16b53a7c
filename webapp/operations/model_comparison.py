"""A second model beside the live one: its findings paired with those of which more is known, and what follows.

A finding counts where pathology is known of it or, as long as that is too little, where a reader accepted or rejected
it; and where both models give it a probability. A verdict is a reader's word, given in sight of the live answer unless
they read first: it leans towards the live model, and it is no pathology.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from math import dist

import numpy as np
from sqlalchemy.orm import Session

from db.analyses import shadow
from db.analyses.shadow import Pair, ShadowFinding
from db.domain.records import FindingRecord, ModelIdentity, Verdict
from inference.drift.comparison import DECISION, Comparison, Conclusion, compare_models
from inference.metrics import plain

MATCH_MM = 5.0
"""Two findings this close are one place: as far as the models themselves merge candidates."""
Place = tuple[object, ...]
_EVER = datetime.min.replace(tzinfo=UTC)


class Against(StrEnum):
    """What findings are judged by."""

    PATHOLOGY = "pathology"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True)
class Judged:
    """One finding that both models gave a probability, and what became known of it."""

    label: bool
    live: float
    tried: float
    patient_id: str
    judged_at: datetime | None
    """When a reader said so; pathology is the latest already."""


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """How a second model compares with the live one."""

    live: ModelIdentity | None
    candidate: ModelIdentity
    series_count: int
    judged_by: Against
    left_out: Mapping[str, int]
    """Findings and series that do not count, by why."""
    comparison: Comparison

    def as_json(self) -> dict[str, object]:
        """Plain values, rounded."""
        told = {**asdict(self), "left_out": dict(self.left_out), "matched_within_mm": MATCH_MM, "decision_at": DECISION}
        found: dict[str, object] = plain(told)
        return found


@dataclass(slots=True)
class _Book:
    """What counts, by place, and what does not, by why."""

    judged_by: Against
    judged: dict[Place, Judged] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def candidate_report(
    session: Session, candidate: ModelIdentity, since: datetime | None = None, against: Against | None = None
) -> CandidateReport:
    """Compare a model that was tried with the one that answered last beside it.

    Parameters
    ----------
    against
        What findings are judged by; by pathology where it is enough to tell, else by verdicts, where that is None.
    """
    pairs = list(shadow.pairs(session, candidate.sha256, since))
    live = next((one.live[0].model for one in reversed(pairs) if one.live), None)
    for judged_by in (against,) if against else (Against.PATHOLOGY, Against.VERDICTS):
        book = _Book(judged_by)
        for pair in pairs:
            _note(book, pair, live)
        comparison = _compared(list(book.judged.values()))
        if comparison.conclusion is not Conclusion.TOO_FEW:
            break
    return CandidateReport(live, candidate, len(pairs), judged_by, dict(sorted(book.left_out.items())), comparison)


def _compared(judged: Sequence[Judged]) -> Comparison:
    return compare_models(
        np.array([one.label for one in judged], bool),
        np.array([one.live for one in judged], np.float64),
        np.array([one.tried for one in judged], np.float64),
        np.array([one.patient_id for one in judged], np.str_),
    )


def _note(book: _Book, pair: Pair, live: ModelIdentity | None) -> None:
    if pair.failed_with:
        book.left_out[f"series_without_second_answer:{pair.failed_with}"] += 1
        return
    for record, match in _matched(pair.live, pair.tried):
        known = _known(record, pair) if book.judged_by is Against.PATHOLOGY else _said(record)
        judged = _judged(known, record, match, pair) if record.model == live else "of_another_live_model"
        if isinstance(judged, str):
            book.left_out[judged] += 1
            continue
        place = (record.series_instance_uid, *(round(at, 1) for at in record.finding.position_mm))
        if place in book.judged:
            book.left_out["same_place_again"] += 1
        before = book.judged.get(place)
        if before is None or (before.judged_at or _EVER) <= (judged.judged_at or _EVER):
            book.judged[place] = judged


def _known(record: FindingRecord, pair: Pair) -> tuple[bool, datetime | None] | str:
    """What pathology says of a finding."""
    return (pair.malignant[record.id], None) if record.id in pair.malignant else "without_pathology"


def _said(record: FindingRecord) -> tuple[bool, datetime | None] | str:
    """What a reader said of a finding, or why there is no telling."""
    if record.assessment is None:
        return "without_verdict"
    if record.assessment.verdict is Verdict.UNSURE:
        return "unsure"
    return record.assessment.verdict is Verdict.ACCEPT, record.assessment.created_at


def _judged(
    known: tuple[bool, datetime | None] | str, record: FindingRecord, match: ShadowFinding | None, pair: Pair
) -> Judged | str:
    """What counts of one finding, or why it does not."""
    live = record.finding.malignancy_probability
    if isinstance(known, str):
        return known
    if match is None:
        return "not_found_by_the_second"
    if live is None:
        return "without_probability_of_the_live"
    if match.malignancy_probability is None:
        return "without_probability_of_the_second"
    return Judged(known[0], live, match.malignancy_probability, pair.patient_id, known[1])


def _matched(
    live: Iterable[FindingRecord], tried: Iterable[ShadowFinding]
) -> list[tuple[FindingRecord, ShadowFinding | None]]:
    """Pair each finding with the nearest one of the second model that no nearer one has."""
    records, left = list(live), list(tried)
    near = sorted(
        (dist(record.finding.position_mm, other.position_mm), i, j)
        for i, record in enumerate(records)
        for j, other in enumerate(left)
    )
    of: dict[int, int] = {}
    for apart_mm, i, j in near:
        if apart_mm <= MATCH_MM and i not in of and j not in of.values():
            of[i] = j
    return [(record, left[of[i]] if i in of else None) for i, record in enumerate(records)]
