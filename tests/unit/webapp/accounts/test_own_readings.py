"""Withdrawn verdicts, reading events, and the patient's other studies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from db.audit import trail as audit
from db.domain.accounts import Role
from tests.support.webapp_doubles import Study, add_study, finding_at, finish
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import api, finding_of


@pytest.fixture
def study(web: Web) -> Study:
    added = add_study(web.database)
    finish(web.database, added, [finding_at(added.sop_instance_uids[1], 30, 20)])
    return added


def events(web: Web, prefix: str) -> list[tuple[str, dict[str, object]]]:
    with web.database.read() as session:
        result = [entry.event for entry in audit.recent(session)]
    return [(event.action, event.details) for event in reversed(result) if event.action.startswith(prefix)]


def test_a_verdict_is_taken_back_and_the_one_before_it_counts_again(web: Web, study: Study) -> None:
    client, finding = web.client(), finding_of(web, study)
    url = f"/api/v1/findings/{finding['id']}/assessment"
    for verdict, reason in (("accept", "Nodule"), ("reject", "Vessel")):
        client.post(url, json={"verdict": verdict, "reason": reason})
    assert client.delete(url).get_json()["assessment"]["reason"] == "Nodule"
    assert client.delete(url).get_json()["verdict"] is None
    assert client.delete(url).status_code == 404
    assert [action for action, _ in events(web, "finding:")][-2:] == ["finding:verdict_withdrawn"] * 2
    client.post(url, json={"verdict": "unsure"})
    assert finding_of(web, study)["verdict"] == "unsure"


def test_a_place_that_a_reader_marked_is_taken_back(web: Web, study: Study) -> None:
    client = web.client()
    point = {"series_instance_uid": study.series_instance_uid, "sop_instance_uid": study.sop_instance_uids[0]}
    marked = client.post(api(study, "findings"), json={**point, "row": 1, "column": 2}).get_json()
    assert client.get(api(study)).get_json()["finding_count"] == 2
    assert client.delete(f"/api/v1/findings/{marked['id']}").json == {"recorded": True}
    body = client.get(api(study)).get_json()
    assert (body["finding_count"], len(body["findings"])) == (1, 1)
    assert client.delete(f"/api/v1/findings/{marked['id']}").status_code == 404
    answer = client.post(f"/api/v1/findings/{marked['id']}/assessment", json={"verdict": "accept"})
    assert answer.status_code == 404


def test_what_the_model_found_cannot_be_taken_back(web: Web, study: Study) -> None:
    answer = web.client().delete(f"/api/v1/findings/{finding_of(web, study)['id']}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "not_yours")


def test_a_verdict_is_withdrawn_by_its_author_only(locked: Web) -> None:
    study = add_study(locked.database)
    finish(locked.database, study, [finding_at(study.sop_instance_uids[1], 30, 20)])
    person, token = locked.signed_in(Role.RADIOLOGIST)
    finding = person.get(api(study)).get_json()["findings"][0]
    url = f"/api/v1/findings/{finding['id']}/assessment"
    assert person.post(url, json={"verdict": "accept"}, headers={"X-CSRF-Token": token}).status_code == 201
    program = locked.client().delete(url, headers=locked.bearer(Role.RADIOLOGIST))
    assert (program.status_code, program.get_json()["error"]["code"]) == (409, "not_yours")
    assert person.delete(url).status_code == 403  # without its form token
    assert person.delete(url, headers={"X-CSRF-Token": token}).status_code == 200


def test_a_reading_leaves_its_times_on_record(web: Web, study: Study) -> None:
    for event, seconds in (("opened", 0), ("revealed", 83.25), ("closed", 120)):
        body = {"event": event, "model_hidden": event != "closed", "seconds": seconds}
        assert web.client().post(api(study, "readings"), json=body).status_code == 201
    assert events(web, "reading:") == [
        ("reading:opened", {"model_hidden": True, "seconds": 0.0}),
        ("reading:revealed", {"model_hidden": True, "seconds": 83.2}),
        ("reading:closed", {"model_hidden": False, "seconds": 120.0}),
    ]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"event": "slept"}, 400),
        ({"model_hidden": "yes"}, 400),
        ({"seconds": -1}, 422),
        ({"seconds": "1"}, 422),
        ({"seconds": True}, 422),
        ({"seconds": 1e9}, 422),
    ],
)
def test_a_reading_that_is_none_is_refused(web: Web, study: Study, changes: dict[str, object], status: int) -> None:
    body = {"event": "opened", "model_hidden": True, "seconds": 0} | changes
    assert web.client().post(api(study, "readings"), json=body).status_code == status
    assert events(web, "reading:") == []


def test_a_reading_of_a_study_that_is_not_there_is_refused(web: Web) -> None:
    body = {"event": "opened", "model_hidden": True, "seconds": 0}
    assert web.client().post("/api/v1/studies/1.9/readings", json=body).status_code == 404


def test_only_studies_of_the_same_patient_are_listed(web: Web, study: Study) -> None:
    same = add_study(web.database, description="CT chest before", slices=2)
    add_study(web.database, name="Other^Person")  # the same id under another name is another patient
    add_study(web.database, patient_id="")
    others = web.client().get(api(study)).get_json()["others"]
    assert [(other["study_instance_uid"], other["study_description"], other["instance_count"]) for other in others] == [
        (same.study_instance_uid, "CT chest before", 2)
    ]
    assert web.client().get(api(same)).get_json()["others"][0]["study_instance_uid"] == study.study_instance_uid


def test_attention_is_a_transparent_picture_of_the_slice(web: Web, study: Study) -> None:
    answer = web.client().get(f"/api/v1/findings/{finding_of(web, study)['id']}/attention.png")
    pixels = np.asarray(Image.open(io.BytesIO(answer.data)))
    assert pixels.shape == (128, 128, 4)
    assert [int(index) for index in np.unravel_index(pixels[..., 3].argmax(), (128, 128))] == [30, 20]
    assert answer.headers["Cache-Control"] == "no-store"
    assert web.client().get("/api/v1/findings/none/attention.png").status_code == 404


def test_the_gradient_map_is_another_picture_and_other_maps_are_refused(web: Web, study: Study) -> None:
    url = f"/api/v1/findings/{finding_of(web, study)['id']}/attention.png"
    attention, gradient = (
        np.asarray(Image.open(io.BytesIO(web.client().get(url, query_string={"map": kind}).data)))[..., 3].sum()
        for kind in ("attention", "gradient")
    )
    assert gradient < attention / 2
    refused = web.client().get(url, query_string={"map": "guess"})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (400, "bad_map")
