"""Comparison of a shadow model with the live one on findings with ground truth.

A finding counts if it has a pathology result (or, while these are too few, a verdict of accept or reject) and a
probability by both models. Verdicts are given with the live result in view, except for blinded readers: they are biased
towards the live model, and are not pathology.
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
from db.domain.findings import FindingRecord, Verdict
from db.domain.models import ModelIdentity
from inference.drift.comparison import DECISION, Comparison, Conclusion, compare_models
from inference.metrics import plain

MATCH_MM = 5.0
"""Largest distance, in mm, of findings that match: that at which the models merge candidates."""
PositionKey = tuple[object, ...]
_EVER = datetime.min.replace(tzinfo=UTC)


class Against(StrEnum):
    """Source of ground truth."""

    PATHOLOGY = "pathology"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding with the probabilities of both models and its ground truth."""

    label: bool
    live: float
    shadow: float
    patient_id: str
    judged_at: datetime | None
    """Time of the verdict; None for pathology."""


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """Comparison of a shadow model with the live one."""

    live: ModelIdentity | None
    candidate: ModelIdentity
    series_count: int
    judged_by: Against
    left_out: Mapping[str, int]
    """Numbers of excluded findings and series, by reason."""
    comparison: Comparison

    def as_json(self) -> dict[str, object]:
        """Return plain, rounded values."""
        fields = {
            **asdict(self),
            "left_out": dict(self.left_out),
            "matched_within_mm": MATCH_MM,
            "decision_at": DECISION,
        }
        rounded: dict[str, object] = plain(fields)
        return rounded


@dataclass(slots=True)
class _Book:
    """Counted findings by position, and excluded ones by reason."""

    judged_by: Against
    judged: dict[PositionKey, Judged] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def candidate_report(
    session: Session, candidate: ModelIdentity, since: datetime | None = None, against: Against | None = None
) -> CandidateReport:
    """Compare a shadow model with the latest live one.

    Parameters
    ----------
    against
        Source of ground truth; by default pathology if it suffices, else verdicts.
    """
    pairs = list(shadow.pairs(session, candidate.sha256, since))
    live = next((pair.live[0].model for pair in reversed(pairs) if pair.live), None)
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
        np.array([finding.label for finding in judged], bool),
        np.array([finding.live for finding in judged], np.float64),
        np.array([finding.shadow for finding in judged], np.float64),
        np.array([finding.patient_id for finding in judged], np.str_),
    )


def _note(book: _Book, pair: Pair, live: ModelIdentity | None) -> None:
    if pair.failed_with:
        book.left_out[f"series_without_second_answer:{pair.failed_with}"] += 1
        return
    for record, match in _matched(pair.live, pair.shadow):
        label = _pathology_label(record, pair) if book.judged_by is Against.PATHOLOGY else _verdict_label(record)
        judged = _judged(label, record, match, pair) if record.model == live else "of_another_live_model"
        if isinstance(judged, str):
            book.left_out[judged] += 1
            continue
        position = (record.series_instance_uid, *(round(coordinate, 1) for coordinate in record.finding.position_mm))
        if position in book.judged:
            book.left_out["same_place_again"] += 1
        before = book.judged.get(position)
        if before is None or (before.judged_at or _EVER) <= (judged.judged_at or _EVER):
            book.judged[position] = judged


def _pathology_label(record: FindingRecord, pair: Pair) -> tuple[bool, datetime | None] | str:
    """Return the pathology label of a finding, or the reason for its exclusion."""
    return (pair.malignant[record.id], None) if record.id in pair.malignant else "without_pathology"


def _verdict_label(record: FindingRecord) -> tuple[bool, datetime | None] | str:
    """Return the verdict's label and time, or the reason for the finding's exclusion."""
    if record.assessment is None:
        return "without_verdict"
    if record.assessment.verdict is Verdict.UNSURE:
        return "unsure"
    return record.assessment.verdict is Verdict.ACCEPT, record.assessment.created_at


def _judged(
    label: tuple[bool, datetime | None] | str, record: FindingRecord, match: ShadowFinding | None, pair: Pair
) -> Judged | str:
    """Return the judged finding, or the reason for its exclusion."""
    live = record.finding.malignancy_probability
    if isinstance(label, str):
        return label
    if match is None:
        return "not_found_by_the_second"
    if live is None:
        return "without_probability_of_the_live"
    if match.malignancy_probability is None:
        return "without_probability_of_the_second"
    return Judged(label[0], live, match.malignancy_probability, pair.patient_id, label[1])


def _matched(
    live: Iterable[FindingRecord], shadow_findings: Iterable[ShadowFinding]
) -> list[tuple[FindingRecord, ShadowFinding | None]]:
    """Pair each live finding with its nearest shadow finding, one to one, nearest pairs first."""
    records, candidates = list(live), list(shadow_findings)
    near = sorted(
        (dist(record.finding.position_mm, other.position_mm), i, j)
        for i, record in enumerate(records)
        for j, other in enumerate(candidates)
    )
    matches: dict[int, int] = {}
    for apart_mm, i, j in near:
        if apart_mm <= MATCH_MM and i not in matches and j not in matches.values():
            matches[i] = j
    return [(record, candidates[matches[i]] if i in matches else None) for i, record in enumerate(records)]
