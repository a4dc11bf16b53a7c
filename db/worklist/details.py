"""Details of the studies of one page, each by one query: result failures, priors, size of the top finding, readers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import exists, func, select, tuple_
from sqlalchemy.orm import Session, aliased

from db.analyses.findings import latest_assessments
from db.analyses.readings import current_readers
from db.domain.exchange import ResultFailure
from db.results.failures import failures_of_studies
from db.studies.lifecycle import shown_findings
from db.tables.analyses import FindingRow
from db.tables.studies import StudyRow


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """Facts about a study that other tables hold."""

    failures: tuple[ResultFailure, ...] = ()
    has_prior: bool = False
    top_diameter_mm: float | None = None
    readers: tuple[str, ...] = ()


def details_of_studies(session: Session, study_ids: Collection[str]) -> dict[str, StudyDetails]:
    """Return the details of studies, given by our own ids."""
    failures = failures_of_studies(session, study_ids)
    with_prior, diameters = _with_prior(session, study_ids), _top_diameters_mm(session, study_ids)
    readers = current_readers(session, study_ids)
    return {
        study_id: StudyDetails(
            failures.get(study_id, ()), study_id in with_prior, diameters.get(study_id), readers.get(study_id, ())
        )
        for study_id in study_ids
    }


def _with_prior(session: Session, study_ids: Collection[str]) -> frozenset[str]:
    """Return the studies whose patient has an earlier study, by study date and time; unknown dates do not count."""
    other = aliased(StudyRow)
    is_earlier = tuple_(other.study_date, other.study_time) < tuple_(StudyRow.study_date, StudyRow.study_time)
    has_prior = exists().where(
        other.patient_row_id == StudyRow.patient_row_id, other.id != StudyRow.id, other.study_date > "", is_earlier
    )
    return frozenset(session.scalars(select(StudyRow.id).where(StudyRow.id.in_(study_ids), has_prior)))


def _top_diameters_mm(session: Session, study_ids: Collection[str]) -> dict[str, float | None]:
    """Return the diameter of each study's finding of the highest malignancy probability; without any, the largest.

    What a reader measured overrides the model's.
    """
    probability, diameter = FindingRow.malignancy_probability, FindingRow.diameter_mm
    order = (func.coalesce(probability, -1.0).desc(), func.coalesce(diameter, -1.0).desc(), FindingRow.id)
    rank = func.row_number().over(partition_by=FindingRow.study_id, order_by=order).label("rank")
    columns = (FindingRow.study_id, FindingRow.id, diameter, rank)
    ranked = shown_findings(*study_ids).with_only_columns(*columns).subquery()
    top = session.execute(select(ranked.c.study_id, ranked.c.id, ranked.c.diameter_mm).where(ranked.c.rank == 1)).all()
    assessments = latest_assessments(session, [row.id for row in top])
    sizes = {finding_id: assessment.size for finding_id, assessment in assessments.items()}
    return {row.study_id: size.long_mm if (size := sizes.get(row.id)) else row.diameter_mm for row in top}
