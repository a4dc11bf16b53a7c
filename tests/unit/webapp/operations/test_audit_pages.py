"""The audit trail as a page."""

from __future__ import annotations

import pytest

from db.accounts.provider_accounts import record_provider_account
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.audit import AuditEvent
from tests.support.webapp_doubles import add_study
from tests.unit.webapp.conftest import Web
from webapp.operations import audit_pages
from webapp.templating import detail


def test_events_stand_with_their_details(web: Web) -> None:
    study = add_study(web.database, name="CANARY^PHI", patient_id="CANARY-ID")
    page = web.client().get("/audit").text
    assert "study:received" in page
    assert "CANARY" not in page
    assert study.study_instance_uid not in page


def test_events_are_filtered_by_object(web: Web) -> None:
    with web.database.begin() as session:
        audit.append(session, AuditEvent("finding:rejected", "reader", "a" * 32, details={"why": ["<b>", "x"]}))
        audit.append(session, AuditEvent("finding:accepted", "reader", "b" * 32, outcome="failure"))
    page = web.client().get("/audit", query_string={"subject": "a" * 32}).text
    assert "finding:rejected" in page
    assert "finding:accepted" not in page
    assert "&lt;b&gt;, x" in page
    assert "Nothing is on record for this id" in web.client().get("/audit?subject=none").text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (3, "3"), ([], "none"), (["a", None], "a, none"), ("ab" * 32, "abababababab…")],
)
def test_details_are_written_for_people(value: object, text: str) -> None:
    assert detail(value) == text


def test_it_is_paged(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_pages, "PAGE", 2)
    with web.database.begin() as session:
        for number in range(5):
            audit.append(session, AuditEvent(f"test:event{number}", "test"))
    first = web.client().get("/audit").text
    assert "event4" in first
    assert 'href="/audit?before=4"' in first
    second = web.client().get("/audit?before=4").text
    assert "event2" in second
    assert "event4" not in second
    assert 'rel="next"' not in web.client().get("/audit?before=3").text


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 16, "subject=" + "x" * 65])
def test_what_is_not_understood_is_refused(web: Web, query: str) -> None:
    assert web.client().get(f"/audit?{query}").status_code == 400


def test_only_auditors_and_administrators_see_it(locked: Web) -> None:
    codes = {role: locked.client().get("/audit", headers=locked.bearer(role)).status_code for role in Role}
    assert codes == {Role.ADMIN: 200, Role.AUDITOR: 200, Role.RADIOLOGIST: 403, Role.SERVICE: 403}


def test_people_of_an_identity_provider_are_shown_by_their_name(web: Web) -> None:
    with web.database.begin() as session:
        account = record_provider_account(session, "https://idp.example.org", "1234", "Ann <Reader>")
        audit.append(session, AuditEvent("study:viewed", account.actor, "s" * 32))
        audit.append(session, AuditEvent("study:viewed", "sso:ann", "s" * 32))
    page = web.client().get("/audit").text
    assert f"<bdi>Ann &lt;Reader&gt;</bdi> <code>{account.actor[:16]}</code>" in page
    assert "<bdi>sso:ann</bdi></td>" in page
