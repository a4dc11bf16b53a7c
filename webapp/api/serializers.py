"""Serialization of records to the JSON shapes of the API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, cast

from db.analyses.overruling import OVERRULABLE, OVERRULABLE_STATES
from db.analyses.quarantine import ScannerState
from db.domain.exchange import PriorShortfall, ResultFailure
from db.domain.records import (
    AnalysisRecord,
    AnalysisStatus,
    AssessmentRecord,
    DeliveryRecord,
    DeliveryStatus,
    FindingOrigin,
    FindingRecord,
    ModelIdentity,
    NewFinding,
    OtherStudy,
    Reason,
    SavedFilter,
    SeriesRecord,
    StudyDetail,
    UploadPatient,
    UploadPrediction,
    WorklistItem,
)
from db.monitoring.association_log import AssociationRecord
from db.monitoring.faults import Fault
from db.read_models.operations import DestinationLoad
from inference.displayed import NO_EVIDENCE, Displayed, DisplayedProbability, Question, displayed_of, read_displayed
from webapp.accounts.names import shown_name
from webapp.api.shapes import ModelShape, ReasonShape
from webapp.api.shapes_admin import (
    AssociationShape,
    DestinationShape,
    FaultCode,
    FaultShape,
    NodeShape,
    PriorShortfallShape,
    ResultFailureShape,
    ScannerShape,
)
from webapp.api.shapes_studies import (
    AnalysisShape,
    AssessmentShape,
    DeliveryShape,
    FindingShape,
    OtherStudyShape,
    OverrulableCode,
    SeriesShape,
    SliceShape,
    StudyShape,
)
from webapp.api.shapes_uploads import PredictionShape, RawAnswerShape, StudyTakenShape, UploadPatientShape
from webapp.api.shapes_worklist import PatientShape, SavedFilterShape, WorklistItemShape
from webapp.api.worklist_query import address
from webapp.http import rounding
from webapp.options import Node
from webapp.ports import AcceptedStudy, SliceReference

PENDING = frozenset({AnalysisStatus.QUEUED, AnalysisStatus.RUNNING})


def accepted_study(study: AcceptedStudy, url: str) -> StudyTakenShape:
    """Serialize the outcome of an uploaded zip."""
    left_out = ", ".join(files.text for files in study.left_out)
    return {
        "study_instance_uid": study.study_instance_uid,
        "url": url,
        "accepted": study.accepted,
        "already_stored": study.already_stored,
        "left_out": [{"kind": files.kind, "count": files.count, "text": files.text} for files in study.left_out],
        "message": f"{study.accepted} CT image{'s' if study.accepted != 1 else ''} accepted"
        + (f", {study.already_stored} of them already stored" if study.already_stored else "")
        + (f"; left out: {left_out}." if left_out else "."),
    }


def moment(at: datetime) -> str:
    """Format a time in UTC (RFC 3339)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(at: datetime | None) -> str | None:
    return moment(at) if at else None


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _interval(bounds: tuple[float, float] | None) -> list[float] | None:
    return [round(bound, 4) for bound in bounds] if bounds else None


def displayed_malignancy(place: NewFinding) -> Displayed | None:
    """Return the displayed malignancy of a finding."""
    return displayed_of(place.attributes, Question.MALIGNANCY, place.malignancy_probability)


def displayed_nodule(place: NewFinding) -> Displayed | None:
    """Return the displayed nodule probability of a finding."""
    return displayed_of(place.attributes, Question.NODULE, place.nodule_probability)


def reasons(records: Iterable[Reason]) -> list[ReasonShape]:
    """Serialize reasons with their codes."""
    return [{"code": reason.code, "text": reason.text} for reason in records]


def model(identity: ModelIdentity) -> ModelShape:
    """Serialize a model's identity."""
    return {"name": identity.name, "version": identity.version, "sha256": identity.sha256}


