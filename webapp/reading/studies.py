"""Endpoints of one study: viewer, slices, findings, verdicts and analyses."""

from __future__ import annotations

from typing import cast, get_args

from flask import Blueprint, Response, jsonify, render_template, request
from sqlalchemy.orm import Session

from db.analyses import analyses, findings
from db.analyses.overruling import OVERRULABLE, request_overruled
from db.analyses.readings import ReadingEvent
from db.analyses.readings import record_reading as record_event
from db.audit import trail as audit
from db.domain.records import (
    SCANNER_HELD,
    AnalysisRecord,
    AuditEvent,
    FindingRecord,
    ModelIdentity,
    Reason,
    StudyDetail,
    StudyState,
    Verdict,
)
from db.read_models import studies as records
from db.studies.completion import force_complete
from db.studies.instances import series_record
from webapp.accounts.identity import principal
from webapp.api import serializers
from webapp.api.shapes_studies import FindingShape
from webapp.http import forms
from webapp.http.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from webapp.ports import MapName, MarkedPoint
from webapp.reading import blinded_reading
from webapp.services.registry import current_services

blueprint = Blueprint("studies", __name__)


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


def record_view(study_uid: str, detail: StudyDetail | None = None) -> None:
    """Record a view of a study; if that fails, nothing is shown."""
    services, actor = current_services(), principal().name
    if not services.view_log.is_new_view(actor, study_uid):
        return
    series_ids = [series.id for series in (detail or detail_of(study_uid)).series]
    with services.database.begin() as session:
        audit.append(
            session,
            AuditEvent("study:viewed", actor, series_ids[0] if series_ids else "", details={"series": series_ids}),
        )
    services.view_log.recorded(actor, study_uid)


@blueprint.get("/studies/<uid:study_uid>")
def viewer(study_uid: str) -> str:
    """Show the viewer."""
    details = detail_of(study_uid)
    record_view(study_uid, details)
    study, hide_model = serializers.study(details), blinded_reading.reads_first()
    shown = blinded_reading.blind_study(study) if hide_model else study
    return render_template("viewer.html", study=shown, hide_model=hide_model, max_text=forms.MAX_TEXT)


@blueprint.get("/api/v1/studies/<uid:study_uid>")
def detail(study_uid: str) -> Response:
    """Return the study with its series, analyses and findings."""
    details = detail_of(study_uid)
    record_view(study_uid, details)
    study = serializers.study(details)
    return jsonify(blinded_reading.blind_study(study) if blinded_reading.is_model_hidden() else study)


@blueprint.get("/api/v1/studies/<uid:study_uid>/series/<uid:series_uid>/slices")
def slices(study_uid: str, series_uid: str) -> Response:
    """List the displayable slices of a series in anatomical order."""
    record_view(study_uid)
    references = current_services().images.slices(study_uid, series_uid)
    listed = [serializers.slice_(reference) for reference in references]
    return jsonify(series_instance_uid=series_uid, slices=listed)


@blueprint.post("/api/v1/studies/<uid:study_uid>/findings")
def add_finding(study_uid: str) -> tuple[Response, int]:
    """Analyse and record the point that a reader marked."""
    body = forms.json_body()
    point = MarkedPoint(
        series_instance_uid=forms.uid_of(body, "series_instance_uid"),
        sop_instance_uid=forms.uid_of(body, "sop_instance_uid"),
        row=forms.coordinate_of(body, "row"),
        column=forms.coordinate_of(body, "column"),
        frame_number=forms.frame_of(body),
    )
    answer = current_services().predictor.analyse_place(study_uid, point)
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
    return jsonify(_serialized(record)), 201


@blueprint.get("/api/v1/findings/<finding_id>/attention.png")
def attention(finding_id: str) -> Response:
    """Return the model's attention (or ``map=gradient``) as a transparent image of the slice."""
    kind = request.args.get("map", "attention")
    if kind not in get_args(MapName):
        raise BadRequestError("The map must be attention or gradient.", code="bad_map")
    record = _finding(finding_id)
    if SCANNER_HELD in record.finding.reasons:
        raise ConflictError(SCANNER_HELD.text, code=SCANNER_HELD.code)
    record_view(record.study_instance_uid)
    point = MarkedPoint(
        series_instance_uid=record.series_instance_uid,
        sop_instance_uid=record.finding.sop_instance_uid,
        row=record.finding.row,
        column=record.finding.column,
        frame_number=record.finding.frame_number,
    )
    png = current_services().predictor.attention(record.study_instance_uid, point, cast("MapName", kind))
    return Response(png, mimetype="image/png")


def _serialized(record: FindingRecord) -> FindingShape:
    finding = serializers.finding(record)
    return blinded_reading.blind_finding(finding) if blinded_reading.is_model_hidden() else finding


def _finding(finding_id: str) -> FindingRecord:
    with current_services().database.read() as session:
        record = findings.finding_record(session, finding_id)
    if record is None:
        raise NotFoundError("Finding not found.")
    return record


