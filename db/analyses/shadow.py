"""Shadow runs: outputs of a second model on series that the live model analysed, never shown to readers.

Only the model comparison (``pairs``) reads this table.
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
from db.domain.analyses import AnalysisOutcome, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.findings import FindingRecord, NewFinding
from db.domain.models import ModelIdentity
from db.domain.studies import StudyState
from db.engine.session import checked_json, insert_once, new_id, now
from db.tables.analyses import AnalysisRow
from db.tables.ground_truth import PathologyRow
from db.tables.models import ShadowRunRow
from db.tables.studies import SeriesRow, StudyRow

SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ShadowFinding:
    """A finding of the shadow model. Positions in mm in the patient's frame (LPS)."""

    position_mm: tuple[float, float, float]
    diameter_mm: float | None
    nodule_probability: float | None
    malignancy_probability: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """The findings of both models in one series; ``patient_id`` is our own opaque id."""

    patient_id: str
    live: tuple[FindingRecord, ...]
    shadow: tuple[ShadowFinding, ...]
    malignant: dict[str, bool]
    """Pathology of live findings by finding id, where known; of several reports the latest."""
    failed_with: str
    """Code of the reason why the shadow model has no output; empty if it has one."""


def without_shadow_run(
    session: Session, model: ModelIdentity, since: datetime, until: datetime, *, limit: int = 100
) -> tuple[str, ...]:
    """List current, completed analyses of a period that ``model`` has not run on, oldest first."""
    was_run = exists().where(ShadowRunRow.analysis_id == AnalysisRow.id, ShadowRunRow.model_sha256 == model.sha256)
    statement = (
        select(AnalysisRow.id)
        .join(SeriesRow, AnalysisRow.series_id == SeriesRow.id)
        .where(AnalysisRow.status == AnalysisStatus.CURRENT, SeriesRow.state == StudyState.ANALYSED)
        .where(AnalysisRow.finished_at > since, AnalysisRow.finished_at <= until)
        .where(AnalysisRow.model_sha256 != model.sha256, ~was_run)
        .order_by(AnalysisRow.finished_at, AnalysisRow.id)
    )
    return tuple(session.scalars(statement.limit(limit)))


def record_shadow_run(session: Session, analysis_id: str, model: ModelIdentity, outcome: AnalysisOutcome) -> bool:
    """Record the output of a shadow model for an analysis, once; False if one is on record.

    Raises
    ------
    InvalidRecordError
        If a number is not finite.
    """
    values: dict[str, Any] = {
        "id": new_id(),
        "analysis_id": analysis_id,
        "model_name": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "reasons": outcome.reasons,
        "findings": checked_json("findings", {"findings": [_finding_json(finding) for finding in outcome.findings]}),
        "measures": checked_json("measures", outcome.measures),
        "finished_at": now(session),
    }
    if not insert_once(session, ShadowRunRow, values):
        return False
    details: dict[str, object] = {"model_sha256": model.sha256, "reasons": [reason.code for reason in outcome.reasons]}
    audit.append(session, AuditEvent("shadow:recorded", SYSTEM, analysis_id, details=details))
    return True


def shadow_models(session: Session) -> tuple[ModelIdentity, ...]:
    """List the models that ran in shadow, the latest first."""
    names = (ShadowRunRow.model_name, ShadowRunRow.model_version, ShadowRunRow.model_sha256)
    statement = (
        select(*names).group_by(*names).order_by(func.max(ShadowRunRow.finished_at).desc(), ShadowRunRow.model_sha256)
    )
    return tuple(ModelIdentity(*row) for row in session.execute(statement))


def pairs(session: Session, sha256: str, since: datetime | None = None) -> Iterator[Pair]:
    """Yield every series that the model of that digest ran on, with the live findings and their ground truth."""
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
    shadow_run, patient_id = row
    shadow_findings = shadow_run.findings["findings"]
    live = findings_of_analysis(session, shadow_run.analysis_id)
    return Pair(
        patient_id=patient_id,
        live=live,
        malignant=_malignant(session, [record.id for record in live]),
        shadow=tuple(
            ShadowFinding(**{**finding, "position_mm": tuple(finding["position_mm"])}) for finding in shadow_findings
        ),
        failed_with=shadow_run.reasons[0].code if shadow_run.reasons else "",
    )


def _malignant(session: Session, finding_ids: list[str]) -> dict[str, bool]:
    rows = select(PathologyRow.finding_id, PathologyRow.is_malignant).where(PathologyRow.finding_id.in_(finding_ids))
    labels = session.execute(rows.order_by(PathologyRow.reported_on, PathologyRow.imported_at, PathologyRow.id))
    return {str(finding_id): is_malignant for finding_id, is_malignant in labels}


def _finding_json(finding: NewFinding) -> dict[str, object]:
    shadow_finding = ShadowFinding(
        tuple(float(at) for at in finding.position_mm),  # type: ignore[arg-type]
        *(
            None if value is None else float(value)
            for value in (finding.diameter_mm, finding.nodule_probability, finding.malignancy_probability)
        ),
    )
    return {**asdict(shadow_finding), "position_mm": list(shadow_finding.position_mm)}