def worklist_item(item: WorklistItem) -> WorklistItemShape:
    """Serialize a worklist item."""
    patient: PatientShape = {
        "id": item.patient.patient_id,
        "name": item.patient.name,
        "birth_date": item.patient.birth_date,
        "sex": item.patient.sex,
    }
    return {
        "study_instance_uid": item.study_instance_uid,
        "patient": patient,
        "accession_number": item.accession_number,
        "study_date": item.study_date,
        "study_description": item.study_description,
        "state": item.state.value,
        "reasons": reasons(item.reasons),
        "series_count": item.series_count,
        "instance_count": item.instance_count,
        "finding_count": item.finding_count,
        "malignancy_probability": _share(item.malignancy_probability),
        "interval": _interval(item.interval),
        "displayed": None if item.malignancy_probability is None else item.displayed or NO_EVIDENCE,
        "received_at": moment(item.received_at),
        "analysed_at": _moment(item.analysed_at),
        "waiting_s": round(item.waiting_s, 1),
        "reviewed_at": _moment(item.reviewed_at),
        "reviewed_by": item.reviewed_by,
        "caveats": reasons(item.caveats),
        "result_failures": reasons(item.result_failures),
    }


def saved_filter(record: SavedFilter) -> SavedFilterShape:
    """Serialize a saved filter, with its worklist URL."""
    return {"id": record.id, "name": record.name, "query": record.query, "url": address(record.query)}


def study(detail: StudyDetail) -> StudyShape:
    """Serialize a study with its parts."""
    return {
        **worklist_item(detail.item),
        "overrulable": overrulable(detail.series, detail.findings),
        "series": [series(record) for record in detail.series],
        "analyses": [analysis(record) for record in detail.analyses if record.status not in PENDING],
        "pending_analyses": [analysis(record) for record in detail.analyses if record.status in PENDING],
        "findings": [finding(record) for record in detail.findings],
        "deliveries": [delivery(record) for record in detail.deliveries],
        "others": [other_study(record) for record in detail.others],
    }


def overrulable(series: Iterable[SeriesRecord], findings: Iterable[FindingRecord] = ()) -> list[OverrulableCode]:
    """Return the codes of refusals, of settled series and their findings, that a radiologist may overrule."""
    settled = {record.series_instance_uid: record.reasons for record in series if record.state in OVERRULABLE_STATES}
    of_findings = [
        record.finding.reasons
        for record in findings
        if record.origin is FindingOrigin.MODEL and record.series_instance_uid in settled
    ]
    codes = {reason.code for reasons in (*settled.values(), *of_findings) for reason in reasons}
    return cast("list[OverrulableCode]", sorted(codes & OVERRULABLE))


def other_study(record: OtherStudy) -> OtherStudyShape:
    """Serialize another study of the patient."""
    return {
        "study_instance_uid": record.study_instance_uid,
        "study_date": record.study_date,
        "study_description": record.study_description,
        "instance_count": record.instance_count,
    }


def series(record: SeriesRecord) -> SeriesShape:
    """Serialize a series."""
    return {
        "series_instance_uid": record.series_instance_uid,
        "series_number": record.series_number,
        "series_description": record.series_description,
        "modality": record.modality,
        "instance_count": record.instance_count,
        "state": record.state.value,
        "reasons": reasons(record.reasons),
    }


def analysis(record: AnalysisRecord) -> AnalysisShape:
    """Serialize an analysis."""
    return {
        "id": record.id,
        "series_instance_uid": record.series_instance_uid,
        "model": model(record.model),
        "status": record.status.value,
        "reasons": reasons(record.reasons),
        "caveats": reasons(record.caveats),
        "overruled": reasons(record.overruled),
        "requested_at": moment(record.requested_at),
        "started_at": _moment(record.started_at),
        "finished_at": _moment(record.finished_at),
    }


