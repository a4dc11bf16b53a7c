"""Endpoints of one study: viewer, slices, findings, verdicts and analyses."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response, g, render_template
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from db.analyses import analyses, findings, masks
from db.analyses.overruling import request_overruled
from db.analyses.readings import record_reading as record_event
from db.domain.analyses import AnalysisRecord
from db.domain.findings import FindingRecord
from db.domain.models import ModelIdentity
from db.domain.reasons import SCANNER_HELD, Reason
from db.domain.studies import StudyState
from db.domain.worklist import StudyDetail
from db.read_models import studies as records
from db.studies.completion import force_complete
from db.studies.instances import series_record
from webapp.accounts.identity import principal
from webapp.api.models import merged
from webapp.api.models_studies import (
    Analyses,
    Completed,
    Finding,
    Mask,
    Masks,
    NewAnalysis,
    NewAssessment,
    NewFinding,
    NewOverrule,
    NewReading,
    Recorded,
    Slices,
    Study,
)
from webapp.endpoints import DECIDE, HTML, OPERATE, PNG, READ_CLINICAL, Rule, endpoint
from webapp.http import forms
from webapp.http.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from webapp.http.messages import english
from webapp.ports import MapName, MarkedPoint
from webapp.reading import blinded_reading
from webapp.reading.reader_sizes import measured_size
from webapp.services.registry import current_services
from webapp.services.view_audit import ViewAudit

blueprint = Blueprint("studies", __name__)


class MapParameters(BaseModel):
    """Parameters of an attention map."""

    map: Annotated[
        MapName,
        Field(description="The network's attention, or the gradient of its output."),
        Rule(english("The map must be attention or gradient."), "bad_map", 400),
    ] = "attention"


def detail_of(study_uid: str) -> StudyDetail:
    """Return a study's details.

    Raises
    ------
    NotFoundError
        If the study does not exist.
    """
    with current_services().database.read() as session:
        detail = records.study_detail(session, study_uid)
    if detail is None:
        raise NotFoundError("Study not found.")
    return detail


@endpoint(blueprint, "GET", "/studies/<uid:study_uid>", may=READ_CLINICAL, answers={200: HTML}, audit=ViewAudit.STUDY)
def viewer(study_uid: str) -> str:
    """The viewer."""
    details = detail_of(study_uid)
    study, hide_model = Study.model_validate(details), blinded_reading.reads_first()
    shown = blinded_reading.blind_study(study) if hide_model else study
    return render_template(
        "viewer.html",
        study=shown,
        hide_model=hide_model,
        max_text=forms.MAX_TEXT,
        report_template=current_services().options.report_template,
    )


@endpoint(
    blueprint, "GET", "/api/v1/studies/<uid:study_uid>", may=READ_CLINICAL, answers={200: Study}, audit=ViewAudit.STUDY
)
def detail(study_uid: str) -> Study:
    """A study with series, analyses and findings."""
    details = detail_of(study_uid)
    study = Study.model_validate(details)
    return blinded_reading.blind_study(study) if blinded_reading.is_model_hidden() else study


@endpoint(
    blueprint,
    "GET",
    "/api/v1/studies/<uid:study_uid>/series/<uid:series_uid>/slices",
    may=READ_CLINICAL,
    answers={200: Slices},
    audit=ViewAudit.STUDY,
)
def slices(study_uid: str, series_uid: str) -> Slices:
    """A series' slices in anatomical order."""
    references = current_services().images.slices(study_uid, series_uid)
    return Slices.model_validate({"series_instance_uid": series_uid, "slices": references})


@endpoint(
    blueprint,
    "GET",
    "/api/v1/studies/<uid:study_uid>/masks",
    may=READ_CLINICAL,
    answers={200: Masks},
    audit=ViewAudit.STUDY,
)
def finding_masks(study_uid: str) -> Masks:
    """The measured masks of a study's findings."""
    with current_services().database.read() as session:
        recorded = masks.masks_of_study(session, study_uid)
    if blinded_reading.is_model_hidden():
        return Masks(masks=[])
    return Masks(masks=[Mask.model_validate(merged(mask, finding_id=name)) for name, mask in recorded.items()])


@endpoint(
    blueprint, "POST", "/api/v1/studies/<uid:study_uid>/findings", may=DECIDE, answers={201: Finding}, body=NewFinding
)
def add_finding(study_uid: str, body: NewFinding) -> Finding:
    """Mark a nodule, which is analysed at once."""
    point = MarkedPoint(**body.model_dump())
    answer = current_services().predictor.analyse_point(study_uid, point)
    with current_services().database.begin() as session:
        record = findings.add_reader_finding(
            session,
            study_uid,
            point.series_instance_uid,
            answer.finding,
            answer.model,
            reader=principal().name,
            scanner=answer.scanner,
        )
    return _shown(record)


@endpoint(
    blueprint,
    "GET",
    "/api/v1/findings/<finding_id>/attention.png",
    may=READ_CLINICAL,
    answers={200: PNG},
    audit=ViewAudit.STUDY,
    errors=(409, 422),
    query=MapParameters,
)
def attention(finding_id: str, query: MapParameters) -> Response:
    """The model's attention, as a transparent image of the size of the slice."""
    record = _finding(finding_id)
    if SCANNER_HELD in record.finding.reasons:
        raise ConflictError(SCANNER_HELD.text, code=SCANNER_HELD.code)
    g.viewed = record.study_instance_uid
    point = MarkedPoint(
        series_instance_uid=record.series_instance_uid,
        sop_instance_uid=record.finding.sop_instance_uid,
        row=record.finding.row,
        column=record.finding.column,
        frame_number=record.finding.frame_number,
    )
    png = current_services().predictor.attention(record.study_instance_uid, point, query.map)
    return Response(png, mimetype="image/png")


