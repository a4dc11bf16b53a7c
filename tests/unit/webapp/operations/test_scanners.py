"""A study of a quarantined scanner: its numbers are shown on no page and to no role but auditors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from db.analyses import analyses, findings, quarantine
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding
from tests.support.webapp_doubles import MODEL, SCANNER, Study, add_study, finding_at
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import api, point_on
from tests.unit.webapp.test_access import VALUES, routes

HTML = {"Accept": "text/html"}
MEASURES: dict[str, object] = {
    "acquisition": {"Manufacturer": "Maker", "ManufacturerModelName": "One", "ConvolutionKernel": "B60f"},
    "spacing_mm": [1.0, 0.7, 0.7],
    "confirmed_count": 739127.5,
}
NUMBERS = ("0.4377", "15 of 34 similar", "0.8642", "117.3", "0.3991", "0.4713", "739127.5")
"""Probabilities, interval, diameter and measures of the finding; no clock and no id reads like one of them."""


def telling_finding(study: Study) -> NewFinding:
    finding = finding_at(study.sop_instance_uids[1], 55.0, 20, malignancy=0.4377)
    return replace(finding, diameter_mm=117.3, nodule_probability=0.8642, interval=(0.3991, 0.4713))


@pytest.fixture
def held(locked: Web) -> tuple[Study, str, str]:
    """A study of a held scanner with a finding; gives the study and the ids of analysis and finding."""
    study = add_study(locked.database)
    with locked.database.begin() as session:
        quarantine.quarantine_scanner(session, SCANNER, "noise went up", held_by="chief")
        record = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
        analyses.start_analysis(session, record.id)
        analyses.complete_analysis(session, record.id, AnalysisOutcome((telling_finding(study),), (), MEASURES))
        (finding,) = findings.findings_of_analysis(session, record.id)
    return study, record.id, finding.id


@pytest.fixture
def values(held: tuple[Study, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every address that has room for one name this study."""
    study, analysis_id, finding_id = held
    monkeypatch.setitem(VALUES, "study_uid", study.study_instance_uid)
    monkeypatch.setitem(VALUES, "series_uid", study.series_instance_uid)
    monkeypatch.setitem(VALUES, "sop_uid", study.sop_instance_uids[1])
    monkeypatch.setitem(VALUES, "finding_id", finding_id)
    monkeypatch.setitem(VALUES, "analysis_id", analysis_id)


def answers(web: Web, role: Role) -> Iterator[tuple[str, str]]:
    """Every GET of the app and what is answered, as a page and as data."""
    for endpoint, method, address in routes(web):
        if method == "GET" and endpoint not in ("events.stream", "static"):
            for accept in ("text/html", "application/json, application/dicom+json"):
                headers = web.bearer(role) | {"Accept": accept}
                with web.client().get(address, headers=headers) as response:
                    yield address, response.get_data().decode(errors="replace")


@pytest.mark.usefixtures("values")
@pytest.mark.parametrize("role", [Role.RADIOLOGIST, Role.SERVICE])
def test_no_address_shows_a_number_to_a_reader_or_a_program(locked: Web, role: Role) -> None:
    observed = list(answers(locked, role))
    assert len(observed) > 50
    described = [(address, number) for address, text in observed for number in NUMBERS if number in text]
    assert described == []


@pytest.mark.usefixtures("values")
def test_the_same_walk_finds_the_numbers_where_the_scanner_is_not_held(
    locked: Web, held: tuple[Study, str, str]
) -> None:
    study, *_ = held
    with locked.database.begin() as session:
        quarantine.release_scanner(session, SCANNER, "serviced", released_by="chief")
        (again,) = analyses.rerun_quarantined(session, SCANNER, requested_by="chief")
        analyses.start_analysis(session, again.id)
        analyses.complete_analysis(session, again.id, AnalysisOutcome((telling_finding(study),), (), MEASURES))
    text = "".join(answer for _, answer in answers(locked, Role.RADIOLOGIST))
    assert [number for number in NUMBERS[:6] if number not in text] == []


