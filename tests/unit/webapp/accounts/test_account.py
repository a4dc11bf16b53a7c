"""Signing in and out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from db.accounts import users
from db.accounts.sign_in_attempts import FREE_ATTEMPTS
from db.domain.accounts import Role
from tests.unit.webapp.conftest import PASSWORD, Web, session_cookie, sign_in
from webapp.accounts.account import REFUSED, safe_next
from webapp.accounts.identity import SESSION_COOKIE


def form_token(page: str) -> str:
    match = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page)
    assert match is not None
    return match[1]


def cookie_of(response: TestResponse) -> str:
    return next(text for text in response.headers.getlist("Set-Cookie") if text.startswith(SESSION_COOKIE))


def test_signing_in_opens_the_worklist(locked: Web) -> None:
    client = locked.client()
    response = sign_in(client, "radiologist", PASSWORD)
    assert (response.status_code, response.headers["Location"]) == (303, "/worklist")
    assert client.get("/worklist").status_code == 200


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(locked: Web) -> None:
    cookie = cookie_of(sign_in(locked.client(), "radiologist", PASSWORD))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie


def test_the_session_cookie_is_secure_behind_https(make_web: Callable[..., Web], locked: Web) -> None:
    secure = make_web(auth_required=True, secure_cookies=True)
    response = sign_in_over_https(secure)
    assert "; Secure" in cookie_of(response)
    assert response.headers["Strict-Transport-Security"]


def sign_in_over_https(web: Web) -> TestResponse:
    client = web.client()
    page = client.get("/sign-in", base_url="https://localhost").text
    token = form_token(page)
    fields = {"csrf_token": token, "name": "radiologist", "password": PASSWORD}
    return client.post("/sign-in", data=fields, base_url="https://localhost")


@pytest.mark.parametrize(
    ("name", "password"), [("radiologist", "wrong"), ("nobody", PASSWORD), ("", ""), ("radiologist", "x" * 5000)]
)
def test_every_refusal_reads_the_same(locked: Web, name: str, password: str) -> None:
    response = sign_in(locked.client(), name, password)
    assert response.status_code == 401
    assert REFUSED in response.text
    assert name == "" or f'value="{name}"' not in response.text


@pytest.mark.parametrize("name", ["radiologist", "unknown"])
def test_wrong_passwords_delay_this_name_from_this_address_alone(
    make_web: Callable[..., Web], locked: Web, name: str
) -> None:
    patient = make_web(auth_required=True, sign_ins_per_minute=100)
    for _ in range(FREE_ATTEMPTS):
        sign_in(patient.client(), name, "wrong")
    delayed = sign_in(patient.client(), name, PASSWORD)
    assert delayed.status_code == 429
    assert 0 < int(delayed.headers["Retry-After"]) <= 10
    assert sign_in(patient.client(), "auditor", PASSWORD).status_code == 303
    elsewhere = patient.client()
    elsewhere.environ_base = {"REMOTE_ADDR": "192.0.2.7"}
    assert sign_in(elsewhere, "radiologist", PASSWORD).status_code == 303


def test_many_attempts_from_one_client_are_refused_with_429(locked: Web) -> None:
    codes = [sign_in(locked.client(), f"unknown {number}", "wrong").status_code for number in range(12)]
    assert codes == [401] * 10 + [429] * 2


def test_each_sign_in_gives_a_fresh_cookie_and_ends_the_one_before(locked: Web) -> None:
    client = locked.client()
    first = cookie_of(sign_in(client, "radiologist", PASSWORD)).split(";")[0].split("=")[1]
    second = cookie_of(sign_in(client, "radiologist", PASSWORD)).split(";")[0].split("=")[1]
    assert first != second
    thief = locked.client()
    thief.set_cookie(SESSION_COOKIE, first)
    assert thief.get("/api/v1/worklist").status_code == 401


def test_a_cookie_that_we_did_not_give_is_never_taken_over(locked: Web) -> None:
    client = locked.client()
    client.set_cookie(SESSION_COOKIE, "planted")
    response = sign_in(client, "radiologist", PASSWORD)
    assert "planted" not in cookie_of(response)


def test_signing_out_ends_the_session_in_the_server_too(locked: Web) -> None:
    client, token = locked.signed_in(Role.RADIOLOGIST)
    cookie = session_cookie(client)
    assert client.post("/sign-out", data={"csrf_token": token}).status_code == 303
    thief = locked.client()
    thief.set_cookie(SESSION_COOKIE, cookie)
    assert thief.get("/api/v1/worklist").status_code == 401


def test_a_disabled_person_is_out_at_once(locked: Web) -> None:
    client, _ = locked.signed_in(Role.RADIOLOGIST)
    with locked.database.begin() as session:
        users.set_disabled(session, "radiologist", disabled=True)
    assert client.get("/api/v1/worklist").status_code == 401


def test_the_form_is_refused_without_its_token_or_from_another_browser(locked: Web) -> None:
    fields = {"name": "radiologist", "password": PASSWORD}
    assert locked.client().post("/sign-in", data=fields).status_code == 403
    page = locked.client().get("/sign-in").text
    token = form_token(page)
    other = locked.client()
    other.get("/sign-in")
    assert other.post("/sign-in", data={**fields, "csrf_token": token}).status_code == 403


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "evil",
        "/a\nb",
        "\\\\x",
        "http://[",
        "/x\\\\y",
        "//[",
    ],
)
def test_signing_in_never_leads_elsewhere(web: Web, target: str) -> None:
    with web.app.test_request_context():
        assert safe_next(target) == "/worklist"


def test_signing_in_leads_back_to_where_one_was(locked: Web) -> None:
    response = sign_in(locked.client(), "radiologist", PASSWORD, next="/studies/1.2.3")
    assert response.headers["Location"] == "/studies/1.2.3"


def test_there_is_no_sign_in_where_it_is_off(web: Web) -> None:
    assert web.client().get("/sign-in").status_code == 303