@blueprint.delete("/api/v1/findings/<finding_id>")
def withdraw_finding(finding_id: str) -> Response:
    """Withdraw a finding that this reader marked."""
    with current_services().database.begin() as session:
        findings.withdraw_finding(session, finding_id, reader=principal().name)
    return jsonify(recorded=True)


@blueprint.post("/api/v1/findings/<finding_id>/assessment")
def assess(finding_id: str) -> tuple[Response, int]:
    """Record a reader's verdict; earlier ones stay on record."""
    body = forms.json_body()
    word = body.get("verdict")
    if not isinstance(word, str) or word not in set(Verdict):
        raise BadRequestError("The verdict must be accept, reject or unsure.", code="bad_verdict")
    reason, comment = forms.text_of(body, "reason"), forms.text_of(body, "comment")
    with current_services().database.begin() as session:
        findings.record_assessment(session, finding_id, Verdict(word), reason, comment, reader=principal().name)
    return jsonify(_serialized(_finding(finding_id))), 201


@blueprint.delete("/api/v1/findings/<finding_id>/assessment")
def withdraw_assessment(finding_id: str) -> Response:
    """Withdraw this reader's latest verdict; the previous one counts again."""
    with current_services().database.begin() as session:
        findings.withdraw_assessment(session, finding_id, reader=principal().name)
    return jsonify(_serialized(_finding(finding_id)))


@blueprint.post("/api/v1/studies/<uid:study_uid>/readings")
def record_reading(study_uid: str) -> tuple[Response, int]:
    """Record that a reader opened a study, revealed the model's findings, or closed it."""
    body = forms.json_body()
    event, hidden = body.get("event"), body.get("model_hidden")
    if not isinstance(event, str) or event not in set(ReadingEvent):
        raise BadRequestError("The event must be opened, revealed or closed.", code="bad_event")
    if not isinstance(hidden, bool):
        raise BadRequestError("model_hidden must be true or false.", code="bad_event")
    seconds = forms.seconds_of(body, "seconds")
    with current_services().database.begin() as session:
        record_event(
            session,
            study_uid,
            ReadingEvent(event),
            is_model_hidden=hidden,
            seconds=seconds,
            reader=principal().name,
        )
    return jsonify(recorded=True), 201


@blueprint.post("/api/v1/studies/<uid:study_uid>/analyses")
def analyse_again(study_uid: str) -> tuple[Response, int]:
    """Request new analyses, which a worker runs."""
    body = forms.json_body() if request.data else {}
    series_uid = forms.uid_of(body, "series_instance_uid") if "series_instance_uid" in body else None
    model, actor = _model_identity(), principal().name
    with current_services().database.begin() as session:
        if series_uid is None:
            requested = analyses.request_reanalysis(session, study_uid, model, requested_by=actor)
        else:
            requested = _request_again(session, study_uid, series_uid, model)
    if not requested:
        raise ConflictError("The study is still being received.", code="still_receiving")
    return jsonify(analyses=[serializers.analysis(record) for record in requested]), 202


@blueprint.post("/api/v1/studies/<uid:study_uid>/overruled")
def overrule(study_uid: str) -> tuple[Response, int]:
    """Overrule refusals, with a reason, and request analyses."""
    body = forms.json_object(request.get_json())
    codes, reason = body.get("overrule"), forms.text_of(body, "reason")
    if not isinstance(codes, list) or not codes or not all(isinstance(c, str) and c in OVERRULABLE for c in codes):
        raise BadRequestError("Only derived, lossy and kernel can be overruled.", code="bad_overrule")
    if not reason:
        raise BadRequestError("A reason is needed.", code="reason_missing")
    overruled = tuple(Reason(code, reason) for code in dict.fromkeys(codes))
    model = _model_identity()
    with current_services().database.begin() as session:
        requested = request_overruled(session, study_uid, model, overruled, requested_by=principal().name)
    if not requested:
        raise ConflictError("No series of this study was refused for such a reason.", code="nothing_to_overrule")
    return jsonify(analyses=[serializers.analysis(record) for record in requested]), 202


def _request_again(
    session: Session, study_uid: str, series_uid: str, model: ModelIdentity
) -> tuple[AnalysisRecord, ...]:
    series = series_record(session, series_instance_uid=series_uid)
    if series is None or series.study_instance_uid != study_uid:
        raise NotFoundError("Series not found in this study.")
    if series.state is StudyState.RECEIVING:
        return ()
    return (analyses.request_analysis(session, series.id, model, requested_by=principal().name, force=True),)


def _model_identity() -> ModelIdentity:
    status = current_services().predictor.status()
    name, version, sha256 = (str(status.get(key, "")) for key in ("name", "version", "sha256"))
    if not sha256:
        raise UnavailableError("No model is loaded.", code="no_model")
    return ModelIdentity(name, version, sha256)


@blueprint.post("/api/v1/studies/<uid:study_uid>/complete")
def complete(study_uid: str) -> tuple[Response, int]:
    """Mark the study as complete."""
    with current_services().database.begin() as session:
        forced = force_complete(session, study_uid, requested_by=principal().name)
    return jsonify(series=[serializers.series(record) for record in forced]), 202
