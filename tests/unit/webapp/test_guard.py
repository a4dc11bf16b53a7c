"""Permitted origins and sizes of requests."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from db.domain.accounts import Role
from tests.support.webapp_doubles import noise_png
from tests.unit.webapp.conftest import Web

ANALYSES = "/api/v1/studies/1.2.3/analyses"


def picture() -> dict[str, object]:
    return {"image": (io.BytesIO(noise_png()), "slice.png")}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.4", "[::1", "[", "127.0.0.1:x"],
)
def test_names_that_a_rebinding_attack_brings_are_refused(web: Web, host: str) -> None:
    response = web.client().get("/api/v1/worklist", headers={"Host": host})
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.0.0.2", "LOCALHOST"]
)
def test_loopback_names_are_answered(web: Web, host: str) -> None:
    assert web.client().get("/api/v1/worklist", headers={"Host": host}).status_code == 200


def test_liveness_ignores_the_host_name(make_web: Callable[..., Web]) -> None:
    named = make_web(auth_required=True, bound_to_loopback=False, allowed_hosts=("lungnode.hospital",))
    assert named.client().get("/livez", headers={"Host": "10.0.0.4:8000"}).status_code == 200


def test_off_loopback_any_name_is_answered_unless_names_are_given(make_web: Callable[..., Web]) -> None:
    web = make_web(auth_required=True, bound_to_loopback=False)
    assert web.client().get("/api/v1/worklist", headers={"Host": "pacs.hospital"}).status_code == 401
    named = make_web(auth_required=True, bound_to_loopback=False, allowed_hosts=("lungnode.hospital",))
    assert named.client().get("/api/v1/worklist", headers={"Host": "lungnode.hospital:443"}).status_code == 401
    assert named.client().get("/api/v1/worklist", headers={"Host": "other.hospital"}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost:99999999"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
    ],
)
def test_other_sites_are_refused_even_when_sign_in_is_off(web: Web, headers: dict[str, str], expected: int) -> None:
    response = web.client().post("/predict", data=picture(), headers=headers)
    assert response.status_code == expected


def test_a_configured_origin_may_ask_and_read(make_web: Callable[..., Web]) -> None:
    web = make_web(cors_origins=("https://portal.example",))
    headers = {"Origin": "https://portal.example", "Sec-Fetch-Site": "cross-site"}
    response = web.client().post("/predict", data=picture(), headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://portal.example"
    assert "Access-Control-Allow-Credentials" not in response.headers
    status = web.client().get("/model_status", headers=headers)
    assert status.headers["Access-Control-Allow-Origin"] == "https://portal.example"
    other = web.client().get("/api/v1/worklist", headers=headers)
    assert "Access-Control-Allow-Origin" not in other.headers
    assert web.client().post(ANALYSES, headers=headers).status_code == 403


def test_an_unknown_origin_reads_nothing(make_web: Callable[..., Web]) -> None:
    web = make_web(cors_origins=("https://portal.example",))
    response = web.client().get("/model_status", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_preflight_of_a_configured_origin_is_answered(make_web: Callable[..., Web]) -> None:
    web = make_web(cors_origins=("https://portal.example",))
    headers = {"Origin": "https://portal.example", "Access-Control-Request-Method": "POST"}
    response = web.client().options("/predict", headers=headers)
    assert response.headers["Access-Control-Allow-Origin"] == "https://portal.example"


@pytest.mark.parametrize("token", ["", "0" * 64, None])
def test_a_session_cannot_change_anything_without_its_form_token(locked: Web, token: str | None) -> None:
    client, _ = locked.signed_in(Role.RADIOLOGIST)
    headers = {} if token is None else {"X-CSRF-Token": token}
    for url in (ANALYSES, "/predict", "/api/v1/findings/x/assessment", "/sign-out"):
        response = client.post(url, headers=headers)
        assert (response.status_code, response.get_json()["error"]["code"]) == (403, "form_token")


def test_a_token_of_another_session_does_not_help(locked: Web) -> None:
    client, _ = locked.signed_in(Role.RADIOLOGIST)
    _, other = locked.signed_in(Role.ADMIN)
    assert client.post(ANALYSES, headers={"X-CSRF-Token": other}).status_code == 403


def test_a_session_with_its_token_may_as_header_and_as_field(locked: Web) -> None:
    client, token = locked.signed_in(Role.RADIOLOGIST)
    assert client.post(ANALYSES, headers={"X-CSRF-Token": token}).status_code == 404  # there is no such study
    assert client.post("/predict", data={**picture(), "csrf_token": token}).status_code == 200


def test_a_session_is_not_asked_for_by_another_site_even_with_its_token(locked: Web) -> None:
    client, token = locked.signed_in(Role.RADIOLOGIST)
    headers = {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
    assert client.post(ANALYSES, headers=headers).get_json()["error"]["code"] == "cross_site_request"


def test_a_program_with_a_token_needs_no_form_token(locked: Web) -> None:
    response = locked.client().post("/predict", data=picture(), headers=locked.bearer(Role.SERVICE))
    assert response.status_code == 200


def test_the_form_token_of_a_page_requires_sign_in(locked: Web) -> None:
    assert 'name="csrf-token" content=""' in locked.client().get("/").text


@pytest.mark.parametrize("url", [ANALYSES, "/api/v1/findings/x/assessment", "/api/v1/studies/1.2.3/findings"])
def test_bodies_other_than_uploads_are_small(web: Web, url: str) -> None:
    response = web.client().post(url, data=b"{" + b" " * 70_000, content_type="application/json")
    assert response.status_code == 413


def test_uploads_are_bounded(make_web: Callable[..., Web]) -> None:
    web = make_web(max_upload_bytes=1000)
    response = web.client().post("/predict", data={"image": (io.BytesIO(bytes(2000)), "x.png")})
    assert response.status_code == 413
    assert response.get_json()["error"]["code"] == "request_entity_too_large"


def test_forms_of_thousands_of_fields_are_refused(web: Web) -> None:
    response = web.client().post(
        "/predict", data={f"f{n}": "x" for n in range(3000)}, content_type="multipart/form-data"
    )
    assert response.status_code == 413
