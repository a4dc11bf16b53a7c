"""Derivation of a study's state, reasons and summary from its series, analyses and findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session

from db.domain.analyses import AnalysisStatus
from db.domain.findings import FindingOrigin, displayed_text
from db.domain.reasons import SCANNER_HELD, Reason
from db.domain.studies import StudyState
from db.engine.session import required
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.studies import SeriesRow, StudyRow

PRECEDENCE = (
    StudyState.RECEIVING,
    StudyState.ANALYSING,
    StudyState.QUEUED,
    StudyState.ANALYSED,
    StudyState.FAILED,
    StudyState.NOT_ANALYSED,
)
"""A study has the first of these states that one of its series has."""
SETTLED = frozenset({StudyState.ANALYSED, StudyState.FAILED, StudyState.NOT_ANALYSED})
UNFINISHED = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)


def study_state(series: Sequence[tuple[StudyState, tuple[Reason, ...]]]) -> tuple[StudyState, tuple[Reason, ...]]:
    """Derive state and reasons of a study from those of its series (at least one).

    An analysed study lists the reasons of failed or quarantined series, but not why its localizer was left out.
    """
    states = {state for state, _ in series}
    state = next(candidate for candidate in PRECEDENCE if candidate in states)
    if state not in SETTLED:
        return state, ()
    telling = StudyState.FAILED if state is StudyState.ANALYSED else state
    return state, unique(
        reason for own, reasons in series for reason in reasons if own is telling or reason == SCANNER_HELD
    )


def unique(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return each reason once, in order."""
    return tuple(dict.fromkeys(reasons))


def study_id_of(session: Session, study_instance_uid: str) -> str:
    """Return the opaque id of a study.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    statement = select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid)
    return required(session.scalars(statement).one_or_none(), "study")


def locked_study(session: Session, study_id: str) -> StudyRow:
    """Lock the study's row until the transaction ends; required before any change below a study."""
    return required(session.get(StudyRow, study_id, with_for_update=True, populate_existing=True), "study")


def is_for_readers() -> ColumnElement[bool]:
    """Return the condition that a finding is not of a quarantined analysis, as for all that readers may see."""
    is_quarantined = exists().where(
        AnalysisRow.id == FindingRow.analysis_id, AnalysisRow.status == AnalysisStatus.QUARANTINED
    )
    return ~is_quarantined


def shown_findings(*study_ids: str) -> Select[FindingRow]:
    """Select the findings in force of studies: of current analyses, and marked by readers and not withdrawn."""
    return (
        select(FindingRow)
        .outerjoin(AnalysisRow, FindingRow.analysis_id == AnalysisRow.id)
        .where(FindingRow.study_id.in_(study_ids), FindingRow.withdrawn_at.is_(None))
        .where(or_(FindingRow.origin == FindingOrigin.READER, AnalysisRow.status == AnalysisStatus.CURRENT))
    )


def refresh_study(session: Session, study: StudyRow) -> None:
    """Update the study's row from its series, analyses and findings; the row must be locked."""
    session.flush()
    rows = session.execute(
        select(SeriesRow.state, SeriesRow.reasons)
        .where(SeriesRow.study_id == study.id)
        .order_by(SeriesRow.series_number, SeriesRow.id)
    )
    study.state, reasons = study_state([(state, reasons) for state, reasons in rows])
    study.reasons = unique((*study.flags, *reasons))
    study.caveats = _caveats(session, study.id)
    _summarise_findings(session, study)
    latest = _latest_answer(session, study.id)
    study.analysed_at = latest if study.state is StudyState.ANALYSED else None
    study.settled_at = latest if study.state in SETTLED else None
    if study.reviewed_at and latest and latest > study.reviewed_at:  # the later result has not been reviewed
        study.reviewed_at = study.reviewed_by = None
    session.flush()


def _caveats(session: Session, study_id: str) -> tuple[Reason, ...]:
    """Return the caveats of the current analyses of a study."""
    listed = session.scalars(
        select(AnalysisRow.caveats)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(SeriesRow.study_id == study_id, AnalysisRow.status == AnalysisStatus.CURRENT)
        .order_by(SeriesRow.series_number, SeriesRow.id)
    )
    return unique(caveat for caveats in listed for caveat in caveats)


def _summarise_findings(session: Session, study: StudyRow) -> None:
    findings = shown_findings(study.id)
    study.finding_count = session.scalars(select(func.count()).select_from(findings.subquery())).one()
    strongest = session.scalars(
        findings.where(FindingRow.malignancy_probability.is_not(None))
        .order_by(FindingRow.malignancy_probability.desc(), FindingRow.id)
        .limit(1)
    ).one_or_none()
    study.malignancy_probability = strongest.malignancy_probability if strongest else None
    study.interval_low = strongest.interval_low if strongest else None
    study.interval_high = strongest.interval_high if strongest else None
    study.displayed = displayed_text(strongest.attributes) if strongest else None


def _latest_answer(session: Session, study_id: str) -> datetime | None:
    return session.scalars(
        select(AnalysisRow.finished_at)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(SeriesRow.study_id == study_id, AnalysisRow.finished_at.is_not(None))
        .order_by(AnalysisRow.finished_at.desc())
        .limit(1)
    ).one_or_none()