def test_the_worklist_and_the_viewer_say_so_in_words(locked: Web, held: tuple[Study, str, str]) -> None:
    study, *_ = held
    headers = locked.bearer(Role.RADIOLOGIST) | HTML
    for address in ("/worklist", f"/studies/{study.study_instance_uid}"):
        page = locked.client().get(address, headers=headers).text
        assert "Not shown: the scanner is held." in page, address
        assert "Not shown</span>" in page, address
        assert "Not analysed</strong>" not in page


def test_an_auditor_reads_the_numbers_in_the_timeline(locked: Web, held: tuple[Study, str, str]) -> None:
    _, analysis_id, _ = held
    page = locked.client().get(f"/audit/results/{analysis_id}", headers=locked.bearer(Role.AUDITOR) | HTML).text
    assert "Not shown (scanner in quarantine)" in page
    assert "43.8" in page


def test_a_readers_mark_gets_no_number_and_no_map(locked: Web, held: tuple[Study, str, str]) -> None:
    study, _, finding_id = held
    headers = locked.bearer(Role.RADIOLOGIST)
    marked = locked.client().post(api(study, "findings"), json=point_on(study), headers=headers)
    assert marked.status_code == 201
    assert (marked.get_json()["malignancy_probability"], marked.get_json()["diameter_mm"]) == (None, None)
    assert [reason["code"] for reason in marked.get_json()["reasons"]] == ["scanner_held"]
    refused = locked.client().get(f"/api/v1/findings/{marked.get_json()['id']}/attention.png", headers=headers)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "scanner_held")
    url = f"/api/v1/findings/{finding_id}"
    assert locked.client().get(f"{url}/attention.png", headers=headers).status_code == 404
    assert locked.client().post(f"{url}/assessment", json={"verdict": "accept"}, headers=headers).status_code == 404


def test_an_administrator_holds_and_releases_with_a_reason_that_is_on_record(
    locked: Web, held: tuple[Study, str, str]
) -> None:
    client, token = locked.signed_in(Role.ADMIN)
    page = client.get("/admin", headers=HTML).text
    assert "Noise went up." in page
    path = f"/admin/scanners/{SCANNER.key}"
    assert client.post(f"{path}/release", data={"reason": "serviced"}).status_code == 403
    assert client.post(f"{path}/release", data={"reason": " ", "csrf_token": token}).status_code == 422
    described = {"reason": "serviced", "rerun": "yes", "csrf_token": token}
    assert client.post(f"{path}/release", data=described).status_code == 303
    assert client.post(f"{path}/hold", data={"reason": "again", "csrf_token": token}).status_code == 303
    listed = locked.client().get("/api/v1/admin/scanners", headers=locked.bearer(Role.ADMIN)).get_json()["items"]
    assert [(one["kernel"], one["hold"]["reason"]) for one in listed] == [("B60f", "again")]
    with locked.database.read() as session:
        (pending,) = analyses.pending_analyses(session)
        acts = [entry.event.action for entry in audit.recent(session, limit=20)]
    assert pending.requested_by == "admin"
    assert [act for act in acts if act.startswith("scanner:")] == ["scanner:held", "scanner:released", "scanner:held"]


def test_programs_hold_and_release_too(locked: Web, held: tuple[Study, str, str]) -> None:
    address, headers = f"/api/v1/admin/scanners/{SCANNER.key}", locked.bearer(Role.ADMIN)
    released = locked.client().post(f"{address}/release", json={"reason": "serviced"}, headers=headers)
    assert (released.status_code, released.get_json()["hold"], released.get_json()["quarantined_count"]) == (
        200,
        None,
        1,
    )
    assert locked.client().post(f"{address}/hold", json={"reason": "noise"}, headers=headers).get_json()["hold"]
    unknown = f"/api/v1/admin/scanners/{'0' * 32}/hold"
    assert locked.client().post(unknown, json={"reason": "noise"}, headers=headers).status_code == 404
