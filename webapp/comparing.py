"""A second model beside the live one: its findings paired with those that readers judged, and what follows.

A finding counts where a reader accepted or rejected it, and where both models give it a probability. A verdict is a
reader's word, given in sight of the live answer; it is no pathology, and it leans towards the live model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from math import dist

import numpy as np
from sqlalchemy.orm import Session

from db import trials
from db.domain import FindingRecord, ModelIdentity, Verdict
from db.trials import Pair, TriedFinding
from inference.comparison import DECISION, Comparison, compare_models

MATCH_MM = 5.0
"""Two findings this close are one place: as far as the models themselves merge candidates."""
Place = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """One finding that both models gave a probability, and what a reader said of it."""

    label: bool
    live: float
    tried: float
    patient_id: str
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """How a second model compares with the live one."""

    live: ModelIdentity | None
    candidate: ModelIdentity
    series_count: int
    left_out: Mapping[str, int]
    """Findings and series that do not count, by why."""
    comparison: Comparison

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        told: dict[str, object] = {**asdict(self), "left_out": dict(self.left_out)}
        return told | {"judged_by": "readers' verdicts", "matched_within_mm": MATCH_MM, "decision_at": DECISION}


@dataclass(slots=True)
class _Book:
    """What counts, by place, and what does not, by why."""

    judged: dict[Place, Judged] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def candidate_report(session: Session, candidate: ModelIdentity, since: datetime | None = None) -> CandidateReport:
    """Compare a model that was tried with the one that answered last beside it."""
    pairs = list(trials.pairs(session, candidate.sha256, since))
    live = next((one.live[0].model for one in reversed(pairs) if one.live), None)
    book = _Book()
    for pair in pairs:
        _note(book, pair, live)
    judged = list(book.judged.values())
    comparison = compare_models(
        np.array([one.label for one in judged], bool),
        np.array([one.live for one in judged], np.float64),
        np.array([one.tried for one in judged], np.float64),
        np.array([one.patient_id for one in judged], np.str_),
    )
    return CandidateReport(live, candidate, len(pairs), dict(sorted(book.left_out.items())), comparison)


def _note(book: _Book, pair: Pair, live: ModelIdentity | None) -> None:
    if pair.failed_with:
        book.left_out[f"series_without_second_answer:{pair.failed_with}"] += 1
        return
    for record, match in _matched(pair.live, pair.tried):
        judged = _judged(record, match, pair.patient_id) if record.model == live else "of_another_live_model"
        if isinstance(judged, str):
            book.left_out[judged] += 1
            continue
        place = (record.series_instance_uid, *(round(at, 1) for at in record.finding.position_mm))
        if place in book.judged:
            book.left_out["same_place_again"] += 1
        if place not in book.judged or book.judged[place].judged_at < judged.judged_at:
            book.judged[place] = judged


def _judged(record: FindingRecord, match: TriedFinding | None, patient_id: str) -> Judged | str:
    """What counts of one finding, or why it does not."""
    verdict, live = record.assessment, record.finding.malignancy_probability
    if verdict is None:
        return "without_verdict"
    if verdict.verdict is Verdict.UNSURE:
        return "unsure"
    if match is None:
        return "not_found_by_the_second"
    if live is None:
        return "without_probability_of_the_live"
    if match.malignancy_probability is None:
        return "without_probability_of_the_second"
    is_accepted = verdict.verdict is Verdict.ACCEPT
    return Judged(is_accepted, live, match.malignancy_probability, patient_id, verdict.created_at)


def _matched(
    live: Iterable[FindingRecord], tried: Iterable[TriedFinding]
) -> list[tuple[FindingRecord, TriedFinding | None]]:
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
