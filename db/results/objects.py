"""Result objects that were made of analyses, and their withdrawal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.analyses import findings
from db.audit import trail as audit
from db.domain.errors import UnknownRecordError
from db.domain.exchange import NewResult, ResultRecord, RetractionCode, RetractionRecord
from db.domain.records import (
    SCANNER_HELD,
    AnalysisRecord,
    AnalysisStatus,
    AuditEvent,
    FindingRecord,
    StudyState,
    Verdict,
)
from db.engine.session import free_text, insert_once, key_text, new_id, now
from db.results import deliveries
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.arrivals import SeriesRow, StudyRow
from db.tables.exchange import PriorStudyRow, ResultRow, RetractionRow
from db.tables.ground_truth import AssessmentRow

VERIFIED, RETRACTION = "verified", "ko"
"""Kinds of result objects that follow the first ones."""
RECENT = timedelta(days=7)
"""What is older is not looked at again."""
IN_THE_MAKING = timedelta(seconds=15)
"""So long the workflow of an analysis is left to make its results itself; two at once would do the same work twice."""
LEFT_BEHIND = timedelta(minutes=2)
"""Results follow an answer within seconds, unless their workflow was lost with the database."""
VERDICTS_QUIET = timedelta(seconds=15)
"""A reader who paused for so long has told all verdicts of a sitting."""
SUPERSEDED = "A newer analysis of the series replaces this result."
ALL_REJECTED = "A reader rejected every finding of this result."
WITHDRAWN = "the result was withdrawn before it was sent"


def record_results(session: Session, analysis_id: str, made: Iterable[NewResult]) -> None:
    """Index result objects; those that are indexed stay as they are.

    Raises
    ------
    UnknownRecordError
        If there is no such analysis.
    """
    statement = select(SeriesRow.study_id).join(AnalysisRow, AnalysisRow.series_id == SeriesRow.id)
    study_id = session.scalars(statement.where(AnalysisRow.id == analysis_id)).one_or_none()
    if study_id is None:
        raise UnknownRecordError("analysis")
    moment = now(session)
    for one in made:
        values = {
            "id": new_id(),
            "analysis_id": analysis_id,
            "study_id": study_id,
            "sop_instance_uid": key_text("sop_instance_uid", one.sop_instance_uid, limit=64),
            "sop_class_uid": one.sop_class_uid,
            "series_instance_uid": one.series_instance_uid,
            "series_number": one.series_number,
            "modality": one.modality,
            "instance_number": one.instance_number,
            "kind": one.kind,
            "path": one.path,
            "created_at": moment,
        }
        if not insert_once(session, ResultRow, values):
            known = select(ResultRow).where(ResultRow.sop_instance_uid == values["sop_instance_uid"])
            row = session.scalars(known).one()  # the same words again: they are the newer analysis' now
            row.analysis_id, row.created_at = analysis_id, moment
        else:
            details: dict[str, object] = {"analysis": analysis_id, "kind": one.kind}
            audit.append(session, AuditEvent("result:made", "system", str(values["id"]), details=details))


def results_of_analysis(session: Session, analysis_id: str) -> tuple[ResultRecord, ...]:
    """List the result objects of an analysis, in the order in which they were made."""
    statement = select(ResultRow).where(ResultRow.analysis_id == analysis_id)
    rows = session.scalars(statement.order_by(ResultRow.created_at, ResultRow.series_number, ResultRow.instance_number))
    return tuple(_record(row) for row in rows)


def retract(
    session: Session, analysis_id: str, code: RetractionCode, reason: str, *, requested_by: str
) -> RetractionRecord:
    """Withdraw the results of an analysis: what was not sent yet stays here, what was sent is told to be rejected.

    Withdrawing again gives the withdrawal that exists.

    Raises
    ------
    UnknownRecordError
        If there is no such analysis.
    """
    if session.get(AnalysisRow, analysis_id) is None:
        raise UnknownRecordError("analysis")
    values = {
        "analysis_id": analysis_id,
        "code": code,
        "reason": free_text(reason),
        "requested_by": requested_by,
        "requested_at": now(session),
    }
    if insert_once(session, RetractionRow, values):
        deliveries.decline_pending(session, analysis_id, WITHDRAWN, but_not=(VERIFIED, RETRACTION))
        details: dict[str, object] = {"code": code.value}
        audit.append(session, AuditEvent("result:retracted", requested_by, analysis_id, details=details))
    return _retraction(session.get_one(RetractionRow, analysis_id))


def speaks_for_study(session: Session, analysis: AnalysisRecord) -> bool:
    """Whether results are to be made of an analysis.

    A current one with an answer always. One without (not analysed, failed) only where no series of the study has an
    answer, shown or not, once all are settled, and of these series the one with most instances: a localizer says
    nothing.
    """
    if analysis.status not in (AnalysisStatus.CURRENT, AnalysisStatus.FAILED):
        return False
    if analysis.status is AnalysisStatus.CURRENT and not analysis.reasons:
        return True
    study_id, state, reasons = session.execute(
        select(StudyRow.id, StudyRow.state, StudyRow.reasons).join(SeriesRow).where(SeriesRow.id == analysis.series_id)
    ).one()
    if state not in (StudyState.NOT_ANALYSED, StudyState.FAILED) or SCANNER_HELD in reasons:
        return False
    speaker = session.scalars(
        select(SeriesRow.id)
        .where(SeriesRow.study_id == study_id, SeriesRow.state.in_((StudyState.NOT_ANALYSED, StudyState.FAILED)))
        .order_by(SeriesRow.instance_count.desc(), SeriesRow.id)
        .limit(1)
    ).one()
    latest = select(func.max(AnalysisRow.ordinal)).where(AnalysisRow.series_id == analysis.series_id)
    own = select(AnalysisRow.ordinal).where(AnalysisRow.id == analysis.id)
    return bool(speaker == analysis.series_id and session.scalars(latest).one() == session.scalars(own).one())


def series_findings(session: Session, analysis: AnalysisRecord) -> tuple[FindingRecord, ...]:
    """List the findings of an analysis, and then those that readers marked in its series."""
    own = findings.findings_of_analysis(session, analysis.id)
    return (*own, *findings.reader_findings_of_series(session, analysis.series_id))


def unreported_analyses(session: Session) -> tuple[str, ...]:
    """List analyses that nothing was made of: without an answer, of studies without one; or answered a while ago."""
    is_unanswered = and_(
        StudyRow.state.in_((StudyState.NOT_ANALYSED, StudyState.FAILED)),
        AnalysisRow.finished_at < now(session) - IN_THE_MAKING,
        ~exists().where(ResultRow.study_id == StudyRow.id),
    )
    is_left_behind = and_(  # what was to make its results is gone
        SeriesRow.state == StudyState.ANALYSED,
        AnalysisRow.finished_at < now(session) - LEFT_BEHIND,
        ~exists().where(ResultRow.analysis_id == AnalysisRow.id),
    )
    statement = (
        select(AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(or_(is_unanswered, is_left_behind))
        .where(AnalysisRow.status.in_((AnalysisStatus.CURRENT, AnalysisStatus.FAILED)))
        .where(AnalysisRow.finished_at > now(session) - RECENT)
        .where(~exists().where(PriorStudyRow.study_instance_uid == StudyRow.study_instance_uid))
        .order_by(AnalysisRow.finished_at, AnalysisRow.id)
    )
    return tuple(session.scalars(statement))


def unreported_verdicts(session: Session) -> tuple[str, ...]:
    """List current analyses that readers gave verdicts on since the last verified report; once they have paused."""
    latest = func.max(func.coalesce(AssessmentRow.withdrawn_at, AssessmentRow.created_at))
    statement = (
        select(AnalysisRow.id, latest)
        .join(FindingRow, FindingRow.analysis_id == AnalysisRow.id)
        .join(AssessmentRow, AssessmentRow.finding_id == FindingRow.id)
        .where(AnalysisRow.status == AnalysisStatus.CURRENT, AssessmentRow.created_at > now(session) - RECENT)
        .group_by(AnalysisRow.id)
        .having(latest < now(session) - VERDICTS_QUIET)
    )
    return tuple(
        analysis_id
        for analysis_id, moment in session.execute(statement)
        if (made_at := _last_verified(session, analysis_id)) is None or made_at < moment
    )


def _last_verified(session: Session, analysis_id: str) -> datetime | None:
    statement = select(func.max(ResultRow.created_at))
    return session.scalars(statement.where(ResultRow.analysis_id == analysis_id, ResultRow.kind == VERIFIED)).one()


def unreported_retractions(session: Session) -> tuple[str, ...]:
    """List withdrawals of results that were made, and of which no key objects were."""
    made, told = (ResultRow.analysis_id == RetractionRow.analysis_id), ResultRow.kind == RETRACTION
    statement = select(RetractionRow.analysis_id).where(exists().where(made, ~told), ~exists().where(made, told))
    return tuple(session.scalars(statement.order_by(RetractionRow.requested_at, RetractionRow.analysis_id)))


def outdated_results(session: Session) -> tuple[tuple[str, str, str], ...]:
    """List what PACS should not go on showing, as ``(analysis, reason, by whom)``.

    That is superseded analyses, once results of the one that took their place are made, and those of which a reader
    rejected every finding.
    """
    withdrawn = exists().where(RetractionRow.analysis_id == AnalysisRow.id)
    current = aliased(AnalysisRow)
    has_successor = exists().where(
        current.series_id == AnalysisRow.series_id,
        current.status == AnalysisStatus.CURRENT,
        exists().where(ResultRow.analysis_id == current.id),
    )
    was_made = exists().where(ResultRow.analysis_id == AnalysisRow.id)
    superseded = select(AnalysisRow.id).where(AnalysisRow.status == AnalysisStatus.SUPERSEDED, was_made, ~withdrawn)
    verified = exists().where(
        ResultRow.analysis_id == AnalysisRow.id,
        ResultRow.kind == VERIFIED,
        ResultRow.created_at > now(session) - RECENT,
    )
    return (
        *((found, SUPERSEDED, "system") for found in session.scalars(superseded.where(has_successor))),
        *(
            (found, ALL_REJECTED, reader)
            for found in session.scalars(select(AnalysisRow.id).where(verified, ~withdrawn)).all()
            if (reader := _rejected_by(session, found))
        ),
    )


def _rejected_by(session: Session, analysis_id: str) -> str:
    """Who rejected the last of an analysis' findings, if all of them are rejected; else empty."""
    assessments = [record.assessment for record in findings.findings_of_analysis(session, analysis_id)]
    rejections = [one for one in assessments if one is not None and one.verdict is Verdict.REJECT]
    if not rejections or len(rejections) < len(assessments):
        return ""
    return max(rejections, key=lambda one: one.created_at).reader


def retraction(session: Session, analysis_id: str) -> RetractionRecord | None:
    """Return the withdrawal of an analysis' results, or None."""
    row = session.get(RetractionRow, analysis_id)
    return _retraction(row) if row else None


def _retraction(row: RetractionRow) -> RetractionRecord:
    return RetractionRecord(row.analysis_id, row.code, row.reason, row.requested_by, row.requested_at)


def _record(row: ResultRow) -> ResultRecord:
    made = NewResult(
        kind=row.kind,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        series_number=row.series_number,
        modality=row.modality,
        instance_number=row.instance_number,
        path=row.path,
    )
    return ResultRecord(row.analysis_id, made, row.created_at)
