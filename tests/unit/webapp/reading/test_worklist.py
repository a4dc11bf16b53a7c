"""The worklist, as page and as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from db.analyses import findings
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.reasons import Reason
from db.domain.studies import StudyState
from tests.support.webapp_doubles import add_study, finding_at, finish, put_in_state
from tests.unit.webapp.conftest import Web
from webapp.reading.blinded_reading import COOKIE

FIELDS = [
    *("study_instance_uid", "patient", "accession_number", "study_date", "study_description", "state", "reasons"),
    *("series_count", "instance_count", "finding_count", "malignancy_probability", "interval", "displayed"),
    *("received_at", "analysed_at", "waiting_s", "reviewed_at", "reviewed_by", "caveats", "result_failures"),
    *("has_prior", "assigned_to", "readers", "is_stat", "top_diameter_mm"),
]
STRANGE = "<img src=x onerror=alert(1)>^{{7*7}}"


def test_an_item_has_the_documented_fields(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=0.73)])
    body = web.client().get("/api/v1/worklist").get_json()
    assert list(body) == ["items", "next"]
    item = body["items"][0]
    assert list(item) == FIELDS
    assert item["patient"] == {"id": "PID-1", "name": "Doe^Jane", "birth_date": "19610215", "sex": "F"}
    assert (item["state"], item["finding_count"], item["series_count"], item["instance_count"]) == ("analysed", 1, 1, 3)
    assert (item["malignancy_probability"], item["interval"]) == (0.73, [0.5564, 0.8712])
    assert item["displayed"] == "55 to 88 % (25 of 34 similar)"
    assert item["received_at"].endswith("Z")
    assert item["analysed_at"].endswith("Z")
    assert body["next"] is None


@pytest.mark.parametrize("state", list(StudyState))
def test_every_state_can_be_asked_for(web: Web, state: StudyState) -> None:
    for expected in StudyState:
        put_in_state(web.database, add_study(web.database, patient_id=expected.value), expected)
    items = web.client().get(f"/api/v1/worklist?state={state}").get_json()["items"]
    assert [item["patient"]["id"] for item in items] == [state.value]
    page = web.client().get(f"/worklist?state={state}").text
    assert f'<td><span class="chip {state}">' in page.replace("\n", "")


def test_reasons_stand_in_words(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, reasons=[Reason("localizer", "A localizer, not a volume.")])
    item = web.client().get("/api/v1/worklist").get_json()["items"][0]
    assert item["state"] == "not_analysed"
    assert item["reasons"] == [{"code": "localizer", "text": "A localizer, not a volume."}]
    assert "A localizer, not a volume." in web.client().get("/worklist").text


def test_pages_follow_one_another(web: Web) -> None:
    for number in range(5):
        add_study(web.database, patient_id=f"P{number}")
    observed, cursor = [], ""
    for _ in range(3):
        body = web.client().get("/api/v1/worklist", query_string={"limit": 2, "cursor": cursor}).get_json()
        observed += [item["patient"]["id"] for item in body["items"]]
        cursor = body["next"]
    assert observed == ["P4", "P3", "P2", "P1", "P0"]
    assert cursor is None
    page = web.client().get("/worklist?limit=2").text
    assert 'rel="next"' in page


def test_text_is_looked_for(web: Web) -> None:
    add_study(web.database, name="Müller^Ägidius", patient_id="1")
    add_study(web.database, name="Doe^Jane", patient_id="2")
    items = web.client().get("/api/v1/worklist?q=müller").get_json()["items"]
    assert [item["patient"]["id"] for item in items] == ["1"]
    assert "No matches" in web.client().get("/worklist?q=nobody-of-that-name").text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=done", "bad_state"),
        ("limit=0", "bad_limit"),
        ("limit=501", "bad_limit"),
        ("limit=00000500000", "bad_limit"),
        ("limit=-1", "bad_limit"),
        ("limit=x", "bad_limit"),
        ("limit=%C2%B2", "bad_limit"),
        ("limit=" + "9" * 5000, "bad_limit"),
        ("cursor=abc", "bad_cursor"),
        ("cursor=" + "A" * 3000, "bad_cursor"),
        ("q=" + "x" * 2001, "bad_text"),
        ("sort=random", "bad_sort"),
        ("reviewed=maybe", "bad_reviewed"),
        ("date_from=20260231", "bad_date"),
        ("date_to=yesterday", "bad_date"),
        ("min_probability=1.01", "bad_probability"),
        ("min_probability=nan", "bad_probability"),
        ("max_probability=50%25", "bad_probability"),
    ],
)
def test_what_is_not_understood_is_refused(web: Web, query: str, code: str) -> None:
    response = web.client().get(f"/api/v1/worklist?{query}")
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, code)


def test_names_never_become_markup(web: Web) -> None:
    add_study(web.database, name=STRANGE, patient_id="<b>id</b>", description='"><svg onload=alert(2)>')
    page = web.client().get("/worklist").text
    for text in ("<img src", "<b>id</b>", "<svg onload"):
        assert text not in page
    assert "{{7*7}}" in page  # a template's own marks stay text


def test_an_empty_worklist_says_so(web: Web) -> None:
    assert "No study yet" in web.client().get("/worklist").text


def listed(web: Web, query: str) -> list[str]:
    return [item["patient"]["id"] for item in web.client().get(f"/api/v1/worklist?{query}").get_json()["items"]]


def test_probability_date_and_review_can_be_asked_for(web: Web) -> None:
    for patient_id, likely in (("low", 0.1), ("high", 0.9)):
        study = add_study(web.database, patient_id=patient_id)
        finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=likely)])
    add_study(web.database, patient_id="none")
    assert listed(web, "min_probability=0.5") == ["high"]
    assert listed(web, "max_probability=0.5") == ["low"]
    assert listed(web, "sort=priority") == ["high", "low", "none"]
    assert listed(web, "sort=oldest") == ["low", "high", "none"]
    assert listed(web, "date_from=2026-01-14&date_to=20260114") == ["none", "high", "low"]
    assert listed(web, "date_from=2026-01-15") == []
    assert web.client().post(f"/api/v1/studies/{study.study_instance_uid}/review", json={"reviewed": True}).json == {
        "study_instance_uid": study.study_instance_uid,
        "reviewed": True,
    }
    assert listed(web, "reviewed=yes") == ["high"]
    assert listed(web, "sort=priority") == ["low", "none", "high"]


@pytest.mark.parametrize(
    ("sort", "expected", "direction", "column"),
    [
        ("", ["Abel", "Çelik", "abel"], "descending", "newest"),
        ("oldest", ["abel", "Çelik", "Abel"], "ascending", "newest"),
        ("patient", ["abel", "Abel", "Çelik"], "ascending", "patient"),
        ("patient_desc", ["Çelik", "Abel", "abel"], "descending", "patient"),
        ("study_date", ["Çelik", "abel", "Abel"], "ascending", "study_date_desc"),
        ("study_date_desc", ["Abel", "abel", "Çelik"], "descending", "study_date_desc"),
        ("priority", ["abel", "Çelik", "Abel"], "other", "priority"),
    ],
)
def test_the_order_is_in_the_url_and_at_its_column(
    web: Web, sort: str, expected: list[str], direction: str, column: str
) -> None:
    for name, study_date in (("abel", "20260114"), ("Çelik", "20251231"), ("Abel", "20260115")):
        add_study(web.database, name=name, patient_id=f"P-{study_date}", study_date=study_date)
    client = web.client()
    items = client.get(f"/api/v1/worklist?sort={sort}").get_json()["items"]
    assert [item["patient"]["name"] for item in items] == expected
    page = client.get(f"/worklist?sort={sort}").text
    (header,) = re.findall(r'<th [^>]*aria-sort="(\w+)"[^>]*>\s*<a [^>]*data-column="(\w+)"', page)
    assert header == (direction, column)
    assert [page.index(f"<bdi>{name}</bdi>") for name in expected] == sorted(
        page.index(f"<bdi>{name}</bdi>") for name in expected
    )


def test_a_study_is_assigned_taken_over_and_released_on_record(locked: Web) -> None:
    study = add_study(locked.database)
    url = f"/api/v1/studies/{study.study_instance_uid}/assignment"
    person, form_token = locked.signed_in(Role.RADIOLOGIST)
    as_person, as_program = {"X-CSRF-Token": form_token}, locked.bearer(Role.RADIOLOGIST)
    program = "token:program-radiologist"

    def assign(is_assigned: object, headers: dict[str, str], client: FlaskClient) -> TestResponse:
        return client.post(url, json={"assigned": is_assigned}, headers=headers)

    for body, headers, client, expected in (
        (True, as_person, person, "radiologist"),
        (True, as_person, person, "radiologist"),
        (True, as_program, locked.client(), program),
        (False, as_person, person, None),
        (False, as_person, person, None),
    ):
        response = assign(body, headers, client)
        assert (response.status_code, response.get_json()["assigned_to"]) == (200, expected)
        (item,) = person.get("/api/v1/worklist").get_json()["items"]
        assert item["assigned_to"] == expected
        page = person.get("/worklist").text
        assert (f"assigned to {expected}" in page) is (expected is not None)
        assert ('data-act="unassign"' in page) is (expected == "radiologist")
    with locked.database.read() as session:
        events = [entry.event for entry in audit.recent(session, limit=20) if "assigned" in entry.event.action]
    assert [(event.action, event.actor, event.details["before"]) for event in reversed(events)] == [
        ("study:assigned", "radiologist", None),
        ("study:assigned", program, "radiologist"),
        ("study:unassigned", "radiologist", program),
    ]
    assert assign("yes", as_person, person).status_code == 400
    assert assign(True, locked.bearer(Role.ADMIN), locked.client()).status_code == 403


def test_another_reader_is_named_and_neither_loses_a_verdict(locked: Web) -> None:
    study = add_study(locked.database)
    finish(locked.database, study, [finding_at(study.sop_instance_uids[0], 10, 20)])
    url = f"/api/v1/studies/{study.study_instance_uid}"
    person, form_token = locked.signed_in(Role.RADIOLOGIST)
    program = locked.client()
    as_person, as_program = {"X-CSRF-Token": form_token}, locked.bearer(Role.RADIOLOGIST)
    event = {"event": "opened", "model_hidden": False, "seconds": 0}
    assert person.post(f"{url}/readings", json=event, headers=as_person).status_code == 201
    assert program.get(url, headers=as_program).get_json()["readers"] == ["radiologist"]
    assert person.get(url).get_json()["readers"] == []
    assert "radiologist is reading" in program.get("/worklist", headers=as_program).text
    assert "is reading" not in person.get("/worklist").text
    program.post(f"{url}/readings", json=event, headers=as_program)
    finding_id = person.get(url).get_json()["findings"][0]["id"]
    verdict_url = f"/api/v1/findings/{finding_id}/assessment"
    assert person.post(verdict_url, json={"verdict": "reject"}, headers=as_person).status_code == 201
    assert program.post(verdict_url, json={"verdict": "accept"}, headers=as_program).status_code == 201
    with locked.database.read() as session:
        given = [(one.reader, one.verdict) for one in findings.assessments_of_finding(session, finding_id)]
    assert given == [("radiologist", "reject"), ("token:program-radiologist", "accept")]


@pytest.mark.parametrize("is_blind", [False, True])
def test_stat_is_shown_on_list_and_study_and_comes_first_by_priority(web: Web, is_blind: bool) -> None:
    urgent = add_study(web.database, patient_id="urgent", is_stat=True)
    likely = add_study(web.database, patient_id="likely")
    finish(web.database, likely, [finding_at(likely.sop_instance_uids[0], 10, 20, malignancy=0.9)])
    client = web.client()
    if is_blind:
        client.set_cookie(COOKIE, "yes")
    items = client.get("/api/v1/worklist?sort=priority").get_json()["items"]
    assert [(item["patient"]["id"], item["is_stat"]) for item in items] == [("urgent", True), ("likely", False)]
    for path, count in (
        ("/worklist", 1),
        (f"/studies/{urgent.study_instance_uid}", 1),
        (f"/studies/{likely.study_instance_uid}", 0),
    ):
        assert client.get(path).text.count(">STAT</b>") == count


def test_a_blind_reader_cannot_sort_by_what_the_model_says(web: Web) -> None:
    add_study(web.database)
    client = web.client()
    client.set_cookie(COOKIE, "yes")
    page = client.get("/worklist").text
    assert 'data-column="priority"' not in page
    assert 'data-column="patient"' in page


def test_the_page_says_what_waits_too_long(make_web: Callable[..., Web]) -> None:
    web = make_web(max_wait_s=0.0)
    moment = datetime.now(UTC)
    web.database._clock = lambda: moment
    add_study(web.database)
    page = web.client().get("/worklist").text
    assert "unread 0 s" in page
    assert "waiting over 0 s" in page


def test_a_review_needs_yes_or_no_and_a_study(web: Web) -> None:
    study = add_study(web.database)
    url = f"/api/v1/studies/{study.study_instance_uid}/review"
    bodies: list[object] = [{}, {"reviewed": "yes"}, []]
    for body in bodies:
        assert web.client().post(url, json=body).status_code == 400
    assert web.client().post("/api/v1/studies/1.2.999/review", json={"reviewed": True}).status_code == 404


def test_a_review_is_a_readers_act_and_on_record(locked: Web) -> None:
    study = add_study(locked.database)
    url = f"/api/v1/studies/{study.study_instance_uid}/review"
    client = locked.client()
    assert client.post(url, json={"reviewed": True}, headers=locked.bearer(Role.ADMIN)).status_code == 403
    assert client.post(url, json={"reviewed": True}, headers=locked.bearer(Role.RADIOLOGIST)).status_code == 200
    with locked.database.read() as session:
        latest = audit.recent(session, limit=1)[0].event
    assert (latest.action, latest.actor) == ("study:reviewed", "token:program-radiologist")


def test_filters_are_saved_shown_and_removed(web: Web) -> None:
    client = web.client()
    query = {"state": "failed", "q": "", "sort": "newest", "min_probability": "0.2", "cursor": "x"}
    created = client.post("/api/v1/worklist/filters", json={"name": "To <b>do</b>", "query": query})
    assert created.status_code == 201
    assert created.get_json()["query"] == {"state": "failed", "min_probability": "0.2"}
    assert created.get_json()["url"] == "/worklist?state=failed&min_probability=0.2"
    page = client.get(created.get_json()["url"]).text
    assert "To &lt;b&gt;do&lt;/b&gt;" in page
    assert 'aria-current="true"><bdi>To' in page
    assert client.get("/api/v1/worklist/filters").json == {"filters": [created.json]}
    assert client.delete(f"/api/v1/worklist/filters/{created.get_json()['id']}").status_code == 204
    assert client.get("/api/v1/worklist/filters").json == {"filters": []}


@pytest.mark.parametrize("name", ["limit", "state", "q", "date_from", "min_probability", "reviewed", "sort", "cursor"])
@pytest.mark.parametrize("empty", ["", " ", "%09"])
def test_blank_parameters_are_as_if_they_were_left_out(web: Web, name: str, empty: str) -> None:
    assert web.client().get(f"/api/v1/worklist?{name}={empty}").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "query": {"state": 1}},
        {"name": "x", "query": {"state": "done"}},
        {"name": "x", "query": {"patient": "y"}},
        {"name": "x", "query": {"State": "queued"}},
    ],
)
def test_a_filter_that_shows_nothing_is_not_saved(web: Web, body: dict[str, object]) -> None:
    assert web.client().post("/api/v1/worklist/filters", json=body).status_code == 400


def test_a_reader_sees_only_the_own_filters(locked: Web) -> None:
    client, reader, admin = locked.client(), locked.bearer(Role.RADIOLOGIST), locked.bearer(Role.ADMIN)
    created = client.post("/api/v1/worklist/filters", json={"name": "Mine", "query": {}}, headers=reader).get_json()
    assert client.get("/api/v1/worklist/filters", headers=admin).json == {"filters": []}
    assert client.delete(f"/api/v1/worklist/filters/{created['id']}", headers=admin).status_code == 404
