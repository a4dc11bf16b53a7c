"""``POST /predict``, its result page and images."""

from __future__ import annotations

import hashlib
import mmap
import time
import uuid
from datetime import UTC, datetime
from typing import cast

from flask import Blueprint, Response, g, make_response, render_template, url_for
from werkzeug.datastructures import FileStorage

from db.analyses import predictions as records
from db.domain.uploads import UploadPatient, UploadPrediction
from webapp.accounts.identity import principal
from webapp.api.models_uploads import AcceptedStudy, Prediction
from webapp.endpoints import HTML, PNG, UPLOAD, endpoint
from webapp.http.error_handlers import wants_html
from webapp.http.errors import NotFoundError, UnfitInputError
from webapp.http.rate_limit import RateClass
from webapp.ports import UploadAnalysis
from webapp.services.registry import compute_slot, current_services
from webapp.services.upload_images import ImageName
from webapp.upload import uploads
from webapp.upload.form import UploadForm
from webapp.upload.uploads import UploadKind

blueprint = Blueprint("predictions", __name__)


@endpoint(
    blueprint,
    "POST",
    "/predict",
    may=UPLOAD,
    answers={200: Prediction, 202: AcceptedStudy},
    errors=(415, 422),
    form=UploadForm,
    alternative=HTML,
    limit=RateClass.PREDICTIONS,
    counts_refusals=True,
    is_upload=True,
    is_cross_origin=True,
)
def predict(form: UploadForm) -> Response:
    """Analyse one slice or nodule; store a zip as a study."""
    kind = form.kind
    if form.row is not None and kind is not UploadKind.DICOM:
        raise UnfitInputError(422, "place_without_dicom", "The fields row and column require a DICOM instance.")
    if kind is UploadKind.ZIP:
        return _take_study(form.upload)
    content = _content(form.upload)
    is_large = kind is not UploadKind.DICOM and uploads.check_image(kind, content).is_large
    with current_services().large_picture_slots.take() if is_large else compute_slot():
        analysis = current_services().predictor.predict_upload(content, row=form.row, column=form.column)
    return _answer(_record(content, analysis, form.patient))


@endpoint(
    blueprint,
    "POST",
    "/predict/preview",
    may=UPLOAD,
    answers={200: PNG},
    errors=(415, 422),
    form=UploadForm,
    limit=RateClass.PREDICTIONS,
    is_upload=True,
)
def preview(form: UploadForm) -> Response:
    """Render a DICOM instance in the lung window; nothing is stored."""
    if form.kind is not UploadKind.DICOM:
        raise UnfitInputError(415, "not_dicom", "Preview is available for DICOM instances only.")
    with compute_slot():
        return Response(current_services().predictor.preview(_content(form.upload)), mimetype="image/png")


def _content(upload: FileStorage) -> bytes:
    """Return the content, up to the size limit of a single image."""
    limit = current_services().options.max_image_bytes
    content = upload.stream.read(limit + 1)
    if len(content) > limit:
        raise UnfitInputError(413, "image_too_large", f"A single image must not exceed {limit // 2**20} MiB.")
    return content


def _mapped(upload: FileStorage) -> bytes | mmap.mmap:
    """Return a memory map of a large upload's temporary file, or the bytes of a small one."""
    try:
        descriptor = upload.stream.fileno()
    except OSError:
        return upload.stream.read()
    upload.stream.flush()
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _take_study(upload: FileStorage) -> Response:
    with current_services().archive_slots.take():
        study = current_services().intake.store_zip(_mapped(upload), actor=principal().name)
    url = url_for("studies.viewer", study_uid=study.study_instance_uid)
    if wants_html():
        response = make_response(render_template("study_taken.html", url=url, study=study))
    else:
        response = _json(AcceptedStudy.of(study, url))
    response.status_code = 202
    response.headers["Location"] = url
    response.headers["Vary"] = "Accept"
    return response


def _json(answer: AcceptedStudy | Prediction) -> Response:
    return Response(answer.model_dump_json(), mimetype="application/json")


def _record(content: bytes, analysis: UploadAnalysis, patient: UploadPatient) -> UploadPrediction:
    """Store images and record the prediction, before responding."""
    services = current_services()
    prediction = UploadPrediction(
        id=uuid.uuid4().hex,
        input_sha256=hashlib.sha256(content).hexdigest(),
        answer=analysis.answer,
        patient=patient,
        created_at=datetime.now(UTC),
    )
    services.upload_images.save(prediction.id, analysis.image_png, analysis.attention_png)
    with services.database.begin() as session:
        records.record_prediction(session, prediction, actor=principal().name)
    answered = "yes" if analysis.answer.in_domain else "no"
    services.metrics.predictions.labels(analysis.answer.kind, answered).inc()
    return prediction


def _answer(prediction: UploadPrediction) -> Response:
    if wants_html():
        response = make_response(_page(prediction))
    else:
        response = _json(Prediction.of(prediction, _explanation_url(prediction.id)))
        response.headers["Server-Timing"] = f"total;dur={(time.perf_counter() - g.started) * 1000:.1f}"
    response.headers["Vary"] = "Accept"
    return response


def _picture_url(prediction_id: str, name: ImageName) -> str | None:
    if not current_services().upload_images.has(prediction_id, name):
        return None
    return url_for("predictions.picture", prediction_id=prediction_id, name=name)


def _explanation_url(prediction_id: str) -> str | None:
    return _picture_url(prediction_id, "attention")


def _page(prediction: UploadPrediction) -> str:
    answer = Prediction.of(prediction, _explanation_url(prediction.id))
    return render_template(
        "result.html",
        answer=answer,
        created_at=prediction.created_at,
        image_url=_picture_url(prediction.id, "image"),
        attention_url=_picture_url(prediction.id, "attention"),
    )


@endpoint(
    blueprint, "GET", "/predictions/<hex_id:prediction_id>", may=UPLOAD, answers={200: Prediction}, alternative=HTML
)
def show(prediction_id: str) -> Response:
    """An earlier prediction."""
    with current_services().database.read() as session:
        prediction = records.prediction_record(session, prediction_id)
    if prediction is None:
        raise NotFoundError("Prediction not found.")
    return _answer(prediction)


@endpoint(
    blueprint,
    "GET",
    "/predictions/<hex_id:prediction_id>/<any(image, attention):name>.png",
    may=UPLOAD,
    answers={200: PNG},
)
def picture(prediction_id: str, name: str) -> Response:
    """The image as analysed, or the attention overlay."""
    content = current_services().upload_images.load(prediction_id, cast("ImageName", name))
    if content is None:
        raise NotFoundError("Image not found, or no longer stored.")
    return Response(content, mimetype="image/png")
