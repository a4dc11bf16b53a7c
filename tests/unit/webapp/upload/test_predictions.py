"""POST /predict: answers, abstentions, refusals, records and pictures."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from db.analyses import predictions
from db.audit import trail as audit
from db.domain.errors import DatabaseUnavailableError
from tests.support.webapp_doubles import noise_png
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.upload.test_uploads import jpeg, zipped
from webapp.http.errors import UnfitInputError
from webapp.ports import LeftOutFiles, UploadAnalysis
from webapp.services import registry

DICOM = bytes(128) + b"DICM" + bytes(200)
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
STRANGE = "<script>alert(1)</script>\"'&"


def post(
    web: Web, content: bytes, *, field: str = "image", headers: dict[str, str] | None = None, **fields: str
) -> TestResponse:
    data = {field: (io.BytesIO(content), "any name.png"), **fields}
    return web.client().post("/predict", data=data, headers=headers or {})


def record_count(web: Web) -> int:
    with web.database.read() as session:
        return predictions.prediction_count(session)


def test_a_slice_is_answered_as_documented(web: Web) -> None:
    response = post(web, noise_png(), age="61")
    answer = response.get_json()
    assert response.status_code == 200
    assert list(answer) == [
        *("id", "class", "confidence", "confidence_percent", "displayed", "displayed_basis", "interval"),
        *("prediction_set", "input", "model", "patient", "explanation_url"),
    ]
    assert answer["class"] == "malignant"
    assert answer["confidence"] == {"benign": 0.1234, "malignant": 0.8766}
    assert answer["confidence_percent"] == {"benign": 12.3, "malignant": 87.7}
    assert answer["displayed"] == "72 to 97 % (30 of 34 similar)"
    assert answer["displayed_basis"] == (
        "30 of 34 test images with a similar score were labelled malignant (72 to 97 %)"
    )
    assert answer["interval"] == pytest.approx([0.7255, 0.9670], abs=1e-3)
    assert answer["prediction_set"] == ["malignant"]
    assert answer["input"] == {"kind": "slice", "in_domain": True, "reasons": []}
    assert answer["model"] == {"name": "slice", "version": "1.0", "sha256": "cd" * 32, "temperature": 1.1}
    assert answer["patient"] == {"age": 61}
    assert answer["explanation_url"] == f"/predictions/{answer['id']}/attention.png"


@pytest.mark.parametrize("field", ["image", "file"])
def test_both_names_of_the_field_work(web: Web, field: str) -> None:
    assert post(web, jpeg(), field=field).status_code == 200


def test_the_answer_is_on_record_before_it_is_given(web: Web) -> None:
    answer = post(web, noise_png(), age="61", symptoms="cough").get_json()
    with web.database.read() as session:
        record = predictions.prediction_record(session, answer["id"])
        event = audit.recent(session, limit=1)[0].event
    assert record is not None
    assert (record.answer.predicted_class, record.patient.age, record.patient.symptoms) == ("malignant", 61, "cough")
    assert record.answer.probabilities["malignant"] == pytest.approx(0.8766)
    assert (event.action, event.subject) == ("prediction:answered", answer["id"])
    assert "cough" not in str(event)


def test_no_record_means_no_answer(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    monkeypatch.setattr("webapp.upload.predictions.records.record_prediction", fail)
    response = post(web, noise_png())
    assert response.status_code == 503
    assert "confidence" not in response.text


def test_input_outside_the_domain_has_no_class_and_a_raw_answer_apart(web: Web) -> None:
    web.predictor.in_domain = False
    answer = post(web, noise_png()).get_json()
    assert answer["class"] is None
    assert answer["confidence"] == {}
    assert answer["confidence_percent"] == {}
    assert (answer["displayed"], answer["displayed_basis"], answer["interval"]) == (None, None, None)
    assert answer["prediction_set"] == []
    assert answer["input"]["in_domain"] is False
    assert answer["input"]["reasons"] == ["The picture does not look like a CT slice in a soft-tissue window."]
    assert answer["unvalidated"] == {"class": "malignant", "confidence": {"benign": 0.1234, "malignant": 0.8766}}


def test_the_page_shows_a_raw_answer_only_behind_its_warning(web: Web) -> None:
    web.predictor.in_domain = False
    page = post(web, noise_png(), headers=HTML).text
    assert "No answer for this image" in page
    (details,) = re.findall(r"<details[^>]*data-unvalidated.*?</details>", page, re.S)
    assert "Not validated" in details
    assert details.index("Not validated") < details.index("Malignant")
    assert "87.7" not in page
    assert "No percentage" in details
    assert "attention.png" in details
    assert "attention.png" not in page.replace(details, "")


def test_a_dicom_instance_with_a_place_is_answered_for_it(web: Web) -> None:
    answer = post(web, DICOM, row="120", column="88.5").get_json()
    assert (answer["input"]["kind"], answer["class"]) == ("nodule", "malignant")
    assert web.predictor.calls == [(len(DICOM), 120.0, 88.5)]
    assert answer["explanation_url"] is None


def test_a_dicom_instance_without_a_place_says_how_to_ask(web: Web) -> None:
    answer = post(web, DICOM).get_json()
    assert (answer["class"], answer["input"]["kind"], answer["input"]["in_domain"]) == (None, "dicom", False)
    assert "row and column" in answer["input"]["reasons"][0]
    assert "unvalidated" not in answer


@pytest.mark.parametrize(
    ("what", "content", "fields", "status", "code"),
    [
        ("empty", b"", {}, 400, "empty_upload"),
        ("a text", b"hello", {}, 415, "unsupported_type"),
        ("a speck", noise_png(8, 8), {}, 422, "too_few_pixels"),
        ("cut off", noise_png()[:400], {}, 422, "unreadable_image"),
        ("CMYK", jpeg("CMYK"), {}, 415, "unsupported_colours"),
        ("a place in a PNG", noise_png(), {"row": "1", "column": "1"}, 422, "place_without_dicom"),
        ("half a place", DICOM, {"row": "1"}, 422, "invalid_field"),
        ("an age of 200", noise_png(), {"age": "200"}, 422, "invalid_field"),
    ],
)
def test_refusals(web: Web, what: str, content: bytes, fields: dict[str, Any], status: int, code: str) -> None:
    response = post(web, content, **fields)
    error = response.get_json()["error"]
    assert (response.status_code, error["code"]) == (status, code), what
    assert error["message"]
    assert re.fullmatch("[0-9a-f]{12}", error["reference"])
    assert record_count(web) == 0


def test_a_request_without_a_file_is_refused(web: Web) -> None:
    for response in (
        web.client().post("/predict"),
        web.client().post("/predict", data={"age": "3"}),
        web.client().post("/predict", json={"image": "x"}),
        web.client().post("/predict", data=b"--x\r\ngarbage", content_type="multipart/form-data; boundary=x"),
    ):
        assert (response.status_code, response.get_json()["error"]["code"]) == (400, "no_image")


SLICE, OTHER = noise_png(), noise_png(200, 200)
SEVERAL = [
    ("two pictures in two fields", {"image": SLICE, "file": OTHER}, []),
    ("two pictures in one field", {"image": SLICE}, [("image", OTHER)]),
    ("the same picture twice", {"image": SLICE}, [("image", SLICE)]),
    ("a picture and a zip", {"image": SLICE}, [("file", zipped({"a.dcm": DICOM}))]),
    ("a zip and a picture", {"image": zipped({"a.dcm": DICOM})}, [("file", SLICE)]),
    ("a picture in a field that is not read", {"image": SLICE}, [("image2", OTHER)]),
    ("two instances with a place", {"image": DICOM}, [("image", DICOM)]),
]


@pytest.mark.parametrize("path", ["/predict", "/predict/preview"])
@pytest.mark.parametrize(("what", "first", "more"), SEVERAL, ids=[row[0] for row in SEVERAL])
def test_several_files_in_one_upload_are_refused(
    web: Web, what: str, first: dict[str, bytes], more: list[tuple[str, bytes]], path: str
) -> None:
    fields = [*first.items(), *more]
    files = MultiDict([(name, (io.BytesIO(content), f"{number}")) for number, (name, content) in enumerate(fields)])
    response = web.client().post(path, data=files)
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, "several_files"), what
    assert record_count(web) == 0
    assert web.intake.taken == []


def test_an_empty_second_file_field_of_a_form_is_no_file(web: Web) -> None:
    for empty in ("image", "file"):
        filled = "file" if empty == "image" else "image"
        files = MultiDict([(empty, (io.BytesIO(b""), "")), (filled, (io.BytesIO(SLICE), "slice.png"))])
        assert web.client().post("/predict", data=files).status_code == 200


@pytest.mark.parametrize("name", ["age", "sex", "row", "symptoms"])
def test_a_field_that_is_given_twice_is_refused(web: Web, name: str) -> None:
    fields = MultiDict([(name, "1"), (name, "2"), ("image", (io.BytesIO(DICOM), "x"))])
    response = web.client().post("/predict", data=fields)
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, "invalid_field")
    assert name in response.get_json()["error"]["message"]


def test_a_single_image_is_bounded_apart_from_archives(make_web: Callable[..., Web]) -> None:
    web = make_web(max_image_bytes=1000)
    response = post(web, DICOM + bytes(1000))
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "image_too_large")


@pytest.mark.parametrize("filling", [b"\0", b"\r\n", b"--x", b"\r\n--"])
def test_large_files_arrive_whole_whatever_they_hold(web: Web, filling: bytes) -> None:
    content = DICOM + filling * (3 * 2**20 // len(filling))
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.dcm"\r\n\r\n'
    body = head + content + b"\r\n--x--\r\n"
    response = web.client().post(
        "/predict",
        input_stream=io.BytesIO(body),
        content_length=len(body),
        content_type="multipart/form-data; boundary=x",
    )
    assert response.status_code == 200
    assert web.predictor.calls[0][0] == len(content)


def test_the_predictor_s_own_refusal_is_passed_on(web: Web) -> None:
    web.predictor.fails = UnfitInputError(413, "too_many_frames", "One frame, please.")
    response = post(web, DICOM)
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_many_frames")


def test_a_failing_predictor_reveals_nothing_of_itself(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    web.predictor.fails = RuntimeError("CANARY^PHI in /secret/path")
    response = post(web, noise_png(), symptoms="CANARY cough")
    assert response.status_code == 500
    assert response.get_json()["error"]["code"] == "internal_error"
    written = response.text + "".join(capsys.readouterr())
    assert "CANARY" not in written
    assert "secret" not in written
    assert response.get_json()["error"]["reference"] in written


def test_too_many_uploads_get_a_retry_time(make_web: Callable[..., Web]) -> None:
    web = make_web(predictions_per_minute=2)
    codes = [post(web, noise_png()).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    response = post(web, noise_png())
    assert int(response.headers["Retry-After"]) >= 1


def test_busy_slots_give_a_retry_time(make_web: Callable[..., Web], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WAIT_FOR_SLOT_S", 0.01)
    web = make_web(threads=2)
    answering, release = threading.Event(), threading.Event()
    real = web.predictor.predict_upload

    def slow(content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        answering.set()
        release.wait(60)
        return real(content, row=row, column=column)

    web.predictor.predict_upload = slow  # type: ignore[method-assign]
    first = threading.Thread(target=post, args=(web, noise_png()))
    first.start()
    assert answering.wait(60)
    assert post(web, noise_png()).status_code == 429
    release.set()
    first.join(60)
    assert record_count(web) == 1


def test_a_browser_gets_the_result_page(web: Web) -> None:
    response = post(web, noise_png(), headers=HTML, age="61", sex="female", symptoms=STRANGE, family_history="no")
    page = response.text
    assert response.mimetype == "text/html"
    for text in (
        "More likely malignant",
        "72 to 97 % (30 of 34 similar)",
        "labelled malignant",
        "data-attention",
        "data-opacity",
        "61 years",
        "Female",
    ):
        assert text in page
    assert "87.7" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "not a diagnosis" in page


def test_a_set_of_both_classes_reads_cannot_tell(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    real = web.predictor.predict_upload

    def both(content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        analysis = real(content, row=row, column=column)
        return replace(analysis, answer=replace(analysis.answer, prediction_set=("benign", "malignant")))

    monkeypatch.setattr(web.predictor, "predict_upload", both)
    assert "cannot tell" in post(web, noise_png(), headers=HTML).text


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("text/html", "text/html"),
        ("text/html;q=0.2, application/json", "application/json"),
    ],
)
def test_the_caller_chooses_page_or_json(web: Web, accept: str, mimetype: str) -> None:
    response = post(web, noise_png(), headers={"Accept": accept} if accept else {})
    assert response.mimetype == mimetype
    assert "Accept" in response.headers["Vary"]


def test_an_earlier_answer_can_be_seen_again(web: Web) -> None:
    answer = post(web, noise_png(), age="61").get_json()
    again = web.client().get(f"/predictions/{answer['id']}")
    assert again.json == answer
    page = web.client().get(f"/predictions/{answer['id']}", headers=HTML).text
    assert "61 years" in page


def test_the_pictures_are_there_after_a_restart(make_web: Callable[..., Web]) -> None:
    answer = post(make_web(), noise_png()).get_json()
    response = make_web().client().get(answer["explanation_url"])
    assert (response.status_code, response.mimetype) == (200, "image/png")
    assert response.data.startswith(b"\x89PNG")
    image = make_web().client().get(f"/predictions/{answer['id']}/image.png")
    assert image.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "0" * 32 + "/attention.png",
        "0" * 31 + "/attention.png",
        "..%2f..%2fetc/attention.png",
        "0" * 32,
        "0" * 32 + "/x.png",
    ],
)
def test_pictures_that_are_not_there_are_not_found(web: Web, path: str) -> None:
    assert web.client().get(f"/predictions/{path}").status_code == 404


def test_a_zip_becomes_a_study(web: Web) -> None:
    response = post(web, zipped({"a.dcm": DICOM}))
    assert response.status_code == 202
    assert response.json == {
        "study_instance_uid": "1.2.3.4",
        "url": "/studies/1.2.3.4",
        "accepted": 12,
        "already_stored": 0,
        "left_out": [],
        "message": "12 CT images accepted.",
    }
    assert response.headers["Location"] == "/studies/1.2.3.4"
    assert web.intake.taken[0][1] == "local"
    assert record_count(web) == 0


def test_what_a_zip_holds_besides_ct_is_named(web: Web) -> None:
    web.intake.already_stored = 2
    web.intake.left_out = (
        LeftOutFiles("structured_report", 1, "1 structured report"),
        LeftOutFiles("not_dicom", 3, "3 files that are not DICOM"),
    )
    content = zipped({"a.dcm": DICOM})
    answer = post(web, content).get_json()
    assert answer["message"] == (
        "12 CT images accepted, 2 of them already stored; left out: 1 structured report, 3 files that are not DICOM."
    )
    assert answer["left_out"][1] == {"kind": "not_dicom", "count": 3, "text": "3 files that are not DICOM"}
    page = post(web, content, headers=HTML | {"Accept-Language": "de"}).text
    assert "1 Structured Report, 3 Dateien, die kein DICOM sind" in page


def test_a_zip_that_intake_refuses_is_refused(web: Web) -> None:
    web.intake.fails = UnfitInputError(422, "mixed_studies", "The archive mixes several studies.")
    response = post(web, zipped({"a.dcm": DICOM}))
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, "mixed_studies")


def test_predictions_are_counted(web: Web) -> None:
    post(web, noise_png())
    post(web, b"hello")
    metrics = web.client().get("/metrics").text
    assert 'lungnode_predictions_total{answered="yes",kind="slice"} 1.0' in metrics
    assert 'lungnode_upload_refusals_total{code="unsupported_type"} 1.0' in metrics
    assert web.client().get("/model_status").get_json()["predictions_served"] == 1


def test_a_dicom_instance_is_rendered_and_not_stored(web: Web) -> None:
    asked = {"image": (io.BytesIO(DICOM + bytes(300 * 1024)), "x.dcm")}
    response = web.client().post("/predict/preview", data=asked)
    assert (response.status_code, response.mimetype) == (200, "image/png")
    assert response.data.startswith(b"\x89PNG")
    assert record_count(web) == 0
    assert list(web.options.upload_images_root.iterdir()) == []


def test_only_dicom_is_rendered(web: Web) -> None:
    refused = web.client().post("/predict/preview", data={"image": (io.BytesIO(noise_png()), "x")})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (415, "not_dicom")
    web.predictor.fails = UnfitInputError(422, "no_image", "The DICOM instance holds no image.")
    refused = web.client().post("/predict/preview", data={"image": (io.BytesIO(DICOM), "x")})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (422, "no_image")


@pytest.mark.parametrize("kind", ["archive", "large picture"])
def test_uploads_that_take_much_are_refused_while_others_are_taken(web: Web, kind: str) -> None:
    """So many are taken at once, so many wait; the next one gets 429 with Retry-After at once."""
    services = web.app.extensions[registry.EXTENSION]
    slots = services.archive_slots if kind == "archive" else services.large_picture_slots
    content = zipped({"a.dcm": DICOM}) if kind == "archive" else jpeg("L", (2100, 2100))
    assert post(web, content).status_code in (200, 202)
    with ExitStack() as stack:
        while slots._slots.acquire(blocking=False):
            stack.callback(slots._slots.release)
        while slots._queue.acquire(blocking=False):
            stack.callback(slots._queue.release)
        response = post(web, content)
        assert post(web, noise_png()).status_code == 200
    assert (response.status_code, response.get_json()["error"]["code"]) == (503, "busy")
    assert int(response.headers["Retry-After"]) == 20
    assert post(web, content).status_code in (200, 202)
