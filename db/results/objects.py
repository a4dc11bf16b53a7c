"""Result objects of analyses, and their withdrawal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.analyses import findings
from db.audit import trail as audit
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.exchange import ResultObject, ResultRecord, RetractionCode, RetractionRecord
from db.domain.findings import FindingRecord, Verdict
from db.domain.reasons import SCANNER_HELD
from db.domain.reconstructions import OTHER_RECONSTRUCTION
from db.domain.studies import StudyState
from db.engine.session import free_text, insert_once, key_text, new_id, now, record_of, required
from db.results import deliveries
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.exchange import PriorStudyRow, ResultRow, RetractionRow
from db.tables.ground_truth import AssessmentRow
from db.tables.studies import SeriesRow, StudyRow

VERIFIED, RETRACTION = "verified", "ko"
"""Kinds of later result objects: verified report and rejection note."""
RECENT = timedelta(days=7)
"""Age beyond which analyses are not checked again."""
IN_THE_MAKING = timedelta(seconds=15)
"""Time left to the workflow of an analysis to create its results itself."""
LEFT_BEHIND = timedelta(minutes=2)
"""Time after which missing results mean that their workflow was lost."""
BATCH_SIZE = 500
"""Paths in one statement."""
VERDICTS_QUIET = timedelta(seconds=15)
"""Pause after which a reader's verdicts are reported."""
SUPERSEDED = "A newer analysis of the series replaces this result."
BETTER_RECONSTRUCTION = "The analysis of a better reconstruction of the acquisition replaces this result."
ALL_REJECTED = "A reader rejected every finding of this result."
WITHDRAWN = "the result was withdrawn before it was sent"


def record_results(session: Session, analysis_id: str, results: Iterable[ResultObject]) -> None:
    """Index result objects; already indexed ones are assigned to this analysis.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    statement = select(SeriesRow.study_id).join(AnalysisRow, AnalysisRow.series_id == SeriesRow.id)
    study_id = required(session.scalars(statement.where(AnalysisRow.id == analysis_id)).one_or_none(), "analysis")
    moment = now(session)
    for result in results:
        values = {
            "id": new_id(),
            "analysis_id": analysis_id,
            "study_id": study_id,
            "sop_instance_uid": key_text("sop_instance_uid", result.sop_instance_uid, limit=64),
            "sop_class_uid": result.sop_class_uid,
            "series_instance_uid": result.series_instance_uid,
            "series_number": result.series_number,
            "modality": result.modality,
            "instance_number": result.instance_number,
            "kind": result.kind,
            "path": result.path,
            "sha256": result.sha256,
            "created_at": moment,
        }
        if not insert_once(session, ResultRow, values):
            existing = select(ResultRow).where(ResultRow.sop_instance_uid == values["sop_instance_uid"])
            row = session.scalars(existing).one()  # the same words again: they are the newer analysis' now
            row.analysis_id, row.created_at = analysis_id, moment
            if row.sha256 != result.sha256:  # its file was damaged, and made again
                row.sha256 = result.sha256
                audit.append(session, AuditEvent("result:remade", "system", row.id, details={"kind": result.kind}))
        else:
            details: dict[str, object] = {"analysis": analysis_id, "kind": result.kind}
            audit.append(session, AuditEvent("result:made", "system", str(values["id"]), details=details))


def results_of_analysis(session: Session, analysis_id: str) -> tuple[ResultRecord, ...]:
    """List the result objects of an analysis, oldest first."""
    statement = select(ResultRow).where(ResultRow.analysis_id == analysis_id)
    rows = session.scalars(statement.order_by(ResultRow.created_at, ResultRow.series_number, ResultRow.instance_number))
    return tuple(ResultRecord(row.analysis_id, object_of_row(row), row.created_at) for row in rows)


def result_digests(session: Session, paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of result files by path; paths that are not recorded, or without digest, are left out."""
    digests: dict[str, str] = {}
    for start in range(0, len(paths), BATCH_SIZE):
        batch = paths[start : start + BATCH_SIZE]
        statement = select(ResultRow.path, ResultRow.sha256).where(ResultRow.path.in_(batch), ResultRow.sha256 != "")
        digests |= {row.path: row.sha256 for row in session.execute(statement)}
    return digests


