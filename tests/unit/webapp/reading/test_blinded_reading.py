"""Blinded reading: no model output, count or revealing order is sent before the review."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from db.domain.accounts import Role
from tests.support.webapp_doubles import Study, add_study, finding_at, finish
from tests.unit.webapp.conftest import Web
from webapp.reading.blinded_reading import COOKIE, SHOWN_HEADER

SHOWN = {SHOWN_HEADER: "shown"}


def reader_of(web: Web) -> FlaskClient:
    client = web.client()
    client.set_cookie(COOKIE, "yes")
    return client


def answered(web: Web, patient_id: str, likely: float) -> Study:
    study = add_study(web.database, patient_id=patient_id)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=likely)])
    return study


@pytest.fixture
def studies(web: Web) -> list[Study]:
    """Three in order of arrival; their probabilities go another way."""
    return [answered(web, patient_id, likely) for patient_id, likely in (("a", 0.35), ("b", 0.81), ("c", 0.06))]


def test_the_worklist_shows_nothing_of_the_model(web: Web, studies: list[Study]) -> None:
    reader = reader_of(web)
    for item in reader.get("/api/v1/worklist").get_json()["items"]:
        described = ("finding_count", "malignancy_probability", "interval", "displayed", "top_diameter_mm")
        assert [item[name] for name in described] == [None] * len(described)
    blind, open_page = reader.get("/worklist").text, web.client().get("/worklist").text
    for text in ("28 of 34 similar", "12 of 34 similar", "12.4 mm", "By priority", 'name="min_probability"'):
        assert text in open_page
        assert text not in blind


@pytest.mark.parametrize("query", ["sort=priority", "sort=priority&min_probability=0.5", "sort=oldest"])
def test_neither_order_nor_bounds_tell_what_the_model_says(web: Web, studies: list[Study], query: str) -> None:
    items = reader_of(web).get(f"/api/v1/worklist?{query}").get_json()["items"]
    assert [item["patient"]["id"] for item in items] == ["a", "b", "c"]


def test_what_a_reader_is_done_with_is_shown_to_them(web: Web, studies: list[Study]) -> None:
    reader = reader_of(web)
    reader.post(f"/api/v1/studies/{studies[1].study_instance_uid}/review", json={"reviewed": True})
    items = reader.get("/api/v1/worklist?sort=oldest").get_json()["items"]
    described = {item["patient"]["id"]: item["malignancy_probability"] for item in items}
    assert described == {"a": None, "b": 0.81, "c": None}


def test_a_study_keeps_its_findings_back_until_they_are_asked_for(web: Web, studies: list[Study]) -> None:
    reader, url = reader_of(web), f"/api/v1/studies/{studies[1].study_instance_uid}"
    hidden = reader.get(url).get_json()
    assert (hidden["findings"], hidden["finding_count"], hidden["deliveries"]) == ([], None, [])
    assert hidden["series"] != []
    shown = reader.get(url, headers=SHOWN).get_json()
    assert shown["findings"][0]["malignancy_probability"] == 0.81
    assert shown == web.client().get(url).json


def test_a_readers_own_mark_is_shown_without_numbers(web: Web, studies: list[Study]) -> None:
    reader, url = reader_of(web), f"/api/v1/studies/{studies[0].study_instance_uid}"
    point = {
        "series_instance_uid": studies[0].series_instance_uid,
        "sop_instance_uid": studies[0].sop_instance_uids[1],
        "row": 5,
        "column": 6,
    }
    marked = reader.post(f"{url}/findings", json=point).get_json()
    verdict = reader.post(f"/api/v1/findings/{marked['id']}/assessment", json={"verdict": "accept"}).get_json()
    listed = reader.get(url).get_json()["findings"]
    assert [one["id"] for one in listed] == [marked["id"]]
    for described in (marked, verdict, *listed):
        assert (described["row"], described["column"]) == (5, 6)
        assert (described["malignancy_probability"], described["nodule_probability"], described["interval"]) == (
            None,
            None,
            None,
        )
        assert (described["diameter_mm"], described["prediction_set"], described["attributes"]) == (None, [], {})
    assert verdict["verdict"] == "accept"
    assert reader.get(url, headers=SHOWN).get_json()["findings"][-1]["nodule_probability"] is not None


@pytest.mark.parametrize("choice", [None, "yes", "no"])
def test_the_worklist_asks_who_has_not_chosen(web: Web, choice: str | None) -> None:
    client = web.client()
    if choice:
        client.set_cookie(COOKIE, choice)
    assert ("data-first-visit" in client.get("/worklist").text) is (choice is None)


def test_who_may_not_review_is_not_asked(locked: Web) -> None:
    for role, is_asked in ((Role.RADIOLOGIST, True), (Role.ADMIN, False)):
        page = locked.client().get("/worklist", headers=locked.bearer(role)).text
        assert ("data-first-visit" in page) is is_asked