def _shown(record: FindingRecord) -> Finding:
    finding = Finding.model_validate(record)
    return blinded_reading.blind_finding(finding) if blinded_reading.is_model_hidden() else finding


def _finding(finding_id: str) -> FindingRecord:
    with current_services().database.read() as session:
        record = findings.finding_record(session, finding_id)
    if record is None:
        raise NotFoundError("Finding not found.")
    return record


@endpoint(blueprint, "DELETE", "/api/v1/findings/<finding_id>", may=DECIDE, answers={200: Recorded}, errors=(409,))
def withdraw_finding(finding_id: str) -> Recorded:
    """Remove a reader's mark."""
    with current_services().database.begin() as session:
        findings.withdraw_finding(session, finding_id, reader=principal().name)
    return Recorded(recorded=True)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/findings/<finding_id>/assessment",
    may=DECIDE,
    answers={201: Finding},
    body=NewAssessment,
)
def assess(finding_id: str, body: NewAssessment) -> Finding:
    """Record a verdict on a finding, with its size where the reader measured it."""
    size = None if body.size is None else measured_size(_finding(finding_id), body.size)
    with current_services().database.begin() as session:
        findings.record_assessment(
            session, finding_id, body.verdict, body.reason, body.comment, reader=principal().name, size=size
        )
    return _shown(_finding(finding_id))


@endpoint(
    blueprint, "DELETE", "/api/v1/findings/<finding_id>/assessment", may=DECIDE, answers={200: Finding}, errors=(409,)
)
def withdraw_assessment(finding_id: str) -> Finding:
    """Withdraw the latest verdict; the previous one counts again."""
    with current_services().database.begin() as session:
        findings.withdraw_assessment(session, finding_id, reader=principal().name)
    return _shown(_finding(finding_id))


@endpoint(
    blueprint, "POST", "/api/v1/studies/<uid:study_uid>/readings", may=DECIDE, answers={201: Recorded}, body=NewReading
)
def record_reading(study_uid: str, body: NewReading) -> Recorded:
    """Record that a reader opened a study, revealed the model's findings, or closed it."""
    with current_services().database.begin() as session:
        record_event(
            session,
            study_uid,
            body.event,
            is_model_hidden=body.model_hidden,
            seconds=body.seconds,
            reader=principal().name,
        )
    return Recorded(recorded=True)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/analyses",
    may=OPERATE,
    answers={202: Analyses},
    errors=(409,),
    body=NewAnalysis,
)
def analyse_again(study_uid: str, body: NewAnalysis) -> Analyses:
    """Request new analyses."""
    model, actor = _model_identity(), principal().name
    with current_services().database.begin() as session:
        if body.series_instance_uid:
            requested = _request_again(session, study_uid, body.series_instance_uid, model)
        else:
            requested = analyses.request_reanalysis(session, study_uid, model, requested_by=actor)
    if not requested:
        raise ConflictError("The study is still being received.", code="still_receiving")
    return Analyses.model_validate({"analyses": requested})


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/overruled",
    may=DECIDE,
    answers={202: Analyses},
    errors=(409,),
    body=NewOverrule,
)
def overrule(study_uid: str, body: NewOverrule) -> Analyses:
    """Overrule refusals as derived, lossy or of another kernel, and request analyses."""
    if not body.reason:
        raise BadRequestError("A reason is needed.", code="reason_missing")
    overruled = tuple(Reason(code, body.reason) for code in dict.fromkeys(body.overrule))
    model = _model_identity()
    with current_services().database.begin() as session:
        requested = request_overruled(session, study_uid, model, overruled, requested_by=principal().name)
    if not requested:
        raise ConflictError("No series of this study was refused for such a reason.", code="nothing_to_overrule")
    return Analyses.model_validate({"analyses": requested})


def _request_again(
    session: Session, study_uid: str, series_uid: str, model: ModelIdentity
) -> tuple[AnalysisRecord, ...]:
    series = series_record(session, series_instance_uid=series_uid)
    if series is None or series.study_instance_uid != study_uid:
        raise NotFoundError("Series not found in this study.")
    if series.state is StudyState.RECEIVING:
        return ()
    actor = principal().name
    return (analyses.request_analysis(session, series.id, model, requested_by=actor, force=True, is_explicit=True),)


def _model_identity() -> ModelIdentity:
    status = current_services().predictor.status()
    name, version, sha256 = (str(status.get(key, "")) for key in ("name", "version", "sha256"))
    if not sha256:
        raise UnavailableError("No model is loaded.", code="no_model")
    return ModelIdentity(name, version, sha256)


@endpoint(blueprint, "POST", "/api/v1/studies/<uid:study_uid>/complete", may=OPERATE, answers={202: Completed})
def complete(study_uid: str) -> Completed:
    """Mark a study as complete."""
    with current_services().database.begin() as session:
        forced = force_complete(session, study_uid, requested_by=principal().name)
    return Completed.model_validate({"series": forced})