def retract(
    session: Session, analysis_id: str, code: RetractionCode, reason: str, *, requested_by: str
) -> RetractionRecord:
    """Withdraw the results of an analysis: pending deliveries are declined, sent ones get a rejection note.

    A repeated withdrawal returns the existing one.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    required(session.get(AnalysisRow, analysis_id), "analysis")
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
    """Return whether results are to be created of an analysis.

    Always for a current one with findings or none found. For a refused or failed one only if no series of the study was
    analysed, shown or not, once all are settled, and only for the series with most instances, not for a localizer.
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
    """List the findings of an analysis, followed by those that readers marked in its series."""
    own = findings.findings_of_analysis(session, analysis.id)
    return (*own, *findings.reader_findings_of_series(session, analysis.series_id))


def unreported_analyses(session: Session) -> tuple[str, ...]:
    """List analyses without result objects: refused or failed ones of studies not analysed, and overdue ones."""
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
    """List current analyses with verdicts since the last verified report, once readers have paused."""
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
    """List withdrawals of existing results without a rejection note."""
    is_of_analysis, is_rejection_note = (
        (ResultRow.analysis_id == RetractionRow.analysis_id),
        ResultRow.kind == RETRACTION,
    )
    statement = select(RetractionRow.analysis_id).where(
        exists().where(is_of_analysis, ~is_rejection_note), ~exists().where(is_of_analysis, is_rejection_note)
    )
    return tuple(session.scalars(statement.order_by(RetractionRow.requested_at, RetractionRow.analysis_id)))


def outdated_results(session: Session) -> tuple[tuple[str, str, str], ...]:
    """List results to withdraw from PACS, as ``(analysis, reason, actor)``.

    These are superseded analyses, once results of their successor or of the better reconstruction exist, and those of
    which readers rejected every finding.
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
    of_study = aliased(SeriesRow)
    has_better = exists().where(
        current.series_id == of_study.id,
        of_study.study_id == SeriesRow.study_id,
        current.status == AnalysisStatus.CURRENT,
        exists().where(ResultRow.analysis_id == current.id),
    )
    of_others = superseded.add_columns(AnalysisRow.reasons).join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
    replaced = [
        analysis_id
        for analysis_id, reasons in session.execute(of_others.where(has_better, ~has_successor))
        if OTHER_RECONSTRUCTION in reasons
    ]
    verified = exists().where(
        ResultRow.analysis_id == AnalysisRow.id,
        ResultRow.kind == VERIFIED,
        ResultRow.created_at > now(session) - RECENT,
    )
    return (
        *((analysis_id, SUPERSEDED, "system") for analysis_id in session.scalars(superseded.where(has_successor))),
        *((analysis_id, BETTER_RECONSTRUCTION, "system") for analysis_id in replaced),
        *(
            (analysis_id, ALL_REJECTED, reader)
            for analysis_id in session.scalars(select(AnalysisRow.id).where(verified, ~withdrawn)).all()
            if (reader := _rejected_by(session, analysis_id))
        ),
    )


def _rejected_by(session: Session, analysis_id: str) -> str:
    """Return the reader who rejected the last finding, if all are rejected; else an empty string."""
    assessments = [record.assessment for record in findings.findings_of_analysis(session, analysis_id)]
    rejections = [
        assessment for assessment in assessments if assessment is not None and assessment.verdict is Verdict.REJECT
    ]
    if not rejections or len(rejections) < len(assessments):
        return ""
    return max(rejections, key=lambda assessment: assessment.created_at).reader


def retraction(session: Session, analysis_id: str) -> RetractionRecord | None:
    """Return the withdrawal of an analysis' results, or None."""
    row = session.get(RetractionRow, analysis_id)
    return _retraction(row) if row else None


def _retraction(row: RetractionRow) -> RetractionRecord:
    return RetractionRecord(row.analysis_id, row.code, row.reason, row.requested_by, row.requested_at)


def object_of_row(row: ResultRow) -> ResultObject:
    """Return the result object of a row."""
    return record_of(ResultObject, row)
