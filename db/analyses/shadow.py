"""Trials: what a second model says of series that the live one answered, kept apart from all that readers see.

No page, query or result reads these tables but the comparison (``pairs``), so there is nothing to filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, func, select
from sqlalchemy.orm import Session

from db.analyses.findings import findings_of_analysis
from db.audit import trail as audit
from db.domain.records import (
    AnalysisOutcome,
    AnalysisStatus,
    AuditEvent,
    FindingRecord,
    ModelIdentity,
    NewFinding,
    StudyState,
)
from db.engine.session import checked_json, insert_once, new_id, now
from db.tables.analyses import AnalysisRow
from db.tables.arrivals import SeriesRow, StudyRow
from db.tables.ground_truth import PathologyRow
from db.tables.models import ShadowRunRow

SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ShadowFinding:
    """A finding of the second model: where, and what it says. Millimetres in the patient's frame (LPS)."""

    position_mm: tuple[float, float, float]
    diameter_mm: float | None
    nodule_probability: float | None
    malignancy_probability: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """One series as both models answered it; ``patient_id`` is our own opaque id."""

    patient_id: str
    live: tuple[FindingRecord, ...]
    tried: tuple[ShadowFinding, ...]
    malignant: dict[str, bool]
    """What pathology says of live findings, by their ids, as far as it is known; of several reports the latest."""
    failed_with: str
    """Code of the reason why the second model has no answer; empty where it has one."""


def without_shadow_run(
    session: Session, model: ModelIdentity, since: datetime, until: datetime, *, limit: int = 100
) -> tuple[str, ...]:
    """List the current, answered analyses that ended in a time and that ``model`` has not tried, oldest first."""
    tried = exists().where(ShadowRunRow.analysis_id == AnalysisRow.id, ShadowRunRow.model_sha256 == model.sha256)
    statement = (
        select(AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(AnalysisRow.status == AnalysisStatus.CURRENT, SeriesRow.state == StudyState.ANALYSED)
        .where(AnalysisRow.finished_at > since, AnalysisRow.finished_at <= until)
        .where(AnalysisRow.model_sha256 != model.sha256, ~tried)
        .order_by(AnalysisRow.finished_at, AnalysisRow.id)
    )
    return tuple(session.scalars(statement.limit(limit)))


def record_shadow_run(session: Session, analysis_id: str, model: ModelIdentity, outcome: AnalysisOutcome) -> bool:
    """Keep what a second model made of the series of an analysis; once, so False for any further time.

    Raises
    ------
    InvalidRecordError
        If a number is none.
    """
    values: dict[str, Any] = {
        "id": new_id(),
        "analysis_id": analysis_id,
        "model_name": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "reasons": outcome.reasons,
        "findings": checked_json("findings", {"found": [_told(one) for one in outcome.findings]}),
        "measures": checked_json("measures", outcome.measures),
        "finished_at": now(session),
    }
    if not insert_once(session, ShadowRunRow, values):
        return False
    details: dict[str, object] = {"model_sha256": model.sha256, "reasons": [reason.code for reason in outcome.reasons]}
    audit.append(session, AuditEvent("trial:recorded", SYSTEM, analysis_id, details=details))
    return True


def shadow_models(session: Session) -> tuple[ModelIdentity, ...]:
    """List the models that were ever tried, the one that was tried last first."""
    names = (ShadowRunRow.model_name, ShadowRunRow.model_version, ShadowRunRow.model_sha256)
    statement = (
        select(*names).group_by(*names).order_by(func.max(ShadowRunRow.finished_at).desc(), ShadowRunRow.model_sha256)
    )
    return tuple(ModelIdentity(*row) for row in session.execute(statement))


def pairs(session: Session, sha256: str, since: datetime | None = None) -> Iterator[Pair]:
    """Give every series that the model of that digest tried, with what the live model found there and readers said."""
    statement = (
        select(ShadowRunRow, StudyRow.patient_row_id)
        .join(AnalysisRow, ShadowRunRow.analysis_id == AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(ShadowRunRow.model_sha256 == sha256, AnalysisRow.status != AnalysisStatus.QUARANTINED)
        .order_by(ShadowRunRow.finished_at, ShadowRunRow.id)
    )
    if since is not None:
        statement = statement.where(ShadowRunRow.finished_at >= since)
    return (_pair(session, row) for row in session.execute(statement).all())


def _pair(session: Session, row: Row[ShadowRunRow, str]) -> Pair:
    trial, patient_id = row
    found = trial.findings["found"]
    live = findings_of_analysis(session, trial.analysis_id)
    return Pair(
        patient_id=patient_id,
        live=live,
        malignant=_malignant(session, [record.id for record in live]),
        tried=tuple(ShadowFinding(**{**one, "position_mm": tuple(one["position_mm"])}) for one in found),
        failed_with=trial.reasons[0].code if trial.reasons else "",
    )


def _malignant(session: Session, finding_ids: list[str]) -> dict[str, bool]:
    rows = select(PathologyRow.finding_id, PathologyRow.is_malignant).where(PathologyRow.finding_id.in_(finding_ids))
    told = session.execute(rows.order_by(PathologyRow.told_on, PathologyRow.imported_at, PathologyRow.id))
    return {str(finding_id): is_malignant for finding_id, is_malignant in told}


def _told(finding: NewFinding) -> dict[str, object]:
    told = ShadowFinding(
        tuple(float(at) for at in finding.position_mm),  # type: ignore[arg-type]
        *(
            None if value is None else float(value)
            for value in (finding.diameter_mm, finding.nodule_probability, finding.malignancy_probability)
        ),
    )
    return {**asdict(told), "position_mm": list(told.position_mm)}