def finding(record: FindingRecord) -> FindingShape:
    """Serialize a finding with its latest verdict."""
    place = record.finding
    malignancy, nodule = displayed_malignancy(place), displayed_nodule(place)
    return {
        "id": record.id,
        "series_instance_uid": record.series_instance_uid,
        "sop_instance_uid": place.sop_instance_uid,
        "frame_number": place.frame_number,
        "row": round(place.row, 2),
        "column": round(place.column, 2),
        "position_mm": [round(coordinate, 2) for coordinate in place.position_mm],
        "diameter_mm": None if place.diameter_mm is None else round(place.diameter_mm, 1),
        "nodule_probability": _share(place.nodule_probability),
        "malignancy_probability": _share(place.malignancy_probability),
        "interval": _interval(place.interval),
        "displayed": malignancy.text if malignancy else None,
        "displayed_basis": malignancy.sentence if malignancy else None,
        "displayed_nodule": nodule.text if nodule else None,
        "prediction_set": list(place.prediction_set),
        "reasons": reasons(place.reasons),
        "attributes": dict(place.attributes),
        "origin": record.origin.value,
        "model": model(record.model),
        "verdict": record.assessment.verdict.value if record.assessment else None,
        "assessment": assessment(record.assessment) if record.assessment else None,
        "created_at": moment(record.created_at),
        "created_by": record.created_by,
        "created_by_name": shown_name(record.created_by),
    }


def assessment(record: AssessmentRecord) -> AssessmentShape:
    """Serialize a verdict."""
    return {
        "verdict": record.verdict.value,
        "reason": record.reason,
        "comment": record.comment,
        "reader": record.reader,
        "reader_name": shown_name(record.reader),
        "created_at": moment(record.created_at),
    }


def delivery(record: DeliveryRecord) -> DeliveryShape:
    """Serialize a delivery."""
    return {
        "id": record.id,
        "analysis_id": record.analysis_id,
        "sop_instance_uid": record.sop_instance_uid,
        "kind": record.kind,
        "destination": record.destination,
        "status": record.status.value,
        "reason": record.reason,
        "updated_at": moment(record.updated_at),
    }


def result_failure(record: ResultFailure) -> ResultFailureShape:
    """Serialize a failure to create result objects."""
    return {
        "analysis_id": record.analysis_id,
        "study_instance_uid": record.study_instance_uid,
        "purpose": record.purpose,
        "reason": record.reason,
        "attempts": record.attempts,
        "updated_at": moment(record.updated_at),
        "next_attempt_at": _moment(record.next_attempt_at),
    }


def prior_shortfall(record: PriorShortfall) -> PriorShortfallShape:
    """Serialize the missing priors of a study."""
    return {
        "study_instance_uid": record.study_instance_uid,
        "pacs": record.pacs,
        "status": record.status.value,
        "expected_count": record.expected_count,
        "received_count": record.received_count,
        "attempts": record.attempts,
        "reason": record.reason,
        "updated_at": moment(record.updated_at),
        "next_attempt_at": _moment(record.next_attempt_at),
    }


ALLOWING_SETTINGS = {
    "called-ae-title": "LUNGNODE_DICOM__AE_TITLE",
    "calling-ae-title": "LUNGNODE_DICOM__PEERS",
    "address": "LUNGNODE_DICOM__PEERS",
    "certificate": "LUNGNODE_DICOM__PEERS",
    "busy": "LUNGNODE_DICOM__MAX_ASSOCIATIONS",
    "evicted": "LUNGNODE_DICOM__MAX_ASSOCIATIONS",
    "timed-out": "LUNGNODE_DICOM__TIMEOUT_S",
    "tls": "LUNGNODE_DICOM__TLS__AUTHORITY",
}
"""Setting that would allow a refused association, by reason."""


def association(record: AssociationRecord) -> AssociationShape:
    """Serialize a count of equal associations of one peer."""
    event = record.event
    return {
        "peer_address": event.peer_address,
        "calling_ae_title": event.calling_ae_title,
        "called_ae_title": event.called_ae_title,
        "result": cast("Literal['accepted', 'rejected', 'aborted']", event.result),
        "reason": event.reason,
        "setting": ALLOWING_SETTINGS.get(event.reason, ""),
        "count": record.count,
        "first_at": moment(record.first_at),
        "last_at": moment(record.last_at),
    }


def fault(record: Fault) -> FaultShape:
    """Serialize a fault of this node."""
    return {
        "code": cast("FaultCode", record.code),
        "count": record.count,
        "since": moment(record.since),
        "last_at": moment(record.last_at),
        "study_instance_uid": record.study_instance_uid,
    }


