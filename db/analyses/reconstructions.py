"""Choice between the reconstructions of one acquisition, stored with their analyses.

An analysis that is not chosen is superseded before it begins; ``OTHER_RECONSTRUCTION`` is its reason and that of its
series. Every decision derives from stored measures under the lock of the study, so that any worker may repeat it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.analyses.analyses import SYSTEM, analysed_study, model_of, request_analysis, supersede
from db.audit import trail as audit
from db.domain.analyses import AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.reconstructions import OTHER_RECONSTRUCTION, Reconstruction, choose
from db.domain.studies import StudyState
from db.engine.session import checked_json
from db.studies.lifecycle import UNFINISHED, refresh_study
from db.tables.analyses import AnalysisRow
from db.tables.studies import SeriesRow, StudyRow

CT = "CT"
_ANSWERED = (AnalysisStatus.CURRENT, AnalysisStatus.QUARANTINED)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A series that was or may be analysed."""

    series: SeriesRow
    latest: AnalysisRow
    answered: AnalysisRow | None
    """Its completed analysis in force, if any."""
    reconstruction: Reconstruction | None
    """None if it was not measured."""

    @property
    def is_explicit(self) -> bool:
        return self.latest.is_explicit

    @property
    def is_not_chosen(self) -> bool:
        return _is_not_chosen(self.latest)


def to_measure(session: Session, analysis_id: str) -> tuple[str, ...] | None:
    """Return the analyses of the study whose series are not measured yet; None if there is nothing to choose from.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    row, study = analysed_study(session, analysis_id)
    if row.is_explicit or study.series_count < 2:
        return None
    candidates = _candidates(session, study)
    if len(candidates) < 2 or row.series_id not in candidates:
        return None
    return tuple(each.latest.id for each in candidates.values() if each.reconstruction is None)


def measured(session: Session, analysis_id: str) -> tuple[Reconstruction, ...]:
    """Return the measured series of an analysis' study."""
    _, study = analysed_study(session, analysis_id)
    return tuple(each.reconstruction for each in _candidates(session, study).values() if each.reconstruction)


def begin(session: Session, analysis_id: str, measures: Mapping[str, Reconstruction]) -> bool:
    """Record measures by analysis, choose, and return whether this analysis, which was started, is to be made."""
    row, study = analysed_study(session, analysis_id, is_locked=True)
    for measured_id, reconstruction in measures.items():
        measured_row = session.get_one(AnalysisRow, measured_id, populate_existing=True)
        measured_row.reconstruction = checked_json("reconstruction", reconstruction.values())
    session.flush()
    _apply(session, study, beginning=row)
    return row.status is AnalysisStatus.RUNNING


def follow(session: Session, analysis_id: str) -> None:
    """Choose again after an analysis ended: an answer supersedes worse ones, a refusal has the next best requested."""
    _, study = analysed_study(session, analysis_id, is_locked=True)
    if study.series_count > 1:
        _apply(session, study)


def _apply(session: Session, study: StudyRow, *, beginning: AnalysisRow | None = None) -> None:
    candidates = _candidates(session, study)
    measures = {series_id: each.reconstruction for series_id, each in candidates.items() if each.reconstruction}
    for series_id, chosen_id in choose(measures).items():
        candidate, chosen = candidates[series_id], candidates[chosen_id]
        if series_id == chosen_id:
            if candidate.is_not_chosen:
                request_analysis(session, series_id, model_of(candidate.latest), requested_by=SYSTEM, force=True)
        elif not candidate.is_explicit:
            _replace(session, candidate, chosen, beginning)
    refresh_study(session, study)


def _replace(session: Session, candidate: _Candidate, chosen: _Candidate, beginning: AnalysisRow | None) -> None:
    """Supersede the analysis of a series that waits or begins, and its answer once the chosen one is answered."""
    if candidate.latest.status is AnalysisStatus.QUEUED or candidate.latest is beginning:
        _leave_out(session, candidate, candidate.latest, chosen)
    if _is_shown(candidate.answered) and _is_shown(chosen.answered):
        _leave_out(session, candidate, candidate.answered, chosen)


def _leave_out(session: Session, candidate: _Candidate, row: AnalysisRow, chosen: _Candidate) -> None:
    series = candidate.series
    row.reasons = (OTHER_RECONSTRUCTION,)
    supersede(session, row, by=chosen.latest.id)
    if series.state is not StudyState.RECEIVING and candidate.latest.status not in UNFINISHED:
        series.state, series.reasons = StudyState.NOT_ANALYSED, (OTHER_RECONSTRUCTION,)
    details: dict[str, object] = {"study": series.study_id, "chosen": chosen.series.id}
    audit.append(session, AuditEvent("series:not_chosen", SYSTEM, series.id, details=details))


def _candidates(session: Session, study: StudyRow) -> dict[str, _Candidate]:
    """Return the CT series whose analysis is pending, answered or not chosen, in the order of their numbers."""
    statement = select(SeriesRow).where(SeriesRow.study_id == study.id, SeriesRow.modality == CT)
    ordered = statement.order_by(SeriesRow.series_number, SeriesRow.id).execution_options(populate_existing=True)
    candidates = (_candidate(session, series) for series in session.scalars(ordered).all())
    return {each.series.id: each for each in candidates if each is not None}


def _candidate(session: Session, series: SeriesRow) -> _Candidate | None:
    statement = select(AnalysisRow).where(AnalysisRow.series_id == series.id).order_by(AnalysisRow.ordinal.desc())
    rows = session.scalars(statement.execution_options(populate_existing=True)).all()
    if not rows:
        return None
    latest = rows[0]
    answered = next((row for row in rows if row.status in _ANSWERED and not row.reasons), None)
    if latest.status not in UNFINISHED and answered is None and not _is_not_chosen(latest):
        return None
    values = next((row.reconstruction for row in rows if row.reconstruction and _is_of_same(row, latest)), None)
    reconstruction = Reconstruction.of_values(values) if values else None
    is_complete = reconstruction is not None and reconstruction.is_measured
    return _Candidate(series, latest, answered, reconstruction if is_complete else None)


def _is_of_same(row: AnalysisRow, latest: AnalysisRow) -> bool:
    return (row.input_digest, row.model_sha256) == (latest.input_digest, latest.model_sha256)


def _is_not_chosen(row: AnalysisRow) -> bool:
    return row.status is AnalysisStatus.SUPERSEDED and OTHER_RECONSTRUCTION in row.reasons


def _is_shown(row: AnalysisRow | None) -> TypeGuard[AnalysisRow]:
    return row is not None and row.status is AnalysisStatus.CURRENT
