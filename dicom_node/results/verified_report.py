"""Content of reports verified by readers: verdicts, observers, and the replaced report (PS3.3 C.17.2)."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from db.domain.findings import AssessmentRecord, FindingOrigin, FindingRecord, Verdict
from dicom_node.results.job import Purpose, ReportJob
from dicom_node.results.source import plain

SCHEME = "99LUNGNODE"
VERDICT = CodedConcept("verdict", SCHEME, "Verdict of the reader")
VERDICTS = {
    Verdict.ACCEPT: CodedConcept("accept", SCHEME, "Finding accepted"),
    Verdict.REJECT: CodedConcept("reject", SCHEME, "Finding rejected"),
    Verdict.UNSURE: CodedConcept("unsure", SCHEME, "Reader unsure"),
}
MARKED_BY_READER = CodedConcept("marked", SCHEME, "Marked by the reader")


def readers(job: ReportJob) -> list[tuple[str, datetime]]:
    """Return the readers who gave verdicts, with their latest time; the latest first."""
    latest: dict[str, datetime] = {}
    for record in job.findings:
        for name, moment in _acts(record):
            latest[name] = max(moment, latest.get(name, moment))
    return sorted(latest.items(), key=lambda reader: reader[1], reverse=True)


def _acts(record: FindingRecord) -> list[tuple[str, datetime]]:
    acts = [(record.created_by, _aware(record.created_at))] if record.origin is FindingOrigin.READER else []
    if record.assessment is not None:
        acts.append((record.assessment.reader, _aware(record.assessment.created_at)))
    return acts


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def person_context(job: ReportJob) -> ObserverContext | None:
    """Return the reader as an observer of a verified report; None for the model's own."""
    if job.purpose is not Purpose.VERIFIED:
        return None
    return person_observer(job.reader_name(readers(job)[0][0]))


def person_observer(name: str) -> ObserverContext:
    """Return a person as an observer (TID 1003)."""
    person = PersonObserverIdentifyingAttributes(name=person_name(name))
    return ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=person)


def person_name(name: str) -> str:
    """Return a person name (PS3.5 6.2, PN) of a user's name: the family name alone, in the default repertoire."""
    component = plain("".join(" " if letter in "\\=^" else letter for letter in name), 62).strip()
    return f"{component or 'unknown'}^"


def verification(job: ReportJob, identity: Dataset) -> dict[str, Any]:
    """Return the arguments that mark a document as final with its verifier."""
    if job.purpose is not Purpose.VERIFIED:
        return {}
    organization = job.organization or str(identity.get("InstitutionName") or "") or job.station
    return {
        "is_final": True,
        "is_verified": True,
        "verifying_observer_name": person_name(job.reader_name(readers(job)[0][0])),
        "verifying_organization": plain(organization, 64),
    }


def verify(sr: Dataset, job: ReportJob) -> None:
    """Add every reader with the time of the latest verdict, and the reports that this one replaces."""
    (first,) = sr.VerifyingObserverSequence
    sr.VerifyingObserverSequence = []
    for name, moment in readers(job):
        observer = deepcopy(first)
        observer.VerifyingObserverName = person_name(job.reader_name(name))
        observer.VerificationDateTime = moment.astimezone().strftime("%Y%m%d%H%M%S.%f%z")
        sr.VerifyingObserverSequence.append(observer)
    sr.PredecessorDocumentsSequence = [_predecessors(job)]


def _predecessors(job: ReportJob) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = job.analysis.study_instance_uid
    study.ReferencedSeriesSequence = []
    for result in job.earlier:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
            result.sop_class_uid,
            result.sop_instance_uid,
        )
        series = Dataset()
        series.SeriesInstanceUID = result.series_instance_uid
        series.ReferencedSOPSequence = [reference]
        study.ReferencedSeriesSequence.append(series)
    return study


def verdict_items(job: ReportJob, record: FindingRecord) -> list[TextContentItem | CodeContentItem]:
    """Return the readers' verdicts on a finding, in a verified report."""
    if job.purpose is not Purpose.VERIFIED:
        return []
    items = [_coded(MARKED_BY_READER)] if record.origin is FindingOrigin.READER else []
    return items + (_assessment(record.assessment) if record.assessment is not None else [])


def _assessment(assessment: AssessmentRecord) -> list[TextContentItem | CodeContentItem]:
    texts = [text for text in (assessment.reason, assessment.comment) if text.strip()]
    contains = RelationshipTypeValues.CONTAINS
    comments = [TextContentItem(codes.DCM.Comment, plain(text), relationship_type=contains) for text in texts]
    return [_coded(VERDICTS[assessment.verdict]), *comments]


def _coded(value: CodedConcept) -> CodeContentItem:
    return CodeContentItem(VERDICT, value, relationship_type=RelationshipTypeValues.CONTAINS)
