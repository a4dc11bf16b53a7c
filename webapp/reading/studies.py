"""One study: the viewer, its slices, its findings, and what readers decide."""

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
    """Read a study.

    Raises
    ------
    NotFoundError
        If there is none of that UID.
    """
    with current_services().database.read() as session:
        detail = records.study_detail(session, study_uid)
    if detail is None:
        raise NotFoundError("There is no such study.")
    return detail


def record_view(study_uid: str, detail: StudyDetail | None = None) -> None:
    """Put on record who looks at a study; nothing is shown where that cannot be done."""
    services, actor = current_services(), principal().name
    if not services.view_log.is_new_view(actor, study_uid):
        return
    seen = [series.id for series in (detail or detail_of(study_uid)).series]
    with services.database.begin() as session:
        audit.append(session, AuditEvent("study:viewed", actor, seen[0] if seen else "", details={"series": seen}))
    services.view_log.recorded(actor, study_uid)


@blueprint.get("/studies/<uid:study_uid>")
def viewer(study_uid: str) -> str:
    """Show the study."""
    found = detail_of(study_uid)
    record_view(study_uid, found)
    study, hide_model = serializers.study(found), blinded_reading.reads_first()
    shown = blinded_reading.blind_study(study) if hide_model else study
    return render_template("viewer.html", study=shown, hide_model=hide_model, max_text=forms.MAX_TEXT)


@blueprint.get("/api/v1/studies/<uid:study_uid>")
def detail(study_uid: str) -> Response:
    """Give the study with its series, analyses and findings."""
    found = detail_of(study_uid)
    record_view(study_uid, found)
    study = serializers.study(found)
    return jsonify(blinded_reading.blind_study(study) if blinded_reading.is_model_hidden() else study)


@blueprint.get("/api/v1/studies/<uid:study_uid>/series/<uid:series_uid>/slices")
def slices(study_uid: str, series_uid: str) -> Response:
    """List the displayable slices of a series in anatomical order."""
    record_view(study_uid)
    found = current_services().images.slices(study_uid, series_uid)
    listed = [serializers.slice_(reference) for reference in found]
    return jsonify(series_instance_uid=series_uid, slices=listed)


@blueprint.post("/api/v1/studies/<uid:study_uid>/findings")
def add_finding(study_uid: str) -> tuple[Response, int]:
    """Analyse and record the place that a reader points at."""
    body = forms.json_body()
    place = MarkedPoint(
        series_instance_uid=forms.uid_of(body, "series_instance_uid"),
        sop_instance_uid=forms.uid_of(body, "sop_instance_uid"),
        row=forms.coordinate_of(body, "row"),
        column=forms.coordinate_of(body, "column"),
        frame_number=forms.frame_of(body),
    )
    answer = current_services().predictor.analyse_place(study_uid, place)
    with current_services().database.begin() as session:
        record = findings.add_reader_finding(
            session,
            study_uid,
            place.series_instance_uid,
            answer.finding,
            answer.model,
            reader=principal().name,
            scanner=answer.scanner,
        )
    return jsonify(_told(record)), 201


@blueprint.get("/api/v1/findings/<finding_id>/attention.png")
def attention(finding_id: str) -> Response:
    """Show where the model looks (``map=gradient``: what moves its answer), as a transparent picture of the slice."""
    kind = request.args.get("map", "attention")
    if kind not in get_args(MapName):
        raise BadRequestError("The map must be attention or gradient.", code="bad_map")
    found = _finding(finding_id)
    if SCANNER_HELD in found.finding.reasons:
        raise ConflictError(SCANNER_HELD.text, code=SCANNER_HELD.code)
    record_view(found.study_instance_uid)
    place = MarkedPoint(
        series_instance_uid=found.series_instance_uid,
        sop_instance_uid=found.finding.sop_instance_uid,
        row=found.finding.row,
        column=found.finding.column,
        frame_number=found.finding.frame_number,
    )
    png = current_services().predictor.attention(found.study_instance_uid, place, cast("MapName", kind))
    return Response(png, mimetype="image/png")


def _told(record: FindingRecord) -> FindingShape:
    finding = serializers.finding(record)
    return blinded_reading.blind_finding(finding) if blinded_reading.is_model_hidden() else finding


def _finding(finding_id: str) -> FindingRecord:
    with current_services().database.read() as session:
        found = findings.finding_record(session, finding_id)
    if found is None:
        raise NotFoundError("There is no such finding.")
    return found


@blueprint.delete("/api/v1/findings/<finding_id>")
def withdraw_finding(finding_id: str) -> Response:
    """Take back a place that this reader pointed at."""
    with current_services().database.begin() as session:
        findings.withdraw_finding(session, finding_id, reader=principal().name)
    return jsonify(recorded=True)


