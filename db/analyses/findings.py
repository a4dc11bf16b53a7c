"""Findings of models and readers, and readers' verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.analyses.masks import add_mask
from db.analyses.quarantine import is_in_quarantine
from db.analyses.reader_sizes import own_size, read_size, stored_size
from db.analyses.readings import was_read_first
from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError, NotYoursError
from db.domain.findings import AssessmentRecord, FindingOrigin, FindingRecord, NewFinding, ReaderSize, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import SCANNER_HELD
from db.domain.scanners import Scanner
from db.engine.session import check_finite, check_share, checked_json, free_text, new_id, now, record_of, required
from db.studies.lifecycle import is_for_readers, locked_study, refresh_study, shown_findings
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.ground_truth import AssessmentRow
from db.tables.studies import InstanceRow, SeriesRow, StudyRow

VERDICT_TAGS = {
    Verdict.ACCEPT: "finding:accepted",
    Verdict.REJECT: "finding:rejected",
    Verdict.UNSURE: "finding:unsure",
}
SYSTEM = "system"


def add_model_findings(
    session: Session, analysis: AnalysisRow, series: SeriesRow, findings: Sequence[NewFinding]
) -> None:
    """Insert the findings of an analysis (for ``analyses.complete_analysis``)."""
    model = ModelIdentity(analysis.model_name, analysis.model_version, analysis.model_sha256)
    for ordinal, finding in enumerate(findings):
        row = _row(session, series, finding, model, ordinal=ordinal)
        row.analysis_id, row.origin, row.created_by = analysis.id, FindingOrigin.MODEL, SYSTEM
        _add(session, row, finding)
    session.flush()


def add_reader_finding(
    session: Session,
    study_uid: str,
    series_uid: str,
    finding: NewFinding,
    model: ModelIdentity,
    *,
    reader: str,
    scanner: Scanner | None = None,
) -> FindingRecord:
    """Record a finding that a reader marked, with the model's output for it.

    If the series or its ``scanner`` is quarantined, only the position is stored.

    Raises
    ------
    UnknownRecordError
        If study, series or instance do not exist or do not belong together.
    InvalidRecordError
        If the finding's numbers are none, or out of range.
    """
    statement = select(SeriesRow, StudyRow).join(StudyRow, SeriesRow.study_id == StudyRow.id)
    statement = statement.where(SeriesRow.series_instance_uid == series_uid, StudyRow.study_instance_uid == study_uid)
    row_pair = required(session.execute(statement).one_or_none(), "series")
    series = row_pair[0]
    study = locked_study(session, series.study_id)
    if SCANNER_HELD in series.reasons or (scanner is not None and is_in_quarantine(session, scanner)):
        finding = position_only(finding)
    row = _row(session, series, finding, model, ordinal=study.finding_count)
    row.analysis_id, row.origin, row.created_by = None, FindingOrigin.READER, reader
    _add(session, row, finding)
    refresh_study(session, study)
    audit.append(
        session, AuditEvent("finding:marked", reader, row.id, details={"study": study.id, "series": series.id})
    )
    return _build(row, finding.sop_instance_uid, (series_uid, study_uid), None)


def position_only(finding: NewFinding) -> NewFinding:
    """Return the finding without any model output."""
    return replace(
        finding,
        diameter_mm=None,
        nodule_probability=None,
        malignancy_probability=None,
        interval=None,
        prediction_set=(),
        reasons=(SCANNER_HELD,),
        attributes={},
        mask=None,
    )


def record_assessment(
    session: Session,
    finding_id: str,
    verdict: Verdict,
    reason: str,
    comment: str,
    *,
    reader: str,
    size: ReaderSize | None = None,
) -> AssessmentRecord:
    """Record a reader's verdict; the latest counts, earlier ones stay on record.

    Without ``size`` the one that this reader measured before goes on.

    Raises
    ------
    UnknownRecordError
        If the finding does not exist, or its series has no such instance.
    """
    finding = _locked(session, finding_id)
    study_id = finding.study_id
    last = session.scalars(select(func.max(AssessmentRow.number)).where(AssessmentRow.finding_id == finding_id)).one()
    row = AssessmentRow(
        id=new_id(),
        finding_id=finding_id,
        number=(last or 0) + 1,
        verdict=verdict,
        reason=free_text(reason),
        comment=free_text(comment),
        reader=reader,
        is_read_first=was_read_first(session, study_id, reader),
        created_at=now(session),
        size=own_size(session, finding_id, reader) if size is None else _new_size(session, finding, size),
    )
    session.add(row)
    session.flush()
    details: dict[str, object] = {"assessment": row.id}
    if size is not None:
        details |= {"long_mm": round(size.long_mm, 1), "short_mm": round(size.short_mm, 1)}
    audit.append(session, AuditEvent(VERDICT_TAGS[verdict], reader, finding_id, details=details))
    return _assessments(session, [row])[0]


def _new_size(session: Session, finding: FindingRow, size: ReaderSize) -> dict[str, Any]:
    series = session.get_one(SeriesRow, finding.series_id)
    return stored_size(size, _instance_id(session, series, size.sop_instance_uid))


def withdraw_assessment(session: Session, finding_id: str, *, reader: str) -> None:
    """Withdraw the latest verdict; the previous one counts again. All stay on record.

    Raises
    ------
    UnknownRecordError
        If the finding does not exist, or has no verdict.
    NotYoursError
        If another reader gave it.
    """
    _locked(session, finding_id)
    statement = select(AssessmentRow).where(
        AssessmentRow.finding_id == finding_id, AssessmentRow.withdrawn_at.is_(None)
    )
    row = required(session.scalars(statement.order_by(AssessmentRow.number.desc()).limit(1)).one_or_none(), "verdict")
    if row.reader != reader:
        raise NotYoursError
    row.withdrawn_at = now(session)
    session.flush()
    details: dict[str, object] = {"assessment": row.id, "verdict": row.verdict.value}
    audit.append(session, AuditEvent("finding:verdict_withdrawn", reader, finding_id, details=details))


def withdraw_finding(session: Session, finding_id: str, *, reader: str) -> None:
    """Withdraw a finding that a reader marked; it stays on record and is no longer shown.

    Raises
    ------
    UnknownRecordError
        If the finding does not exist.
    NotYoursError
        If it is of the model or another reader.
    """
    study_id = required(
        session.scalars(select(FindingRow.study_id).where(FindingRow.id == finding_id)).one_or_none(), "finding"
    )
    study, row = locked_study(session, study_id), _locked(session, finding_id)
    if row.origin is not FindingOrigin.READER or row.created_by != reader:
        raise NotYoursError
    row.withdrawn_at = now(session)
    refresh_study(session, study)
    audit.append(session, AuditEvent("finding:mark_withdrawn", reader, finding_id, details={"study": study.id}))


def _locked(session: Session, finding_id: str) -> FindingRow:
    statement = select(FindingRow).where(FindingRow.id == finding_id, FindingRow.withdrawn_at.is_(None))
    statement = statement.where(is_for_readers())
    return required(session.scalars(statement.with_for_update()).one_or_none(), "finding")


def finding_record(session: Session, finding_id: str) -> FindingRecord | None:
    """Return the finding of that id with its latest verdict, or None if readers may not see one."""
    row = session.scalars(select(FindingRow).where(FindingRow.id == finding_id, is_for_readers())).one_or_none()
    return _records(session, [row])[0] if row else None


def findings_of_analysis(session: Session, analysis_id: str) -> tuple[FindingRecord, ...]:
    """List the findings of an analysis, whatever its status, in its own order."""
    statement = select(FindingRow).where(FindingRow.analysis_id == analysis_id).order_by(FindingRow.ordinal)
    return _records(session, session.scalars(statement).all())


def reader_findings_of_series(session: Session, series_id: str) -> tuple[FindingRecord, ...]:
    """List the findings that readers marked in a series and did not withdraw, oldest first."""
    statement = select(FindingRow).where(
        FindingRow.series_id == series_id,
        FindingRow.origin == FindingOrigin.READER,
        FindingRow.withdrawn_at.is_(None),
    )
    return _records(session, session.scalars(statement.order_by(FindingRow.created_at, FindingRow.id)).all())


def findings_of_study(session: Session, study_id: str) -> tuple[FindingRecord, ...]:
    """List findings of current analyses and of readers, highest malignancy probability first, without one last."""
    rows = session.scalars(shown_findings(study_id)).all()
    return _records(session, sorted(rows, key=_rank))


def findings_with_patients(session: Session) -> tuple[tuple[str, FindingRecord], ...]:
    """List every finding that is neither withdrawn nor quarantined, with its opaque patient id, oldest first."""
    statement = select(FindingRow, StudyRow.patient_row_id).join(StudyRow, FindingRow.study_id == StudyRow.id)
    statement = statement.where(FindingRow.withdrawn_at.is_(None), is_for_readers())
    statement = statement.order_by(FindingRow.created_at, FindingRow.id)
    pairs: list[tuple[str, FindingRecord]] = []
    for part in session.execute(statement).partitions(500):  # fewer than databases allow in one IN
        records = _records(session, [row for row, _ in part])
        pairs += [(patient, record) for (_, patient), record in zip(part, records, strict=True)]
    return tuple(pairs)


def assessments_of_finding(session: Session, finding_id: str) -> tuple[AssessmentRecord, ...]:
    """List every verdict on a finding, oldest first, withdrawn ones included."""
    statement = select(AssessmentRow).where(AssessmentRow.finding_id == finding_id).order_by(AssessmentRow.number)
    return _assessments(session, session.scalars(statement).all())


def _rank(row: FindingRow) -> tuple[bool, float, bool, int, str]:
    probability = row.malignancy_probability
    return (probability is None, -(probability or 0.0), row.origin is FindingOrigin.READER, row.ordinal, row.id)


def _row(session: Session, series: SeriesRow, finding: NewFinding, model: ModelIdentity, *, ordinal: int) -> FindingRow:
    _check(finding)
    interval = finding.interval or (None, None)
    return FindingRow(
        id=new_id(),
        study_id=series.study_id,
        series_id=series.id,
        instance_id=_instance_id(session, series, finding.sop_instance_uid),
        ordinal=ordinal,
        frame_number=finding.frame_number,
        row_px=float(finding.row),
        column_px=float(finding.column),
        x_mm=float(finding.position_mm[0]),
        y_mm=float(finding.position_mm[1]),
        z_mm=float(finding.position_mm[2]),
        diameter_mm=_plain(finding.diameter_mm),
        nodule_probability=_plain(finding.nodule_probability),
        malignancy_probability=_plain(finding.malignancy_probability),
        interval_low=_plain(interval[0]),
        interval_high=_plain(interval[1]),
        prediction_set=finding.prediction_set,
        reasons=finding.reasons,
        attributes=checked_json("attributes", finding.attributes),
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        created_at=now(session),
    )


def _add(session: Session, row: FindingRow, finding: NewFinding) -> None:
    session.add(row)
    if finding.mask is not None:
        session.flush()
        add_mask(session, row, finding.mask)


def _check(finding: NewFinding) -> None:
    check_finite("position", finding.row, finding.column, *finding.position_mm)
    check_finite("diameter_mm", finding.diameter_mm)
    check_share("nodule_probability", finding.nodule_probability)
    check_share("malignancy_probability", finding.malignancy_probability)
    low, high = finding.interval or (0.0, 1.0)
    check_share("interval", low)
    check_share("interval", high)
    if low > high:
        raise InvalidRecordError("interval", "ends before it begins")
    if finding.frame_number < 1:
        raise InvalidRecordError("frame_number", "is not counted from 1")


def _plain(value: float | None) -> float | None:
    """Convert NumPy floats to Python floats, which both drivers accept."""
    return None if value is None else float(value)


def _instance_id(session: Session, series: SeriesRow, sop_instance_uid: str) -> str:
    statement = select(InstanceRow.id).where(
        InstanceRow.sop_instance_uid == sop_instance_uid, InstanceRow.series_id == series.id
    )
    return required(session.scalars(statement).one_or_none(), "instance in this series")


def _records(session: Session, rows: Sequence[FindingRow]) -> tuple[FindingRecord, ...]:
    if not rows:
        return ()
    latest = latest_assessments(session, [row.id for row in rows])
    uids = {
        series_id: (series_uid, study_uid)
        for series_id, series_uid, study_uid in session.execute(
            select(SeriesRow.id, SeriesRow.series_instance_uid, StudyRow.study_instance_uid)
            .join(StudyRow, SeriesRow.study_id == StudyRow.id)
            .where(SeriesRow.id.in_({row.series_id for row in rows}))
        )
    }
    sop_uids = _sop_instance_uids(session, {row.instance_id for row in rows})
    return tuple(_build(row, sop_uids[row.instance_id], uids[row.series_id], latest.get(row.id)) for row in rows)


def _sop_instance_uids(session: Session, instance_ids: Iterable[str]) -> dict[str, str]:
    statement = select(InstanceRow.id, InstanceRow.sop_instance_uid).where(InstanceRow.id.in_(set(instance_ids)))
    return {row.id: row.sop_instance_uid for row in session.execute(statement)}


def latest_assessments(session: Session, finding_ids: Sequence[str]) -> dict[str, AssessmentRecord]:
    """Return the verdicts that count, by finding; findings without a verdict are left out."""
    statement = select(AssessmentRow).where(
        AssessmentRow.finding_id.in_(finding_ids), AssessmentRow.withdrawn_at.is_(None)
    )
    rows = {row.finding_id: row for row in session.scalars(statement.order_by(AssessmentRow.number))}
    return {record.finding_id: record for record in _assessments(session, list(rows.values()))}


def _build(
    row: FindingRow, sop_instance_uid: str, uids: tuple[str, str], assessment: AssessmentRecord | None
) -> FindingRecord:
    interval = None
    if row.interval_low is not None and row.interval_high is not None:
        interval = (row.interval_low, row.interval_high)
    finding = record_of(
        NewFinding,
        row,
        sop_instance_uid=sop_instance_uid,
        row=row.row_px,
        column=row.column_px,
        position_mm=(row.x_mm, row.y_mm, row.z_mm),
        interval=interval,
        mask=None,
    )
    return record_of(
        FindingRecord,
        row,
        series_instance_uid=uids[0],
        study_instance_uid=uids[1],
        finding=finding,
        model=ModelIdentity(row.model_name, row.model_version, row.model_sha256),
        assessment=assessment,
    )


def _assessments(session: Session, rows: Sequence[AssessmentRow]) -> tuple[AssessmentRecord, ...]:
    instances = {row.size["instance"] for row in rows if row.size is not None}
    sop_uids = _sop_instance_uids(session, instances) if instances else {}
    return tuple(record_of(AssessmentRecord, row, size=read_size(row.size, sop_uids)) for row in rows)
