"""One study: viewer, slices, findings, verdicts and jobs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from db.analyses import analyses
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.errors import DatabaseUnavailableError, UnknownRecordError
from db.domain.masks import FindingAxes, FindingMask, MaskSlice
from db.domain.reasons import Reason
from db.domain.studies import StudyState
from db.results import deliveries as sent
from db.tables.analyses import FindingMaskRow
from inference.malignancy.submodels import doubts
from tests.support.webapp_doubles import MODEL, Study, add_study, finding_at, finish, put_in_state, uid
from tests.unit.webapp.conftest import Web
from webapp.http.errors import UnfitInputError
from webapp.services import view_audit
from webapp.services.view_audit import WINDOW_S, ViewAudit, ViewLog

FINDING_FIELDS = {
    *("id", "series_instance_uid", "sop_instance_uid", "row", "column", "position_mm", "diameter_mm"),
    *("nodule_probability", "malignancy_probability", "interval", "origin", "verdict"),
}


@pytest.fixture
def study(web: Web) -> Study:
    """An analysed study with a finding, whose slices can be shown."""
    return shown_study(web)


def shown_study(web: Web) -> Study:
    study = add_study(web.database)
    volume = np.linspace(-1000, 400, 3 * 64 * 48, dtype=np.int16).reshape(3, 64, 48)
    web.images.volumes[study.study_instance_uid, study.series_instance_uid] = (
        volume,
        study.sop_instance_uids,
        (2.5, 0.7, 0.8),
    )
    finish(web.database, study, [finding_at(study.sop_instance_uids[1], 30, 20)])
    return study


def api(study: Study, *parts: str) -> str:
    return "/".join(("/api/v1/studies", study.study_instance_uid, *parts))


def finding_of(web: Web, study: Study) -> dict[str, Any]:
    return web.client().get(api(study)).get_json()["findings"][0]


def test_a_study_is_given_as_documented(web: Web, study: Study) -> None:
    body = web.client().get(api(study)).get_json()
    assert body["series"][0]["series_instance_uid"] == study.series_instance_uid
    analysis = body["analyses"][0]
    assert analysis["status"] == "current"
    assert analysis["model"] == {"name": MODEL.name, "version": MODEL.version, "sha256": MODEL.sha256}
    assert {"id", "series_instance_uid", "model", "status", "reasons", "started_at", "finished_at"} <= set(analysis)
    finding = body["findings"][0]
    assert set(finding) >= FINDING_FIELDS
    assert (finding["row"], finding["column"], finding["diameter_mm"]) == (30, 20, 12.4)
    assert finding["position_mm"] == [-40.0, 12.0, 30.0]
    assert (finding["origin"], finding["verdict"]) == ("model", None)
    assert finding["interval"] == [0.5564, 0.8712]
    assert finding["displayed"] == "55 to 88 % (25 of 34 similar)"
    assert finding["displayed_basis"] == (
        "25 of 34 calibration nodules with a similar score were rated malignant by radiologists (55 to 88 %)"
    )
    assert finding["displayed_nodule"] == "> 82 % (32 of 34 similar)"


def test_a_finding_recorded_without_evidence_shows_no_percentage(web: Web) -> None:
    study = add_study(web.database)
    old = finding_at(study.sop_instance_uids[0], 30, 20, malignancy=0.998)
    finish(web.database, study, [replace(old, attributes={}, interval=None)])
    body = web.client().get(api(study)).get_json()
    assert (body["malignancy_probability"], body["displayed"], body["interval"]) == (0.998, "No percentage", None)
    (finding,) = body["findings"]
    assert (finding["displayed"], finding["displayed_nodule"]) == ("No percentage", "No percentage")
    page = web.client().get(f"/studies/{study.study_instance_uid}").text
    row = page.split('class="finding-row"', 1)[1].split("</li>", 1)[0]
    assert "No percentage" in row
    assert "99" not in row.replace(finding["id"], "")


def test_a_finding_carries_both_opinions_and_the_doubt_in_the_words_of_the_model(web: Web, study: Study) -> None:
    described = web.client().get(f"/api/v1/studies/{study.study_instance_uid}").get_json()["findings"][0]["attributes"]
    opinions = {name: opinion["probability"] for name, opinion in described["opinions"].items()}
    assert described["doubts"] == list(doubts(opinions, 0.16))
    assert described["doubts"] != []


def test_a_superseded_analysis_stays_readable_and_its_findings_do_not_count(web: Web, study: Study) -> None:
    web.client().post(api(study, "analyses"))
    with web.database.begin() as session:
        pending = analyses.pending_analyses(session)[0]
        analyses.start_analysis(session, pending.id)
    body = web.client().get(api(study)).get_json()
    assert [entry["status"] for entry in body["pending_analyses"]] == ["running"]
    with web.database.begin() as session:
        analyses.complete_analysis(session, pending.id, AnalysisOutcome())
    body = web.client().get(api(study)).get_json()
    assert sorted(entry["status"] for entry in body["analyses"]) == ["current", "superseded"]
    assert body["findings"] == []


def test_what_was_sent_stands_with_its_status(web: Web, study: Study) -> None:
    with web.database.begin() as session:
        analysis = analyses.analyses_of_study(session, session.info.get("x", "")) or ()
        assert analysis == ()
    analysis_id = web.client().get(api(study)).get_json()["analyses"][0]["id"]
    with web.database.begin() as session:
        sent.request_delivery(
            session,
            analysis_id=analysis_id,
            sop_instance_uid=uid(),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
            kind="SR",
            destination="PACS",
            path="x",
        )
    delivery = web.client().get(api(study)).get_json()["deliveries"][0]
    assert (delivery["kind"], delivery["destination"], delivery["status"]) == ("SR", "PACS", "pending")
    assert "SR to PACS" in web.client().get(f"/studies/{study.study_instance_uid}").text


@pytest.mark.parametrize("path", ["", "/series/1.9/slices"])
def test_a_study_that_is_not_there(web: Web, path: str) -> None:
    assert web.client().get(f"/api/v1/studies/1.2.9{path}").status_code == 404
    assert web.client().get("/studies/1.2.9").status_code == 404


@pytest.mark.parametrize("text", ["..", "%2e%2e%2fetc", "1.2'--", "1" * 65, "1.2%00.3", "<b>"])
def test_what_is_no_uid_is_no_page(web: Web, text: str) -> None:
    assert web.client().get(f"/studies/{text}").status_code in (404, 308)
    assert web.client().get(f"/api/v1/studies/{text}").status_code == 404


def test_slices_come_in_order_with_their_geometry(web: Web, study: Study) -> None:
    body = web.client().get(api(study, "series", study.series_instance_uid, "slices")).get_json()
    assert [entry["sop_instance_uid"] for entry in body["slices"]] == list(reversed(study.sop_instance_uids))
    first = body["slices"][0]
    assert (first["rows"], first["columns"]) == (64, 48)
    assert (first["row_spacing_mm"], first["column_spacing_mm"]) == (0.7, 0.8)
    assert first["orientation"] == [1, 0, 0, 0, 1, 0]


def point_on(study: Study, **changes: object) -> dict[str, object]:
    return {
        "series_instance_uid": study.series_instance_uid,
        "sop_instance_uid": study.sop_instance_uids[0],
        "row": 12,
        "column": 33.5,
        **changes,
    }


def test_a_reader_points_at_a_nodule(web: Web, study: Study) -> None:
    response = web.client().post(api(study, "findings"), json=point_on(study))
    finding = response.get_json()
    assert response.status_code == 201
    assert (finding["origin"], finding["created_by"], finding["row"], finding["column"]) == (
        "reader",
        "local",
        12,
        33.5,
    )
    assert finding["malignancy_probability"] == 0.42
    assert len(web.client().get(api(study)).get_json()["findings"]) == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"row": None}, 422),
        ({"row": "12"}, 422),
        ({"row": -1}, 422),
        ({"column": True}, 422),
        ({"frame_number": 0}, 422),
        ({"series_instance_uid": "../x"}, 422),
        ({"sop_instance_uid": None}, 422),
        ({"sop_instance_uid": "1.2.999"}, 404),
        ({"series_instance_uid": "1.2.999"}, 404),
    ],
)
def test_a_place_that_is_none_is_refused(web: Web, study: Study, changes: dict[str, object], status: int) -> None:
    assert web.client().post(api(study, "findings"), json=point_on(study, **changes)).status_code == status


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"row=1", "text/plain", 415),
        (b"", "application/json", 400),
        (b"[" * 30_000 + b"]" * 30_000, "application/json", 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "application/json", 400),
        (b'{"row": ' + b"9" * 60_000 + b"}", "application/json", 400),
        (b'{"row": NaN}', "application/json", 422),
        (b'{"row": 1e999}', "application/json", 422),
        (b'{"series_instance_uid": "' + b"1" * 60_000 + b'"}', "application/json", 422),
        (b"\xff\xfe", "application/json", 400),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    web: Web, study: Study, data: bytes, content_type: str, status: int
) -> None:
    response = web.client().post(api(study, "findings"), data=data, content_type=content_type)
    assert response.status_code == status
    assert response.get_json()["error"]["reference"]


def test_a_point_that_cannot_be_analysed_is_refused(web: Web, study: Study) -> None:
    web.predictor.fails = UnfitInputError(422, "no_geometry", "The series has no usable geometry.")
    response = web.client().post(api(study, "findings"), json=point_on(study))
    assert (response.status_code, response.get_json()["error"]["code"]) == (422, "no_geometry")
    assert len(web.client().get(api(study)).get_json()["findings"]) == 1


def assess(web: Web, finding_id: object, **body: object) -> TestResponse:
    return web.client().post(f"/api/v1/findings/{finding_id}/assessment", json=body)


def test_all_verdicts_are_recorded_and_the_latest_counts(web: Web, study: Study) -> None:
    finding = finding_of(web, study)
    assert assess(web, finding["id"], verdict="accept").status_code == 201
    response = assess(web, finding["id"], verdict="reject", reason="Vessel", comment="runs on")
    assert response.get_json()["verdict"] == "reject"
    latest = finding_of(web, study)["assessment"]
    assert (latest["verdict"], latest["reason"], latest["comment"], latest["reader"]) == (
        "reject",
        "Vessel",
        "runs on",
        "local",
    )
    with web.database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, subject=str(finding["id"]))]
    assert actions == ["finding:rejected", "finding:accepted"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"verdict": "maybe"}, 400),
        ({"verdict": ["accept"]}, 400),
        ({"verdict": None}, 400),
        ({"verdict": "accept", "reason": 3}, 422),
        ({"verdict": "accept", "comment": "x" * 2001}, 422),
    ],
)
def test_a_verdict_that_is_none_is_refused(web: Web, study: Study, body: dict[str, object], status: int) -> None:
    finding = finding_of(web, study)
    assert assess(web, finding["id"], **body).status_code == status
    assert finding_of(web, study)["verdict"] is None


def test_a_finding_that_is_not_there(web: Web) -> None:
    assert assess(web, "f" * 32, verdict="accept").status_code == 404


def test_a_verdict_carries_the_reader_s_name(locked: Web) -> None:
    study = shown_study(locked)
    headers = locked.bearer(Role.RADIOLOGIST)
    finding = locked.client().get(api(study), headers=headers).get_json()["findings"][0]
    url = f"/api/v1/findings/{finding['id']}/assessment"
    response = locked.client().post(url, json={"verdict": "unsure"}, headers=headers)
    assert response.get_json()["assessment"]["reader"] == "token:program-radiologist"


def test_a_rerun_is_a_job_and_never_a_call(web: Web, study: Study) -> None:
    response = web.client().post(api(study, "analyses"))
    assert response.status_code == 202
    assert [entry["status"] for entry in response.get_json()["analyses"]] == ["queued"]
    with web.database.read() as session:
        pending = analyses.pending_analyses(session)
    assert [(entry.status, entry.requested_by, entry.run_number) for entry in pending] == [
        (AnalysisStatus.QUEUED, "local", 2)
    ]
    assert web.predictor.calls == []


REFUSED = Reason("derived", "The series was derived from other images (reformatted, projected or captured).")
WHY = "only this reconstruction was sent"
BUTTON = re.compile(r"<button[^>]* data-overrule((?: hidden)?)>")


def refused_study(web: Web, *reasons: Reason) -> Study:
    study = add_study(web.database)
    finish(web.database, study, [], reasons=reasons)
    return study


def overrule(web: Web, study: Study, codes: object = ("derived",), reason: object = WHY) -> TestResponse:
    codes = list(codes) if isinstance(codes, tuple) else codes
    return web.client().post(api(study, "overruled"), json={"overrule": codes, "reason": reason})


def test_a_refusal_is_overruled_with_who_what_and_why(web: Web) -> None:
    study = refused_study(web, REFUSED)
    response = overrule(web, study)
    assert response.status_code == 202
    (asked,) = response.get_json()["analyses"]
    assert asked["overruled"] == [{"code": "derived", "text": WHY}]
    with web.database.read() as session:
        (pending,) = analyses.pending_analyses(session)
        (entry,) = audit.about(session, [pending.id], actions=["refusal:overruled"])
    assert (pending.overruled, pending.requested_by) == ((Reason("derived", WHY),), "local")
    assert entry.event.actor == "local"
    assert entry.event.details == {"codes": ["derived"], "reason": WHY}


def test_a_later_analysis_does_not_inherit_what_was_overruled(web: Web) -> None:
    study = refused_study(web, REFUSED)
    overrule(web, study)
    assert web.client().get(api(study)).get_json()["overrulable"] == []  # one is pending
    assert overrule(web, study).get_json()["error"]["code"] == "nothing_to_overrule"
    with web.database.begin() as session:
        (pending,) = analyses.pending_analyses(session)
        analyses.start_analysis(session, pending.id)
        analyses.complete_analysis(session, pending.id, AnalysisOutcome())
    web.client().post(api(study, "analyses"))
    with web.database.read() as session:
        assert [record.overruled for record in analyses.pending_analyses(session)] == [()]


@pytest.mark.parametrize(
    "code",
    [
        *("missing_rescale", "invalid_rescale", "not_hounsfield", "localizer", "burned_in", "gaps", "uneven_spacing"),
        *("gantry_tilt", "mixed_stacks", "repeated_positions", "not_ct", "unreadable", "anything"),
    ],
)
def test_what_makes_an_answer_wrong_cannot_be_overruled(web: Web, code: str) -> None:
    study = refused_study(web, Reason(code, "Refused."))
    assert overrule(web, study, (code,)).status_code == 400
    assert overrule(web, study, ("derived",)).get_json()["error"]["code"] == "nothing_to_overrule"
    assert web.client().get(api(study)).get_json()["overrulable"] == []
    assert BUTTON.findall(web.client().get(f"/studies/{study.study_instance_uid}").text) == [" hidden"]


@pytest.mark.parametrize(
    ("codes", "reason"), [((), WHY), ("derived", WHY), ([1], WHY), (("derived",), " "), (None, WHY), (("derived",), 3)]
)
def test_an_overruling_without_codes_or_reason_is_refused(web: Web, codes: object, reason: object) -> None:
    assert overrule(web, refused_study(web, REFUSED), codes, reason).status_code in (400, 422)


def test_a_finding_of_another_kernel_can_be_overruled(web: Web) -> None:
    study = add_study(web.database)
    finding = finding_at(study.sop_instance_uids[1], 30, 20)
    unrated = replace(
        finding, malignancy_probability=None, interval=None, prediction_set=(), reasons=(Reason("kernel", "Another."),)
    )
    finish(web.database, study, [unrated])
    client = web.client()
    client.set_cookie("lungnode_hide_model", "yes")
    assert client.get(api(study)).get_json()["overrulable"] == []  # it would say that there is a finding
    assert client.get(api(study), headers={"X-Lungnode-Model": "shown"}).get_json()["overrulable"] == ["kernel"]
    assert overrule(web, study, ("kernel",)).status_code == 202


@pytest.mark.parametrize(("role", "status"), [(Role.RADIOLOGIST, 202), (Role.ADMIN, 403), (Role.AUDITOR, 403)])
def test_only_a_radiologist_overrules(locked: Web, role: Role, status: int) -> None:
    study = refused_study(locked, REFUSED)
    body, headers = {"overrule": ["derived"], "reason": WHY}, locked.bearer(role)
    if role is not Role.AUDITOR:
        page = locked.client().get(f"/studies/{study.study_instance_uid}", headers=headers).text
        assert [result.group(1) for result in BUTTON.finditer(page)] == ([""] if role is Role.RADIOLOGIST else [])
    assert locked.client().post(api(study, "overruled"), json=body, headers=headers).status_code == status


def test_one_series_can_be_asked_for(web: Web, study: Study) -> None:
    body = {"series_instance_uid": study.series_instance_uid}
    assert web.client().post(api(study, "analyses"), json=body).status_code == 202
    assert web.client().post(api(study, "analyses"), json={"series_instance_uid": "1.2.999"}).status_code == 404
    other = shown_study(web)
    assert web.client().post(api(other, "analyses"), json=body).status_code == 404
    assert web.client().post("/api/v1/studies/1.2.999/analyses").status_code == 404


def test_a_study_that_is_being_received_is_not_analysed_again_yet(web: Web) -> None:
    study = add_study(web.database)
    for body in ({}, {"series_instance_uid": study.series_instance_uid}):
        response = web.client().post(api(study, "analyses"), json=body)
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "still_receiving")


def test_without_a_model_nothing_is_asked_for(web: Web, study: Study) -> None:
    web.predictor.has_model = False
    assert web.client().post(api(study, "analyses")).status_code == 503


def test_a_study_can_be_declared_complete(web: Web) -> None:
    study = add_study(web.database)
    response = web.client().post(api(study, "complete"))
    assert response.status_code == 202
    assert [entry["series_instance_uid"] for entry in response.get_json()["series"]] == [study.series_instance_uid]
    assert web.client().post("/api/v1/studies/1.2.999/complete").status_code == 404


def test_the_viewer_shows_whose_images_these_are_and_keeps_it_out_of_the_title(web: Web, study: Study) -> None:
    response = web.client().get(f"/studies/{study.study_instance_uid}")
    page = response.text
    assert "Doe, Jane" in page
    assert "PID-1" in page
    assert "(64 y at the study)" in page
    assert "<title>Study · lungnode</title>" in page
    assert "second reader, not a diagnosis" in page
    assert response.headers["Cache-Control"] == "no-store"


def looks(web: Web) -> list[AuditEvent]:
    with web.database.read() as session:
        return [entry.event for entry in audit.recent(session) if entry.event.action == "study:viewed"]


def ways_to_look(study: Study) -> list[str]:
    return [
        f"/studies/{study.study_instance_uid}",
        api(study),
        api(study, "series", study.series_instance_uid, "slices"),
    ]


@pytest.mark.parametrize("way", range(3))
def test_looking_at_a_study_goes_on_record(web: Web, study: Study, way: int) -> None:
    assert web.client().get(ways_to_look(study)[way]).status_code == 200
    event = looks(web)[0]
    assert (event.actor, event.subject) == ("local", study.series_id)
    assert "PID-1" not in str(event)
    assert study.study_instance_uid not in str(event)


def test_looking_goes_on_record_once_in_a_while_and_for_everyone(locked: Web) -> None:
    study = shown_study(locked)
    for role in (Role.RADIOLOGIST, Role.AUDITOR):
        for way in ways_to_look(study) * 2:
            assert locked.client().get(way, headers=locked.bearer(role)).status_code == 200
    assert [event.actor for event in looks(locked)] == ["token:program-auditor", "token:program-radiologist"]


def test_a_view_some_time_later_is_recorded_again(web: Web, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    log = ViewLog(web.database, clock=lambda: now[0])
    monkeypatch.setattr(view_audit, "MAX_ENTRIES", 2)

    def is_recorded(actor: str, uid: str = study.study_instance_uid) -> bool:
        before = len(looks(web))
        log.record(ViewAudit.STUDY, actor, uid)
        return len(looks(web)) > before

    assert is_recorded("reader")
    assert not is_recorded("reader")
    assert is_recorded("other")
    now[0] += WINDOW_S
    assert is_recorded("reader")
    assert is_recorded("third")
    assert is_recorded("other"), "the oldest entry was dropped"
    with pytest.raises(UnknownRecordError):
        log.record(ViewAudit.STUDY, "reader", "1.2.3")


def test_what_cannot_be_put_on_record_is_not_shown(web: Web, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseUnavailableError

    monkeypatch.setattr(audit, "append", fail)
    for way in ways_to_look(study):
        response = web.client().get(way)
        assert response.status_code == 503
        assert "Doe" not in response.text


@pytest.mark.parametrize("state", list(StudyState))
def test_the_viewer_opens_in_every_state(web: Web, state: StudyState) -> None:
    study = add_study(web.database)
    put_in_state(web.database, study, state)
    page = web.client().get(f"/studies/{study.study_instance_uid}").text
    expected = {StudyState.FAILED: "The analysis took too long.", StudyState.NOT_ANALYSED: "Fewer slices"}
    assert expected.get(state, "Findings") in page


def test_findings_without_a_probability_say_why(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 1, 1, malignancy=None)])
    finding = finding_of(web, study)
    assert finding["malignancy_probability"] is None
    assert finding["reasons"] == [{"code": "small", "text": "Too small for the malignancy model."}]


def test_names_never_become_markup_in_the_viewer(web: Web) -> None:
    study = add_study(web.database, name="</script><script>alert(1)</script>", description="'\"><img src=x>")
    finish(web.database, study, reasons=[Reason("x", "<i>why</i>")])
    page = web.client().get(f"/studies/{study.study_instance_uid}").text
    for text in ("<script>alert", "<img src=x>", "<i>why"):
        assert text not in page


def test_measured_masks_are_given_with_their_findings(web: Web) -> None:
    study = add_study(web.database)
    slices = tuple(MaskSlice(uid_, 1) for uid_ in study.sop_instance_uids[:2])
    axes = FindingAxes(1, ((29.5, 18.25), (33.0, 22.0)), ((33.0, 18.0), (29.0, 22.0)))
    mask = FindingMask(slices, 29, 18, 5, 5, (7, 30, 13), axes)
    measured = replace(finding_at(study.sop_instance_uids[1], 30, 20), mask=mask)
    finish(web.database, study, [measured, finding_at(study.sop_instance_uids[0], 9, 9)])
    (answer,) = web.client().get(api(study, "masks")).get_json()["masks"]
    assert answer.pop("finding_id") in {one["id"] for one in web.client().get(api(study)).get_json()["findings"]}
    assert answer == {
        "slices": [{"sop_instance_uid": one, "frame_number": 1} for one in study.sop_instance_uids[:2]],
        "row": 29, "column": 18, "rows": 5, "columns": 5, "runs": [7, 30, 13],
        "axes": {"slice_index": 1, "long": [[29.5, 18.25], [33.0, 22.0]], "short": [[33.0, 18.0], [29.0, 22.0]]},
    }  # fmt: skip
    assert "mask" not in web.client().get(api(study)).get_json()["findings"][0]
    with web.database.begin() as session:
        session.scalars(select(FindingMaskRow)).one().runs = [1, 2]
    refused = web.client().get(api(study, "masks"))
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (500, "damaged_record")


def test_masks_are_withheld_from_a_blinded_reader_and_of_no_study_there_are_none(web: Web) -> None:
    study, blinded = add_study(web.database), web.client()
    blinded.set_cookie("lungnode_hide_model", "yes")
    mask = FindingMask((MaskSlice(study.sop_instance_uids[1], 1),), 29, 18, 5, 5, (7, 10, 8))
    finish(web.database, study, [replace(finding_at(study.sop_instance_uids[1], 30, 20), mask=mask)])
    assert blinded.get(api(study, "masks")).get_json() == {"masks": []}
    shown = blinded.get(api(study, "masks"), headers={"X-Lungnode-Model": "shown"})
    assert len(shown.get_json()["masks"]) == 1
    assert web.client().get("/api/v1/studies/1.9/masks").status_code == 404
