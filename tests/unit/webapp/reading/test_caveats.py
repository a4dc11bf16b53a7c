"""Every kind of caveat reaches the API and every page that shows the answer that it limits."""

from __future__ import annotations

import html
from string import Formatter

import pytest

from db.analyses import analyses
from db.domain.analyses import AnalysisOutcome
from db.domain.caveats import ABOUT_FINDINGS, NO_NODULE_FOUND, PARTIAL_COVERAGE, Caveat
from db.domain.reasons import Reason
from tests.support.webapp_doubles import MODEL, Study, add_study
from tests.unit.webapp.conftest import Web
from webapp.reading.blinded_reading import COOKIE


def stated(kind: Caveat) -> Reason:
    """State a kind with a number in each of its places."""
    return kind.stated(**dict.fromkeys((name for _, name, _, _ in Formatter().parse(kind.value.text) if name), "3"))


ALL = tuple(stated(kind) for kind in Caveat)


def answered(web: Web, *caveats: Reason) -> tuple[Study, str]:
    """A study that was analysed without findings, and the id of its analysis."""
    study = add_study(web.database)
    with web.database.begin() as session:
        asked = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
        analyses.start_analysis(session, asked.id)
        analyses.complete_analysis(session, asked.id, AnalysisOutcome(caveats=caveats))
    return study, asked.id


@pytest.fixture
def outlets(web: Web) -> dict[str, str]:
    """Text of each outlet for an analysis with every caveat."""
    study, analysis_id = answered(web, *ALL)
    client, uid = web.client(), study.study_instance_uid
    addresses = {
        "study API": f"/api/v1/studies/{uid}",
        "worklist API": "/api/v1/worklist",
        "study page": f"/studies/{uid}",
        "worklist page": "/worklist",
        "story page": f"/audit/results/{analysis_id}",
    }
    return {name: html.unescape(client.get(address).text) for name, address in addresses.items()}


def test_every_outlet_of_the_web_shows_every_kind(outlets: dict[str, str]) -> None:
    missing = [
        (name, caveat.code)
        for name, shown in outlets.items()
        for caveat in ALL
        if caveat.text.rstrip(".") not in shown or caveat.code not in shown
    ]
    assert not missing


def test_caveats_stand_with_their_analysis_and_with_the_study(web: Web) -> None:
    study, _ = answered(web, *ALL[:2])
    body = web.client().get(f"/api/v1/studies/{study.study_instance_uid}").get_json()
    expected = [{"code": caveat.code, "text": caveat.text} for caveat in ALL[:2]]
    assert body["analyses"][0]["caveats"] == body["caveats"] == expected
    assert web.client().get("/api/v1/worklist").get_json()["items"][0]["caveats"] == expected


def test_an_answer_without_caveats_has_an_empty_list(web: Web) -> None:
    study, _ = answered(web)
    body = web.client().get(f"/api/v1/studies/{study.study_instance_uid}").get_json()
    assert body["analyses"][0]["caveats"] == body["caveats"] == []
    page = web.client().get(f"/studies/{study.study_instance_uid}").text
    assert "data-caveat-mark" not in page
    assert 'class="chip analysed">' in page


@pytest.mark.parametrize("kind", [kind for kind in Caveat if kind.code in PARTIAL_COVERAGE])
def test_part_of_the_lungs_without_a_finding_never_looks_like_a_clear_chest(web: Web, kind: Caveat) -> None:
    study, _ = answered(web, stated(kind))
    for address in ("/worklist", f"/studies/{study.study_instance_uid}"):
        page = html.unescape(web.client().get(address).text)
        assert NO_NODULE_FOUND in page
        assert "Analysed in part" in page
        assert "No nodule found" not in page
        assert stated(kind).text in page


def test_a_reader_who_reads_first_learns_nothing_of_findings(web: Web) -> None:
    study, _ = answered(web, *ALL)
    reader = web.client()
    reader.set_cookie(COOKIE, "yes")
    body = reader.get(f"/api/v1/studies/{study.study_instance_uid}").get_json()
    for caveats in (body["caveats"], body["analyses"][0]["caveats"]):
        codes = {caveat["code"] for caveat in caveats}
        assert codes == {kind.code for kind in Caveat} - ABOUT_FINDINGS
    for address in ("/worklist", f"/studies/{study.study_instance_uid}"):
        page = html.unescape(reader.get(address).text)
        assert not [caveat for caveat in ALL if caveat.code in ABOUT_FINDINGS and caveat.text in page]


@pytest.mark.parametrize("language", ["de", "es"])
def test_pages_state_caveats_in_the_readers_language(web: Web, language: str) -> None:
    answered(web, *ALL)
    page = html.unescape(web.client().get("/worklist", headers={"Accept-Language": language}).text)
    assert not [caveat.code for caveat in ALL if caveat.text in page]
