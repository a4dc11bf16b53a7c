"""Analyses: requested once per input, completed exactly once, superseded by later ones, never deleted by them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.analyses.findings import add_model_findings
from db.analyses.quarantine import is_in_quarantine, quarantined_analyses
from db.audit import trail as audit
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.models import ModelIdentity
from db.domain.reasons import SCANNER_HELD, Reason
from db.domain.scanners import Scanner, scanner_of
from db.domain.studies import InstanceRecord, StudyState
from db.engine.session import checked_json, new_id, now, record_of, required
from db.studies.instances import input_digest, series_instances
from db.studies.lifecycle import UNFINISHED, locked_study, refresh_study, study_id_of, unique
from db.tables.analyses import AnalysisRow
from db.tables.studies import SeriesRow, StudyRow

NEWER_INSTANCES = Reason("newer_instances", "More images of the series arrived before this analysis began.")
SYSTEM = "system"


def request_analysis(
    session: Session,
    series_id: str,
    model: ModelIdentity,
    *,
    requested_by: str,
    force: bool = False,
    is_explicit: bool = False,
    overruled: tuple[Reason, ...] = (),
) -> AnalysisRecord:
    """Request an analysis of all instances that the series has now.

    A repeated request for the same instances and model returns the existing analysis; with ``force`` a further run,
    unless one is pending. A quarantined analysis whose scanner was released is run again too. Analyses of fewer
    instances that have not begun are superseded. ``overruled`` applies to this run, see ``db.analyses.overruling``.

    Raises
    ------
    UnknownRecordError
        If the series does not exist.
    """
    study, series = _locked_series(session, series_id)
    digest = input_digest(series_instances(session, series_id))
    latest = _latest_run(session, series_id, digest, model)
    if latest is not None and (latest.status in UNFINISHED or not (force or _was_released(session, latest))):
        latest.is_explicit = latest.is_explicit or is_explicit
        _resume_series(series, latest)
        refresh_study(session, study)
        return _record(latest, series, study)
    _supersede_waiting(session, series, digest)
    row = _add(
        session, series, digest, model, run_number=latest.run_number + 1 if latest else 1, requested_by=requested_by
    )
    row.overruled = overruled
    row.is_explicit = is_explicit or _was_explicit(session, series_id)
    series.state, series.reasons, series.is_forced = StudyState.QUEUED, (), False
    refresh_study(session, study)
    details: dict[str, object] = {"series": series.id, "model_sha256": model.sha256, "run_number": row.run_number}
    audit.append(session, AuditEvent("analysis:requested", requested_by, row.id, details=details))
    return _record(row, series, study)


def request_reanalysis(
    session: Session, study_uid: str, model: ModelIdentity, *, requested_by: str
) -> tuple[AnalysisRecord, ...]:
    """Request a further run over every series of a study that is not still being received.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    """
    study_id = locked_study(session, study_id_of(session, study_uid)).id
    statement = select(SeriesRow.id).where(SeriesRow.study_id == study_id, SeriesRow.state != StudyState.RECEIVING)
    series_ids = session.scalars(statement.order_by(SeriesRow.series_number, SeriesRow.id)).all()
    return tuple(
        request_analysis(session, series_id, model, requested_by=requested_by, force=True) for series_id in series_ids
    )


def rerun_quarantined(session: Session, scanner: Scanner, *, requested_by: str) -> tuple[AnalysisRecord, ...]:
    """Request a further run over each quarantined series of a scanner; results stay quarantined while it is held."""
    rows = [session.get_one(AnalysisRow, analysis_id) for analysis_id in quarantined_analyses(session, scanner)]
    return tuple(
        request_analysis(session, row.series_id, model_of(row), requested_by=requested_by, force=True) for row in rows
    )


def pending_analyses(session: Session) -> tuple[AnalysisRecord, ...]:
    """List the analyses queued or running, oldest first."""
    statement = _statement().where(AnalysisRow.status.in_(UNFINISHED))
    rows = session.execute(statement.order_by(AnalysisRow.requested_at, AnalysisRow.ordinal, AnalysisRow.id))
    return tuple(_record(*row) for row in rows)


def analysis_record(session: Session, analysis_id: str) -> AnalysisRecord | None:
    """Return the analysis of that id, or None."""
    row = session.execute(_statement().where(AnalysisRow.id == analysis_id)).one_or_none()
    return _record(*row) if row else None


def analyses_of_study(session: Session, study_id: str) -> tuple[AnalysisRecord, ...]:
    """List all analyses of the study's series for readers, in order of request.

    A quarantined one states only that it is quarantined.
    """
    statement = _statement().where(SeriesRow.study_id == study_id)
    rows = session.execute(statement.order_by(AnalysisRow.requested_at, AnalysisRow.ordinal, AnalysisRow.id))
    return tuple(_for_readers(_record(*row)) for row in rows)


def _for_readers(record: AnalysisRecord) -> AnalysisRecord:
    is_quarantined = record.status is AnalysisStatus.QUARANTINED
    return replace(record, reasons=(SCANNER_HELD,), measures={}, caveats=()) if is_quarantined else record


def analysis_instances(session: Session, analysis_id: str) -> tuple[InstanceRecord, ...]:
    """List exactly the instances that the analysis covers (those of its input digest), whatever arrived since.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    row = required(session.get(AnalysisRow, analysis_id), "analysis")
    return series_instances(session, row.series_id, first=row.instance_count)


