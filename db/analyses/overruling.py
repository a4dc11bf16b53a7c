"""Overruled refusals: requester, codes and reason are stored with the analysis and audited.

Only doubts whether the models are validated for an image can be overruled, never what makes an answer wrong: missing or
invalid rescale, values that are not HU, localizers, burned-in text, geometry, mixed stacks. An overruled series still
passes every other gate. It applies to the one analysis that was requested: a later one, of more images or requested
again, is refused as before until it is overruled too.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.analyses.analyses import request_analysis
from db.audit import trail as audit
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.models import ModelIdentity
from db.domain.reasons import OVERRULABLE, Reason
from db.domain.studies import StudyState
from db.studies.lifecycle import locked_study, study_id_of
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.studies import SeriesRow

OVERRULABLE_STATES = frozenset({StudyState.NOT_ANALYSED, StudyState.ANALYSED})
"""States of a series in which its refusals can be overruled; in the others an analysis is pending or failed."""


def request_overruled(
    session: Session, study_uid: str, model: ModelIdentity, overruled: tuple[Reason, ...], *, requested_by: str
) -> tuple[AnalysisRecord, ...]:
    """Request analyses of the series of a study that were refused for the overruled reasons.

    Parameters
    ----------
    overruled
        Codes of ``OVERRULABLE``, each with the radiologist's reason as its text. What an earlier analysis of a series
        overruled stays so.

    Returns
    -------
    tuple[AnalysisRecord, ...]
        Empty where no series is refused for such a reason.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study_id = locked_study(session, study_id_of(session, study_uid)).id
    requested = []
    for series in session.scalars(select(SeriesRow).where(SeriesRow.study_id == study_id)).all():
        current = _current(session, series.id)
        if current is None or series.state not in OVERRULABLE_STATES:
            continue
        applying = tuple(each for each in overruled if each.code in OVERRULABLE & _doubts(session, current))
        if applying:
            codes = {each.code for each in applying}
            earlier = tuple(each for each in current.overruled if each.code not in codes)
            record = request_analysis(
                session,
                series.id,
                model,
                requested_by=requested_by,
                force=True,
                is_explicit=True,
                overruled=(*earlier, *applying),
            )
            details: dict[str, object] = {"codes": sorted(codes), "reason": applying[0].text}
            audit.append(session, AuditEvent("refusal:overruled", requested_by, record.id, details=details))
            requested.append(record)
    return tuple(requested)


def overruled_of_series(session: Session, series_id: str) -> frozenset[str]:
    """Return the codes that were overruled for the current analysis of a series."""
    current = _current(session, series_id)
    return frozenset(each.code for each in current.overruled) if current is not None else frozenset()


def _current(session: Session, series_id: str) -> AnalysisRow | None:
    statement = select(AnalysisRow).where(AnalysisRow.series_id == series_id)
    return session.scalars(statement.where(AnalysisRow.status == AnalysisStatus.CURRENT)).one_or_none()


def _doubts(session: Session, analysis: AnalysisRow) -> set[str]:
    """Return the codes for which a series was refused or its findings got no rating."""
    listed = session.scalars(select(FindingRow.reasons).where(FindingRow.analysis_id == analysis.id)).all()
    return {reason.code for reasons in (analysis.reasons, *listed) for reason in reasons}
