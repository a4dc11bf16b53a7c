"""The worklist, as page and as JSON."""

from __future__ import annotations

import pytest

from db.domain import Reason, StudyState
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.doubles import add_study, finding_at, finish, put_in_state

FIELDS = [
    *("study_instance_uid", "patient", "accession_number", "study_date", "study_description", "state", "reasons"),
    *("series_count", "instance_count", "finding_count", "malignancy_probability", "interval", "received_at"),
    *("analysed_at", "waiting_s"),
]
STRANGE = "<img src=x onerror=alert(1)>^{{7*7}}"


def test_an_item_has_the_documented_fields(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=0.73)])
    body = web.client().get("/api/v1/worklist").json
    assert list(body) == ["items", "next"]
    item = body["items"][0]
    assert list(item) == FIELDS
    assert item["patient"] == {"id": "PID-1", "name": "Doe^Jane", "birth_date": "19610215", "sex": "F"}
    assert (item["state"], item["finding_count"], item["series_count"], item["instance_count"]) == ("analysed", 1, 1, 3)
    assert (item["malignancy_probability"], item["interval"]) == (0.73, [0.61, 0.83])
    assert item["received_at"].endswith("Z")
    assert item["analysed_at"].endswith("Z")
    assert body["next"] is None


@pytest.mark.parametrize("state", list(StudyState))
def test_every_state_can_be_asked_for(web: Web, state: StudyState) -> None:
    for wanted in StudyState:
        put_in_state(web.database, add_study(web.database, patient_id=wanted.value), wanted)
    items = web.client().get(f"/api/v1/worklist?state={state}").json["items"]
    assert [item["patient"]["id"] for item in items] == [state.value]
    page = web.client().get(f"/worklist?state={state}").text
    assert f'<td><span class="chip {state}">' in page.replace("\n", "")


def test_reasons_stand_in_words(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, reasons=[Reason("localizer", "A localizer, not a volume.")])
    item = web.client().get("/api/v1/worklist").json["items"][0]
    assert item["state"] == "not_analysed"
    assert item["reasons"] == [{"code": "localizer", "text": "A localizer, not a volume."}]
    assert "A localizer, not a volume." in web.client().get("/worklist").text


def test_pages_follow_one_another(web: Web) -> None:
    for number in range(5):
        add_study(web.database, patient_id=f"P{number}")
    seen, cursor = [], ""
    for _ in range(3):
        body = web.client().get("/api/v1/worklist", query_string={"limit": 2, "cursor": cursor}).json
        seen += [item["patient"]["id"] for item in body["items"]]
        cursor = body["next"]
    assert seen == ["P4", "P3", "P2", "P1", "P0"]
    assert cursor is None
    page = web.client().get("/worklist?limit=2").text
    assert 'rel="next"' in page


def test_text_is_looked_for(web: Web) -> None:
    add_study(web.database, name="Müller^Ägidius", patient_id="1")
    add_study(web.database, name="Doe^Jane", patient_id="2")
    items = web.client().get("/api/v1/worklist?q=müller").json["items"]
    assert [item["patient"]["id"] for item in items] == ["1"]
    assert "Nothing fits" in web.client().get("/worklist?q=nobody-of-that-name").text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=done", "bad_state"),
        ("limit=0", "bad_limit"),
        ("limit=501", "bad_limit"),
        ("limit=-1", "bad_limit"),
        ("limit=x", "bad_limit"),
        ("limit=%C2%B2", "bad_limit"),
        ("limit=" + "9" * 5000, "bad_limit"),
        ("cursor=abc", "bad_cursor"),
        ("cursor=" + "A" * 3000, "bad_cursor"),
        ("q=" + "x" * 2001, "bad_text"),
    ],
)
def test_what_is_not_understood_is_refused(web: Web, query: str, code: str) -> None:
    response = web.client().get(f"/api/v1/worklist?{query}")
    assert (response.status_code, response.json["error"]["code"]) == (400, code)


def test_names_never_become_markup(web: Web) -> None:
    add_study(web.database, name=STRANGE, patient_id="<b>1</b>", description='"><svg onload=alert(2)>')
    page = web.client().get("/worklist").text
    for text in ("<img src", "<b>1</b>", "<svg onload"):
        assert text not in page
    assert "{{7*7}}" in page  # a template's own marks stay text


def test_an_empty_worklist_says_so(web: Web) -> None:
    assert "No study yet" in web.client().get("/worklist").text
