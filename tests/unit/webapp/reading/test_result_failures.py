"""Results that could not be made are seen by readers and administrators, who can have it tried again."""

from __future__ import annotations

import html

from db.audit import trail as audit
from db.domain.accounts import Role
from db.results import failures as result_failures
from tests.support.webapp_doubles import Study, add_study, finding_at, finish
from tests.unit.webapp.conftest import Web
from webapp.reading.blinded_reading import COOKIE

REASON = "summary image (TypeError)"


def failed(web: Web) -> tuple[Study, str]:
    """A study of which the summary image could not be made, and the id of its analysis."""
    study = add_study(web.database, name="CANARY^PHI", patient_id="CANARY-ID")
    analysis_id = finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20)])
    with web.database.begin() as session:
        result_failures.record_failure(session, analysis_id, "report", REASON)
    return study, analysis_id


def test_worklist_and_study_say_what_could_not_be_made(web: Web) -> None:
    study, _ = failed(web)
    expected = [
        {"code": "results_failed", "text": f"Result objects for the PACS could not be created: {REASON}."},
    ]
    assert web.client().get("/api/v1/worklist").get_json()["items"][0]["result_failures"] == expected
    assert web.client().get(f"/api/v1/studies/{study.study_instance_uid}").get_json()["result_failures"] == expected
    for address in ("/worklist", f"/studies/{study.study_instance_uid}"):
        assert expected[0]["text"] in html.unescape(web.client().get(address).text)


def test_a_blinded_reader_gets_no_object_failures(web: Web) -> None:
    study, _ = failed(web)
    reader = web.client()
    reader.set_cookie(COOKIE, "yes")
    assert reader.get("/api/v1/worklist").get_json()["items"][0]["result_failures"] == []
    assert REASON not in reader.get(f"/studies/{study.study_instance_uid}").text


def test_the_administration_lists_it_and_has_it_tried_again(web: Web) -> None:
    study, analysis_id = failed(web)
    page = html.unescape(web.client().get("/admin", headers={"Accept": "text/html"}).text)
    assert "Summary image (TypeError)" in page
    assert f"/admin/results/{analysis_id}/retry" in page
    assert "Try again" in page
    assert "CANARY" not in page
    overview = web.client().get("/api/v1/admin").get_json()
    assert overview["result_failure_count"] == 1
    (listed,) = overview["result_failures"]
    assert (listed["study_instance_uid"], listed["purpose"], listed["attempts"]) == (
        study.study_instance_uid, "report", 1,
    )  # fmt: skip
    retried = web.client().post(f"/api/v1/admin/results/{analysis_id}/retry").get_json()["items"]
    assert [one["analysis_id"] for one in retried] == [analysis_id]
    with web.database.read() as session:
        assert [one.analysis_id for one in result_failures.due_failures(session)] == [analysis_id]
        assert "results:retried" in [entry.event.action for entry in audit.recent(session, limit=10)]


def test_what_did_not_fail_cannot_be_tried_again(web: Web) -> None:
    assert web.client().post(f"/api/v1/admin/results/{'0' * 32}/retry").status_code == 404


def test_only_administrators_may_try_again(locked: Web) -> None:
    _, analysis_id = failed(locked)
    for role in Role:
        response = locked.client().post(f"/api/v1/admin/results/{analysis_id}/retry", headers=locked.bearer(role))
        assert (response.status_code == 200) is (role is Role.ADMIN), role


def test_metrics_count_them(web: Web) -> None:
    failed(web)
    assert "lungnode_result_failures 1.0" in web.client().get("/metrics").text
