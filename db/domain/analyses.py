"""Analyses of series."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from db.domain.findings import NewFinding
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.reconstructions import OTHER_RECONSTRUCTION

NOT_CHOSEN: Final = "not_chosen"
"""Status in answers of an analysis that never began, as another reconstruction was chosen."""


class AnalysisStatus(StrEnum):
    """Status of one analysis of one series by one model."""

    QUEUED = "queued"
    RUNNING = "running"
    CURRENT = "current"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    """Completed while its scanner was in quarantine: stored, not shown to readers and not sent."""


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """One analysis of one series: requested, running, done, superseded or failed."""

    id: str
    series_id: str
    series_instance_uid: str
    study_instance_uid: str
    input_digest: str
    model: ModelIdentity
    status: AnalysisStatus
    reasons: tuple[Reason, ...]
    requested_by: str
    attempts: int
    requested_at: datetime
    started_at: datetime | None
    """Start of the latest attempt."""
    finished_at: datetime | None
    run_number: int = 1
    """1 for the first run of this input by this model; re-runs increment it."""
    instance_count: int = 0
    """Number of instances that it covers, the first in order of arrival."""
    measures: dict[str, object] = field(default_factory=dict)
    caveats: tuple[Reason, ...] = ()
    """Caveats of the result (``db.domain.caveats``)."""
    overruled: tuple[Reason, ...] = ()
    """Refusals that a radiologist overruled for it: code and reason (``db.analyses.overruling``)."""
    is_explicit: bool = False
    """The series itself was requested: it is analysed whatever other reconstructions there are."""

    @property
    def answer_status(self) -> str:
        """Status in answers of the API: ``not_chosen`` if another reconstruction was analysed instead."""
        is_not_chosen = self.status is AnalysisStatus.SUPERSEDED and OTHER_RECONSTRUCTION in self.reasons
        return NOT_CHOSEN if is_not_chosen and self.finished_at is None else self.status.value


@dataclass(frozen=True, slots=True)
class AnalysisOutcome:
    """Outcome of the pipeline for one series: findings, or the reasons for abstaining."""

    findings: tuple[NewFinding, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Reasons for not analysing; empty if analysed."""
    measures: dict[str, object] = field(default_factory=dict)
    """Timings and counts for the record (``duration_s``, ``candidate_count``, ``slice_count``, ...)."""
    caveats: tuple[Reason, ...] = ()
    """Caveats of the result (``db.domain.caveats``)."""

    @property
    def is_analysed(self) -> bool:
        """Return True if the series was analysed (with or without findings)."""
        return not self.reasons
