"""Route x role x method: what stands in the table holds, and nothing answers that does not stand there."""

from __future__ import annotations

import pytest
from flask import Blueprint

from db.domain.accounts import Role
from tests.unit.webapp.conftest import Web, built_path
from webapp.access_table import table
from webapp.assembly import declared_endpoints
from webapp.endpoints import EVERYONE, Endpoint, check_declared, endpoint

VALUES = {
    "study_uid": "1.2.3",
    "series_uid": "1.2.4",
    "sop_uid": "1.2.5",
    "frame_number": 1,
    "finding_id": "f" * 32,
    "model_name": "nodule",
    "plot": "reliability_before",
    "filter_id": "e" * 32,
    "prediction_id": "0" * 32,
    "name": "image",
    "filename": "icon.svg",
    "delivery_id": "1" * 32,
    "analysis_id": "2" * 32,
    "key": "3" * 32,
    "frame_list": "1",
    "tag_path": "7FE00010",
}
CALLERS: tuple[Role | None, ...] = (None, *Role)
OPEN_WITHOUT_SIGN_IN = {
    ("static", "GET"),
    ("pages.home", "GET"),
    ("pages.favicon", "GET"),
    ("health.livez", "GET"),
    ("health.readyz", "GET"),
    ("account.sign_in_page", "GET"),
    ("account.sign_in", "POST"),
    ("oidc.start", "GET"),
    ("oidc.callback", "GET"),
}


def routes(web: Web) -> list[tuple[str, str, str]]:
    """Every endpoint, method and address of the app."""
    return [
        (rule.endpoint, method, built_path(rule, VALUES))
        for rule in web.app.url_map.iter_rules()
        for method in sorted(set(rule.methods or ()) - {"HEAD", "OPTIONS"})
    ]


DECLARED: dict[tuple[str, str], Endpoint] = {(entry.name, entry.method): entry for entry in declared_endpoints()}


def test_every_route_is_declared_and_every_declaration_is_a_route(web: Web) -> None:
    rules = list(web.app.url_map.iter_rules())
    routed = {(rule.endpoint, method, rule.rule) for rule in rules for method in rule.methods or ()}
    routed = {entry for entry in routed if entry[1] not in ("HEAD", "OPTIONS")}
    assert routed == {(entry.name, entry.method, path) for entry in DECLARED.values() for path in entry.paths}


def test_a_declaration_without_roles_is_refused() -> None:
    with pytest.raises(TypeError, match="may"):
        endpoint(Blueprint("x", __name__), "GET", "/x")  # type: ignore[call-arg]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_app_with_an_undeclared_route_does_not_start(web: Web, method: str) -> None:
    web.app.add_url_rule("/forgotten", "forgotten", lambda: "secret", methods=[method])
    with pytest.raises(LookupError, match=f"{method} /forgotten"):
        check_declared(web.app)


def test_the_table_of_who_may_do_what_has_every_route_and_method(web: Web) -> None:
    lines = table(declared_endpoints()).splitlines()
    assert len(lines) == 2 + len(routes(web))
    assert "| `/admin` | GET |  | yes |  |  |  |" in lines
    assert "| `/livez` | GET | yes | yes | yes | yes | yes |" in lines


def test_only_these_endpoints_are_public() -> None:
    assert {pair for pair, entry in DECLARED.items() if entry.permits(None)} == OPEN_WITHOUT_SIGN_IN
    assert {pair for pair, entry in DECLARED.items() if entry.may is EVERYONE} == OPEN_WITHOUT_SIGN_IN


def test_every_route_answers_every_role_as_the_table_says(locked: Web) -> None:
    wrong = []
    for name, method, url in routes(locked):
        for role in CALLERS:
            headers = locked.bearer(role) if role else {}
            client = locked.client()
            response = client.open(url, method=method, headers={**headers, "Accept": "application/json"})
            response.close()
            is_refused = response.status_code in (401, 403)
            if is_refused == DECLARED[name, method].permits(role) and (name, role) != ("account.sign_in", None):
                wrong.append((name, method, role, response.status_code))
    # without its form token the sign-in form refuses unknown clients too: checked in test_account
    assert [entry for entry in wrong if entry[0] != "account.sign_in"] == []


def test_without_sign_in_401_and_with_a_wrong_role_403(locked: Web) -> None:
    client = locked.client()
    assert client.get("/api/v1/worklist").status_code == 401
    assert client.get("/api/v1/worklist").headers["WWW-Authenticate"] == "Bearer"
    url = "/api/v1/findings/x/assessment"
    assert client.post(url, json={}, headers=locked.bearer(Role.ADMIN)).status_code == 403


def test_an_undeclared_endpoint_is_refused_even_when_sign_in_is_off(web: Web) -> None:
    web.app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    response = web.client().get("/forgotten")
    assert response.status_code == 403
    assert "secret" not in response.text


@pytest.mark.parametrize("header", ["Bearer ", "Bearer wrong", "Basic YTpi", "Bearer lnt_" + "x" * 43, "x" * 9000])
def test_a_wrong_authorization_is_not_signed_in(locked: Web, header: str) -> None:
    response = locked.client().get("/api/v1/worklist", headers={"Authorization": header})
    assert response.status_code == 401


def test_a_browser_without_a_session_is_redirected_to_sign_in_and_back(locked: Web) -> None:
    response = locked.client().get("/worklist?q=x", headers={"Accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["Location"] == "/sign-in?next=/worklist?q%3Dx"