@blueprint.post("/api/v1/findings/<finding_id>/assessment")
def assess(finding_id: str) -> tuple[Response, int]:
    """Record a reader's verdict; earlier ones stay readable."""
    body = forms.json_body()
    word = body.get("verdict")
    if not isinstance(word, str) or word not in set(Verdict):
        raise BadRequestError("The verdict must be accept, reject or unsure.", code="bad_verdict")
    reason, comment = forms.text_of(body, "reason"), forms.text_of(body, "comment")
    with current_services().database.begin() as session:
        findings.record_assessment(session, finding_id, Verdict(word), reason, comment, reader=principal().name)
    return jsonify(_told(_finding(finding_id))), 201


@blueprint.delete("/api/v1/findings/<finding_id>/assessment")
def withdraw_assessment(finding_id: str) -> Response:
    """Take back this reader's latest verdict; the one before it counts again."""
    with current_services().database.begin() as session:
        findings.withdraw_assessment(session, finding_id, reader=principal().name)
    return jsonify(_told(_finding(finding_id)))


@blueprint.post("/api/v1/studies/<uid:study_uid>/readings")
def record_reading(study_uid: str) -> tuple[Response, int]:
    """Put on record when a reader opened a study, was shown the model's findings, and left."""
    body = forms.json_body()
    happened, hidden = body.get("event"), body.get("model_hidden")
    if not isinstance(happened, str) or happened not in set(ReadingEvent):
        raise BadRequestError("The event must be opened, revealed or closed.", code="bad_event")
    if not isinstance(hidden, bool):
        raise BadRequestError("model_hidden must be true or false.", code="bad_event")
    seconds = forms.seconds_of(body, "seconds")
    with current_services().database.begin() as session:
        record_event(
            session,
            study_uid,
            ReadingEvent(happened),
            is_model_hidden=hidden,
            seconds=seconds,
            reader=principal().name,
        )
    return jsonify(recorded=True), 201


@blueprint.post("/api/v1/studies/<uid:study_uid>/analyses")
def analyse_again(study_uid: str) -> tuple[Response, int]:
    """Ask for new analyses: jobs that a worker takes."""
    body = forms.json_body() if request.data else {}
    wanted = forms.uid_of(body, "series_instance_uid") if "series_instance_uid" in body else None
    model, asker = _model_identity(), principal().name
    with current_services().database.begin() as session:
        if wanted is None:
            asked = analyses.request_reanalysis(session, study_uid, model, requested_by=asker)
        else:
            asked = _request_again(session, study_uid, wanted, model)
    if not asked:
        raise ConflictError("The study is still being received.", code="still_receiving")
    return jsonify(analyses=[serializers.analysis(record) for record in asked]), 202


@blueprint.post("/api/v1/studies/<uid:study_uid>/overruled")
def overrule(study_uid: str) -> tuple[Response, int]:
    """Ask for analyses although series or findings were refused; a radiologist says which refusals and why."""
    body = forms.json_object(request.get_json())
    codes, reason = body.get("overrule"), forms.text_of(body, "reason")
    if not isinstance(codes, list) or not codes or not all(isinstance(c, str) and c in OVERRULABLE for c in codes):
        raise BadRequestError("Only derived, lossy and kernel can be overruled.", code="bad_overrule")
    if not reason:
        raise BadRequestError("A reason is needed.", code="reason_missing")
    overruled = tuple(Reason(code, reason) for code in dict.fromkeys(codes))
    model = _model_identity()
    with current_services().database.begin() as session:
        asked = request_overruled(session, study_uid, model, overruled, requested_by=principal().name)
    if not asked:
        raise ConflictError("Nothing in this study is refused for such a reason.", code="nothing_to_overrule")
    return jsonify(analyses=[serializers.analysis(record) for record in asked]), 202


def _request_again(
    session: Session, study_uid: str, series_uid: str, model: ModelIdentity
) -> tuple[AnalysisRecord, ...]:
    series = series_record(session, series_instance_uid=series_uid)
    if series is None or series.study_instance_uid != study_uid:
        raise NotFoundError("There is no such series in this study.")
    if series.state is StudyState.RECEIVING:
        return ()
    return (analyses.request_analysis(session, series.id, model, requested_by=principal().name, force=True),)


def _model_identity() -> ModelIdentity:
    status = current_services().predictor.status()
    name, version, sha256 = (str(status.get(key, "")) for key in ("name", "version", "sha256"))
    if not sha256:
        raise UnavailableError("No model is loaded that could analyse.", code="no_model")
    return ModelIdentity(name, version, sha256)


@blueprint.post("/api/v1/studies/<uid:study_uid>/complete")
def complete(study_uid: str) -> tuple[Response, int]:
    """Stop waiting for further instances of this study."""
    with current_services().database.begin() as session:
        forced = force_complete(session, study_uid, requested_by=principal().name)
    return jsonify(series=[serializers.series(record) for record in forced]), 202
