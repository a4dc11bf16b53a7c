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
from webapp.api.shapes_studies import (
    AnalysesShape,
    CompletedShape,
    FindingShape,
    NewAnalysisShape,
    NewAssessmentShape,
    NewFindingShape,
    NewOverruleShape,
    NewReadingShape,
    RecordedShape,
    SlicesShape,
    StudyShape,
)
from webapp.endpoints import DECIDE, HTML, OPERATE, PNG, READ_CLINICAL, endpoint
from webapp.http import forms
from webapp.http.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from webapp.ports import MapName, MarkedPoint
from webapp.reading import blinded_reading
from webapp.services.registry import current_services

blueprint = Blueprint("studies", __name__)

MAP_QUERY = (
    ("map", {"type": "string", "enum": ["attention", "gradient"], "default": "attention"},
     "The network's attention, or the gradient of its output."),
)  # fmt: skip


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


@endpoint(blueprint, "GET", "/studies/<uid:study_uid>", may=READ_CLINICAL, answers={200: HTML})
def viewer(study_uid: str) -> str:
    """The viewer."""
    details = detail_of(study_uid)
    record_view(study_uid, details)
    study, hide_model = serializers.study(details), blinded_reading.reads_first()
    shown = blinded_reading.blind_study(study) if hide_model else study
    return render_template("viewer.html", study=shown, hide_model=hide_model, max_text=forms.MAX_TEXT)


@endpoint(blueprint, "GET", "/api/v1/studies/<uid:study_uid>", may=READ_CLINICAL, answers={200: StudyShape})
def detail(study_uid: str) -> Response:
    """A study with series, analyses and findings."""
    details = detail_of(study_uid)
    record_view(study_uid, details)
    study = serializers.study(details)
    return jsonify(blinded_reading.blind_study(study) if blinded_reading.is_model_hidden() else study)


@endpoint(
    blueprint,
    "GET",
    "/api/v1/studies/<uid:study_uid>/series/<uid:series_uid>/slices",
    may=READ_CLINICAL,
    answers={200: SlicesShape},
)
def slices(study_uid: str, series_uid: str) -> Response:
    """A series' slices in anatomical order."""
    record_view(study_uid)
    references = current_services().images.slices(study_uid, series_uid)
    listed = [serializers.slice_(reference) for reference in references]
    return jsonify(series_instance_uid=series_uid, slices=listed)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/findings",
    may=DECIDE,
    answers={201: FindingShape},
    errors=(422,),
    body=NewFindingShape,
)
def add_finding(study_uid: str) -> tuple[Response, int]:
    """Mark a nodule, which is analysed at once."""
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


@endpoint(
    blueprint,
    "GET",
    "/api/v1/findings/<finding_id>/attention.png",
    may=READ_CLINICAL,
    answers={200: PNG},
    errors=(409, 422),
    query=MAP_QUERY,
)
def attention(finding_id: str) -> Response:
    """The model's attention, as a transparent image of the size of the slice."""
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


@endpoint(blueprint, "DELETE", "/api/v1/findings/<finding_id>", may=DECIDE, answers={200: RecordedShape}, errors=(409,))
def withdraw_finding(finding_id: str) -> Response:
    """Remove a reader's mark."""
    with current_services().database.begin() as session:
        findings.withdraw_finding(session, finding_id, reader=principal().name)
    return jsonify(recorded=True)


@endpoint(
    blueprint,
    "POST",
    "/api/v1/findings/<finding_id>/assessment",
    may=DECIDE,
    answers={201: FindingShape},
    errors=(422,),
    body=NewAssessmentShape,
)
def assess(finding_id: str) -> tuple[Response, int]:
    """Record a verdict on a finding."""
    body = forms.json_body()
    word = body.get("verdict")
    if not isinstance(word, str) or word not in set(Verdict):
        raise BadRequestError("The verdict must be accept, reject or unsure.", code="bad_verdict")
    reason, comment = forms.text_of(body, "reason"), forms.text_of(body, "comment")
    with current_services().database.begin() as session:
        findings.record_assessment(session, finding_id, Verdict(word), reason, comment, reader=principal().name)
    return jsonify(_serialized(_finding(finding_id))), 201


@endpoint(
    blueprint,
    "DELETE",
    "/api/v1/findings/<finding_id>/assessment",
    may=DECIDE,
    answers={200: FindingShape},
    errors=(409,),
)
def withdraw_assessment(finding_id: str) -> Response:
    """Withdraw the latest verdict; the previous one counts again."""
    with current_services().database.begin() as session:
        findings.withdraw_assessment(session, finding_id, reader=principal().name)
    return jsonify(_serialized(_finding(finding_id)))


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/readings",
    may=DECIDE,
    answers={201: RecordedShape},
    errors=(422,),
    body=NewReadingShape,
)
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


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/analyses",
    may=OPERATE,
    answers={202: AnalysesShape},
    errors=(409, 422),
    body=NewAnalysisShape,
)
def analyse_again(study_uid: str) -> tuple[Response, int]:
    """Request new analyses."""
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


@endpoint(
    blueprint,
    "POST",
    "/api/v1/studies/<uid:study_uid>/overruled",
    may=DECIDE,
    answers={202: AnalysesShape},
    errors=(409, 422),
    body=NewOverruleShape,
)
def overrule(study_uid: str) -> tuple[Response, int]:
    """Overrule refusals as derived, lossy or of another kernel, and request analyses."""
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


@endpoint(blueprint, "POST", "/api/v1/studies/<uid:study_uid>/complete", may=OPERATE, answers={202: CompletedShape})
def complete(study_uid: str) -> tuple[Response, int]:
    """Mark a study as complete."""
    with current_services().database.begin() as session:
        forced = force_complete(session, study_uid, requested_by=principal().name)
    return jsonify(series=[serializers.series(record) for record in forced]), 202