def node(peer: Node) -> NodeShape:
    """Serialize a peer."""
    return {"ae_title": peer.ae_title, "address": peer.address, "note": peer.note}


def destination(peer: Node, loads: Iterable[DestinationLoad]) -> DestinationShape:
    """Serialize a destination with its delivery counts."""
    load = next((load for load in loads if load.destination == peer.ae_title), None)
    return {
        **node(peer),
        "deliveries": {status.value: load.counts.get(status, 0) if load else 0 for status in DeliveryStatus},
        "last_sent_at": _moment(load.last_sent_at if load else None),
        "oldest_pending_at": _moment(load.oldest_pending_at if load else None),
    }


def scanner(state: ScannerState) -> ScannerShape:
    """Serialize a scanner with its quarantine."""
    hold = state.hold
    return {
        "key": state.scanner.key,
        "model": state.scanner.model,
        "kernel": state.scanner.kernel,
        "slice_spacing": state.scanner.slice_spacing,
        "series_count": state.series_count,
        "hold": {"reason": hold.reason, "held_by": hold.held_by, "held_at": moment(hold.held_at)} if hold else None,
        "shadow_count": state.quarantined_count,
    }


def slice_(reference: SliceReference) -> SliceShape:
    """Serialize a displayable slice."""
    return {
        "sop_instance_uid": reference.sop_instance_uid,
        "frame_number": reference.frame_number,
        "instance_number": reference.instance_number,
        "position_mm": list(reference.position_mm) if reference.position_mm else None,
        "rows": reference.rows,
        "columns": reference.columns,
        "row_spacing_mm": reference.row_spacing_mm,
        "column_spacing_mm": reference.column_spacing_mm,
        "orientation": list(reference.orientation) if reference.orientation else None,
    }


def upload_patient(patient: UploadPatient) -> UploadPatientShape:
    """Serialize the provided patient details of an upload."""
    details: UploadPatientShape = {}
    if patient.age is not None:
        details["age"] = patient.age
    if patient.sex is not None:
        details["sex"] = patient.sex
    if patient.smoking_pack_years is not None:
        details["smoking_pack_years"] = patient.smoking_pack_years
    if patient.family_history is not None:
        details["family_history"] = patient.family_history
    if patient.symptoms is not None:
        details["symptoms"] = patient.symptoms
    return details


def displayed_prediction(record: UploadPrediction) -> Displayed | None:
    """Return the displayed probability of ``malignant``; None without a validated result."""
    if not record.in_domain or "malignant" not in record.probabilities:
        return None
    return read_displayed(record.displayed, Question.SLICE if record.kind == "slice" else Question.MALIGNANCY)


def prediction(record: UploadPrediction, explanation_url: str | None) -> PredictionShape:
    """Serialize the prediction for an upload."""
    shares = rounding.confidence(record.probabilities) if record.in_domain else {}
    shown = displayed_prediction(record)
    answer: PredictionShape = {
        "id": record.id,
        "class": record.predicted_class,
        "confidence": shares,
        "confidence_percent": rounding.percent(shares),
        "displayed": shown.text if shown else None,
        "displayed_basis": shown.sentence if shown else None,
        "interval": [shown.low, shown.high] if isinstance(shown, DisplayedProbability) else None,
        "prediction_set": list(record.prediction_set),
        "input": {"kind": record.kind, "in_domain": record.in_domain, "reasons": [r.text for r in record.reasons]},  # type: ignore[typeddict-item]
        "model": {**model(record.model), "temperature": round(record.temperature, 4)},
        "patient": upload_patient(record.patient),
        "explanation_url": explanation_url,
    }
    if record.unvalidated is not None:
        answer["unvalidated"] = raw_answer(record.unvalidated)
    return answer


def raw_answer(unvalidated: dict[str, object]) -> RawAnswerShape:
    """Serialize the unvalidated output, which is shown only with a warning."""
    shares = unvalidated.get("confidence")
    named = unvalidated.get("class")
    numbers = {str(name): float(share) for name, share in shares.items()} if isinstance(shares, dict) else {}
    return {"class": None if named is None else str(named), "confidence": rounding.confidence(numbers)}
