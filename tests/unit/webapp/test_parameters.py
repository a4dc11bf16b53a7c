"""Query parameters that do not exist are refused on every page and in the API, and those that exist are documented."""

from __future__ import annotations

import pytest

from db.domain.accounts import Role
from tests.unit.webapp.conftest import Web, built_path
from tests.unit.webapp.reading.test_studies import shown_study
from tests.unit.webapp.test_access import VALUES
from webapp.assembly import declared_endpoints
from webapp.endpoints import ANY_QUERY

API = ["/api/v1/worklist", "/api/v1/worklist/filters", "/api/v1/admin", "/api/v1/admin/deliveries", "/model_status"]
UNKNOWN = ["patient", "stat", "State", "Q", "PatientID", "date-from", "subjekt", "utm_source", "fbclid", "_", "v"]


@pytest.mark.parametrize("path", ["/worklist", "/audit", "/admin", "/monitoring"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_page_names_a_parameter_that_does_not_exist(web: Web, path: str, name: str) -> None:
    answer = web.client().get(path, query_string={name: "CANARY"}, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert f"Unknown query parameter: {name}." in answer.text
    assert "CANARY" not in answer.text


@pytest.mark.parametrize("path", API)
@pytest.mark.parametrize("name", ["patient", "stat", "date-from", "utm_source"])
def test_the_api_names_a_parameter_that_does_not_exist(web: Web, path: str, name: str) -> None:
    answer = web.client().get(path, query_string={name: "CANARY"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "bad_parameter")
    assert answer.get_json()["error"]["message"] == f"Unknown query parameter: {name}."


def test_a_study_is_not_shown_with_a_parameter_that_does_not_exist(web: Web) -> None:
    study = shown_study(web)
    for path in (f"/studies/{study.study_instance_uid}", f"/api/v1/studies/{study.study_instance_uid}"):
        assert web.client().get(path).status_code == 200
        assert web.client().get(f"{path}?series=1").status_code == 400


@pytest.mark.parametrize("name", ["<script>", "a b", "ä", "x" * 65, "\u202e", ""])
def test_a_name_that_could_be_anything_is_not_shown(web: Web, name: str) -> None:
    answer = web.client().get("/worklist", query_string={name: "1"}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (400, "Unknown query parameter.")


@pytest.mark.parametrize(
    ("path", "name"), [("/worklist", "state"), ("/api/v1/worklist", "q"), ("/audit", "subject"), ("/audit", "before")]
)
def test_a_parameter_is_given_once(web: Web, path: str, name: str) -> None:
    answer = web.client().get(f"{path}?{name}=1&{name}=2", headers={"Accept": "application/json"})
    assert answer.get_json()["error"]["message"] == f"The query parameter {name} is given more than once."


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/sign-in"])
def test_pages_for_everyone_probes_and_metrics_take_what_they_are_sent(web: Web, path: str) -> None:
    assert web.client().get(path, query_string={"utm_source": "x"}).status_code < 400


def test_parameters_are_not_revealed_without_permission(locked: Web) -> None:
    assert locked.client().get("/api/v1/admin?x=1").status_code == 401
    assert locked.client().get("/api/v1/admin?x=1", headers=locked.bearer(Role.RADIOLOGIST)).status_code == 403


DICOMWEB_OPERATIONS = {
    "qido.studies", "qido.series", "qido.instances", "rendered.picture", "wado.metadata", "wado.frames",
    "wado.part10_files", "wado.bulk_data", "stow.store",
}  # fmt: skip
PUBLIC = {
    ("static", "GET"), ("pages.home", "GET"), ("pages.favicon", "GET"), ("health.livez", "GET"),
    ("health.readyz", "GET"), ("account.sign_in_page", "GET"), ("account.sign_in", "POST"), ("oidc.start", "GET"),
    ("oidc.callback", "GET"),
}  # fmt: skip
EVERY_OPERATION = {(entry.name, entry.method): entry for entry in declared_endpoints()}


def test_every_operation_that_is_not_public_is_checked() -> None:
    unchecked = {operation for operation, entry in EVERY_OPERATION.items() if entry.query is ANY_QUERY}
    assert {endpoint for endpoint, _ in unchecked - PUBLIC} == DICOMWEB_OPERATIONS | {"health.metrics"}


def url_of(web: Web, endpoint: str) -> str:
    """Return a URL of an endpoint, with values that its converters take."""
    rule = next(rule for rule in web.app.url_map.iter_rules() if rule.endpoint == endpoint)
    return built_path(rule, VALUES)


@pytest.mark.parametrize(("endpoint", "method"), sorted(EVERY_OPERATION))
def test_an_unknown_or_repeated_parameter_is_refused_on_every_operation(web: Web, endpoint: str, method: str) -> None:
    url = url_of(web, endpoint)
    codes = []
    for query in ("patient=CANARY", "csrf_token=1", "state=1&state=2"):
        with web.client().open(f"{url}?{query}", method=method, headers={"Accept": "application/json"}) as answer:
            codes.append(
                answer.get_json()["error"]["code"] if answer.is_json and "error" in answer.get_json() else None
            )
            assert "CANARY" not in answer.get_data(as_text=True)
    if EVERY_OPERATION[endpoint, method].query is not ANY_QUERY:
        assert codes == ["bad_parameter"] * 3
    else:
        assert "bad_parameter" not in codes or endpoint in DICOMWEB_OPERATIONS