def start_analysis(session: Session, analysis_id: str) -> AnalysisRecord:
    """Begin an attempt. An analysis that has finished, or was superseded meanwhile, is returned as it is.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    row, series, study = _locked(session, analysis_id)
    if row.status in UNFINISHED:
        row.status = AnalysisStatus.RUNNING
        row.attempts += 1
        row.started_at = now(session)
        if _speaks_for_series(session, row, series):
            series.state, series.reasons = StudyState.ANALYSING, ()
        refresh_study(session, study)
        audit.append(session, AuditEvent("analysis:started", SYSTEM, row.id, details={"attempt": row.attempts}))
    return _record(row, series, study)


def complete_analysis(session: Session, analysis_id: str, outcome: AnalysisOutcome) -> bool:
    """Record the outcome, exactly once: True for the first call, False (and no change) for any other.

    The series' earlier current analysis is superseded. One that finishes after a later one has is itself
    superseded at once. Both stay readable with their findings. While the scanner is held, the outcome is quarantined,
    and the series states that it is not shown.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist, or a finding names an instance of another series.
    InvalidRecordError
        If a finding's numbers are not finite or out of range.
    """
    row, series, study = _locked(session, analysis_id)
    if row.status not in UNFINISHED:
        return False
    current = session.scalars(
        select(AnalysisRow).where(AnalysisRow.series_id == series.id, AnalysisRow.status == AnalysisStatus.CURRENT)
    ).one_or_none()
    is_late = current is not None and current.ordinal > row.ordinal
    if current is not None and not is_late:
        supersede(session, current, by=row.id)
    is_quarantined = is_in_quarantine(session, scanner_of(outcome.measures))
    row.status = AnalysisStatus.SUPERSEDED if is_late else AnalysisStatus.CURRENT
    if is_quarantined:
        row.status = AnalysisStatus.QUARANTINED
    row.reasons, row.finished_at = outcome.reasons, now(session)
    row.caveats, row.measures = unique(outcome.caveats), checked_json("measures", outcome.measures)
    session.flush()
    add_model_findings(session, row, series, outcome.findings)
    if _speaks_for_series(session, row, series):
        series.reasons = (SCANNER_HELD,) if is_quarantined else outcome.reasons
        series.state = StudyState.NOT_ANALYSED if series.reasons else StudyState.ANALYSED
    refresh_study(session, study)
    _audit_completion(session, row, outcome)
    return True


def fail_analysis(session: Session, analysis_id: str, reason: Reason) -> bool:
    """Record a failure: the analysis is not retried unless requested. False if it had finished.

    An earlier analysis of the series stays current.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    row, series, study = _locked(session, analysis_id)
    if row.status not in UNFINISHED:
        return False
    row.status, row.reasons, row.finished_at = AnalysisStatus.FAILED, (reason,), now(session)
    if _speaks_for_series(session, row, series):
        series.state, series.reasons = StudyState.FAILED, (reason,)
    refresh_study(session, study)
    details: dict[str, object] = {"series": series.id, "reason": reason.code, "attempts": row.attempts}
    audit.append(session, AuditEvent("analysis:failed", SYSTEM, row.id, "failure", details))
    return True


def analysed_study(session: Session, analysis_id: str, *, is_locked: bool = False) -> tuple[AnalysisRow, StudyRow]:
    """Return an analysis and its study, locked until the transaction ends on request.

    Raises
    ------
    UnknownRecordError
        If the analysis does not exist.
    """
    if is_locked:
        row, _, study = _locked(session, analysis_id)
        return row, study
    statement = _statement().where(AnalysisRow.id == analysis_id)
    row, _, study = required(session.execute(statement).one_or_none(), "analysis")
    return row, study


def _locked_series(session: Session, series_id: str) -> tuple[StudyRow, SeriesRow]:
    study_id = required(
        session.scalars(select(SeriesRow.study_id).where(SeriesRow.id == series_id)).one_or_none(), "series"
    )
    study = locked_study(session, study_id)
    return study, session.get_one(SeriesRow, series_id, populate_existing=True)


def _locked(session: Session, analysis_id: str) -> tuple[AnalysisRow, SeriesRow, StudyRow]:
    """Read the analysis after taking its study's lock."""
    series_id = required(
        session.scalars(select(AnalysisRow.series_id).where(AnalysisRow.id == analysis_id)).one_or_none(), "analysis"
    )
    study, series = _locked_series(session, series_id)
    return session.get_one(AnalysisRow, analysis_id, populate_existing=True), series, study


