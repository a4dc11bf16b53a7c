"""Sizes that readers measure: in millimetres by the frame, part of a verdict, undone with it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from db.audit import trail as audit
from db.tables.ground_truth import AssessmentRow
from tests.support.webapp_doubles import Study
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import assess, finding_of, shown_study

LONG, SHORT = [[10.0, 10.0], [10.0, 20.0]], [[8.0, 15.0], [12.0, 15.0]]
"""Ten columns of 0.8 mm, and four rows of 0.7 mm."""


@pytest.fixture
def study(web: Web) -> Study:
    return shown_study(web)


def size(study: Study, **other: Any) -> dict[str, Any]:
    return {"sop_instance_uid": study.sop_instance_uids[1], "frame_number": 1, "axes": [LONG, SHORT], **other}


def measure(web: Web, study: Study, verdict: str = "accept", **other: Any) -> TestResponse:
    return assess(web, finding_of(web, study)["id"], verdict=verdict, size=size(study, **other))


@pytest.mark.parametrize("axes", [[LONG, SHORT], [SHORT, LONG], [LONG[::-1], SHORT]])
def test_a_size_is_measured_by_the_frame_s_spacing_the_longer_axis_first(
    web: Web, study: Study, axes: list[Any]
) -> None:
    response = measure(web, study, axes=axes)
    assert response.status_code == 201
    given = finding_of(web, study)["assessment"]["size"]
    assert given == response.get_json()["assessment"]["size"]
    assert (given["long_mm"], given["short_mm"], given["mean_mm"]) == (8.0, 2.8, 5.4)
    assert sorted(given["long_axis"]) == sorted(LONG)
    assert given["short_axis"] == SHORT
    assert given["sop_instance_uid"] == study.sop_instance_uids[1]
    with web.database.read() as session:
        (entry,) = audit.recent(session, subject=str(finding_of(web, study)["id"]))
    assert (entry.event.details["long_mm"], entry.event.details["short_mm"]) == (8.0, 2.8)


def test_the_size_goes_on_with_further_verdicts_and_is_withdrawn_with_its_own(web: Web, study: Study) -> None:
    assert measure(web, study, "unsure").status_code == 201
    finding = finding_of(web, study)
    assert assess(web, finding["id"], verdict="accept", comment="grown").get_json()["assessment"]["size"] is not None
    assert measure(web, study, axes=[LONG, LONG]).get_json()["assessment"]["size"]["short_mm"] == 8.0
    url = f"/api/v1/findings/{finding['id']}/assessment"
    shorts = [web.client().delete(url).get_json()["assessment"]["size"]["short_mm"] for _ in range(2)]
    assert shorts == [2.8, 2.8]
    assert web.client().delete(url).get_json()["assessment"] is None
    assert assess(web, finding["id"], verdict="accept").get_json()["assessment"]["size"] is None


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"axes": [LONG]}, "invalid_field"),
        ({"axes": [LONG, SHORT, SHORT]}, "invalid_field"),
        ({"axes": [LONG, [[1, 2, 3], [4, 5, 6]]]}, "invalid_field"),
        ({"axes": [LONG, [["1", 2], [3, 4]]]}, "invalid_field"),
        ({"axes": [LONG, [[-1, 2], [3, 4]]]}, "invalid_field"),
        ({"axes": [LONG, [[float("nan"), 2], [3, 4]]]}, "invalid_field"),
        ({"axes": [LONG, [[1e9, 2], [3, 4]]]}, "invalid_field"),
        ({"axes": None}, "invalid_field"),
        ({"frame_number": 0}, "invalid_field"),
        ({"frame_number": 2}, "no_such_frame"),
        ({"sop_instance_uid": "1.2.3"}, "no_such_frame"),
        ({"sop_instance_uid": "x"}, "invalid_field"),
        ({"axes": [LONG, [[0, 0], [65, 0]]]}, "outside_image"),
        ({"axes": [LONG, [[0, 0], [0, 49]]]}, "outside_image"),
        ({"axes": [LONG, [[5, 5], [5, 5]]]}, "bad_size"),
    ],
)
def test_a_size_that_is_none_is_refused_and_no_verdict_is_recorded(
    web: Web, study: Study, other: dict[str, Any], code: str
) -> None:
    response = measure(web, study, **other)
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, code)
    assert finding_of(web, study)["assessment"] is None


@pytest.mark.parametrize("value", [3, "size", [], {}, {"axes": [LONG, SHORT]}])
def test_a_size_of_another_kind_is_refused(web: Web, study: Study, value: object) -> None:
    response = assess(web, finding_of(web, study)["id"], verdict="accept", size=value)
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, "invalid_field")


def test_nothing_is_measured_without_pixel_spacing(web: Web, study: Study) -> None:
    key = study.study_instance_uid, study.series_instance_uid
    volume, uids, _ = web.images.volumes[key]
    web.images.volumes[key] = volume, uids, (2.5, 0.0, 0.0)
    assert measure(web, study).get_json()["error"]["code"] == "no_spacing"


def test_the_database_holds_the_instance_by_its_own_id(web: Web, study: Study) -> None:
    measure(web, study)
    with web.database.read() as session:
        stored = session.scalars(select(AssessmentRow.size)).one()
    assert stored is not None
    assert study.sop_instance_uids[1] not in str(stored)


def test_a_blinded_reader_keeps_the_own_size(web: Web, study: Study) -> None:
    measure(web, study)
    hidden = web.client().get(f"/api/v1/studies/{study.study_instance_uid}", headers={"X-Lungnode-Model": "hidden"})
    for finding in hidden.get_json()["findings"]:
        assert finding["diameter_mm"] is None or finding["assessment"]["size"]["long_mm"] == 8.0