def _latest_run(session: Session, series_id: str, digest: str, model: ModelIdentity) -> AnalysisRow | None:
    return session.scalars(
        select(AnalysisRow)
        .where(AnalysisRow.series_id == series_id, AnalysisRow.input_digest == digest)
        .where(AnalysisRow.model_sha256 == model.sha256)
        .order_by(AnalysisRow.run_number.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _was_explicit(session: Session, series_id: str) -> bool:
    explicit = select(AnalysisRow.id).where(AnalysisRow.series_id == series_id, AnalysisRow.is_explicit)
    return session.scalars(explicit.limit(1)).first() is not None


def _was_released(session: Session, analysis: AnalysisRow) -> bool:
    return analysis.status is AnalysisStatus.QUARANTINED and not is_in_quarantine(
        session, scanner_of(analysis.measures)
    )


def _resume_series(series: SeriesRow, analysis: AnalysisRow) -> None:
    """Restore the state of a series that counts as receiving although all its instances were analysed."""
    if series.state is not StudyState.RECEIVING:
        return
    states = {
        AnalysisStatus.QUEUED: StudyState.QUEUED,
        AnalysisStatus.RUNNING: StudyState.ANALYSING,
        AnalysisStatus.FAILED: StudyState.FAILED,
    }
    reasons = (SCANNER_HELD,) if analysis.status is AnalysisStatus.QUARANTINED else analysis.reasons
    answered = StudyState.NOT_ANALYSED if reasons else StudyState.ANALYSED
    series.state = states.get(analysis.status, answered)
    series.reasons = reasons if analysis.status not in UNFINISHED else ()
    series.is_forced = False


def _supersede_waiting(session: Session, series: SeriesRow, digest: str) -> None:
    statement = select(AnalysisRow).where(
        AnalysisRow.series_id == series.id,
        AnalysisRow.status == AnalysisStatus.QUEUED,
        AnalysisRow.input_digest != digest,
    )
    for row in session.scalars(statement):
        row.reasons = (NEWER_INSTANCES,)
        supersede(session, row, by="")


def supersede(session: Session, row: AnalysisRow, *, by: str) -> None:
    """Mark an analysis as superseded by another one."""
    row.status = AnalysisStatus.SUPERSEDED
    session.flush()
    audit.append(session, AuditEvent("analysis:superseded", SYSTEM, row.id, details={"by": by}))


def _add(
    session: Session, series: SeriesRow, digest: str, model: ModelIdentity, *, run_number: int, requested_by: str
) -> AnalysisRow:
    last = session.scalars(select(func.max(AnalysisRow.ordinal)).where(AnalysisRow.series_id == series.id)).one()
    row = AnalysisRow(
        id=new_id(),
        series_id=series.id,
        ordinal=(last or 0) + 1,
        input_digest=digest,
        instance_count=series.instance_count,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        run_number=run_number,
        status=AnalysisStatus.QUEUED,
        reasons=(),
        measures={},
        requested_by=requested_by,
        attempts=0,
        requested_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def _speaks_for_series(session: Session, row: AnalysisRow, series: SeriesRow) -> bool:
    """Return whether the series' state follows this analysis: it covers all instances and no later one counts."""
    if series.instance_count != row.instance_count:
        return False
    later = (AnalysisRow.series_id == series.id, AnalysisRow.ordinal > row.ordinal)
    counting = select(func.count()).where(*later, AnalysisRow.status != AnalysisStatus.FAILED)
    return session.scalars(counting).one() == 0


def _audit_completion(session: Session, row: AnalysisRow, outcome: AnalysisOutcome) -> None:
    details: dict[str, object] = {
        "series": row.series_id,
        "model_sha256": row.model_sha256,
        "findings": len(outcome.findings),
        "reasons": [reason.code for reason in outcome.reasons],
        "caveats": [caveat.code for caveat in outcome.caveats],
        "status": row.status.value,
    }
    action = "analysis:completed" if outcome.is_analysed else "analysis:declined"
    audit.append(session, AuditEvent(action, SYSTEM, row.id, details=details))


def model_of(row: AnalysisRow) -> ModelIdentity:
    """Return the model that an analysis was requested of."""
    return ModelIdentity(row.model_name, row.model_version, row.model_sha256)


def _statement() -> Select[AnalysisRow, SeriesRow, StudyRow]:
    return (
        select(AnalysisRow, SeriesRow, StudyRow)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
    )


def _record(row: AnalysisRow, series: SeriesRow, study: StudyRow) -> AnalysisRecord:
    return record_of(
        AnalysisRecord,
        row,
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=study.study_instance_uid,
        model=model_of(row),
    )
