"""The document: complete, resolvable, and true of what is answered."""

from __future__ import annotations

import io
import re
from typing import Any

from tests.support.webapp_doubles import noise_png
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import api, point_on, shown_study
from webapp.api.openapi import document
from webapp.assembly import declared_endpoints

DOCUMENT = document("1.2.3", declared_endpoints())
UNDOCUMENTED = {
    "static",
    "pages.favicon",
    "account.sign_in_page",
    "account.sign_in",
    "account.sign_out",
    "oidc.start",
    "oidc.callback",
    "admin.resend_from_page",
    "admin.resend_all_from_page",
    "admin.fetch_again_from_page",
    "admin.analyse_again_from_page",
    "admin.retry_results_from_page",
    "candidate.roll_back_from_page",
    "scanners.hold_from_page",
    "scanners.release_from_page",
    "scanners.rerun_from_page",
}
"""For browsers, not for programs."""
DICOMWEB = "/dicom-web/"
"""Described by PS3.18, and in docs/conformance.md."""


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


NAMES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def problems(value: object, schema: dict[str, Any], where: str = "$") -> list[str]:
    """Return the parts of a value that do not fit a schema; only the keywords that the document uses."""
    schema = resolved(schema)
    if "anyOf" in schema and "properties" not in schema:
        return [] if any(not problems(value, option) for option in schema["anyOf"]) else [f"{where}: none of anyOf"]
    expected = schema.get("type", list(NAMES))
    types = [expected] if isinstance(expected, str) else expected
    if not any(isinstance(value, NAMES[name]) for name in types):
        return [f"{where}: {value!r} is not {types}"]
    result = [f"{where}: {value!r}"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, dict):
        result += object_problems(value, schema, where)
    elif isinstance(value, list):
        result += [f"{where}: too short"] if len(value) < schema.get("minItems", 0) else []
        items = schema.get("prefixItems", [schema.get("items", {})] * len(value))
        result += [text for pair in zip(value, items, strict=True) for text in problems(*pair, f"{where}[]")]
    elif isinstance(value, str):
        result += [] if re.search(schema.get("pattern", ""), value) else [f"{where}: {value!r} does not match"]
    elif isinstance(value, int | float):
        is_within = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        result += [] if is_within else [f"{where}: {value} is out of range"]
    return result


def object_problems(value: dict[str, Any], schema: dict[str, Any], where: str) -> list[str]:
    result = [f"{where}: lacks {name}" for name in schema.get("required", []) if name not in value]
    for name, inner in value.items():
        properties = schema.get("properties", {}).get(
            name, schema.get("additionalProperties", None if "properties" in schema else {})
        )
        result += (
            [f"{where}: {name} is not documented"]
            if properties is None
            else problems(inner, properties, f"{where}.{name}")
        )
    return result


def answer_schema(method: str, path: str, status: int) -> dict[str, Any]:
    return DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]


def test_every_route_is_documented_and_nothing_else(web: Web) -> None:
    routes = {
        (method.lower(), re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in web.app.url_map.iter_rules()
        if rule.endpoint not in UNDOCUMENTED and not rule.rule.startswith(DICOMWEB)
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}


def test_it_says_what_it_is(web: Web) -> None:
    body = web.client().get("/openapi.json").get_json()
    assert (body["openapi"], body["info"]["version"]) == ("3.1.0", web.options.version)


def test_references_lead_somewhere_and_names_are_unique() -> None:
    text = str(DOCUMENT)
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names == set(DOCUMENT["components"]["schemas"])
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            named = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def test_only_open_pages_need_no_sign_in() -> None:
    without = {
        path for path, methods in DOCUMENT["paths"].items() for entry in methods.values() if entry.get("security") == []
    }
    assert without == {"/", "/livez", "/readyz"}


def test_what_is_answered_fits_the_document(web: Web) -> None:
    study = shown_study(web)
    client = web.client()
    finding_url = "/api/v1/findings/{finding_id}/assessment"
    finding = client.get(api(study)).get_json()["findings"][0]["id"]
    root = "/api/v1/studies/{study_uid}"
    asked = [
        ("get", "/api/v1/worklist", client.get("/api/v1/worklist")),
        ("get", root, client.get(api(study))),
        (
            "get",
            root + "/series/{series_uid}/slices",
            client.get(api(study, "series", study.series_instance_uid, "slices")),
        ),
        ("post", root + "/findings", client.post(api(study, "findings"), json=point_on(study))),
        ("post", finding_url, client.post(finding_url.format(finding_id=finding), json={"verdict": "reject"})),
        ("get", root, client.get(api(study))),
        (
            "post",
            root + "/overruled",
            client.post(api(study, "overruled"), json={"overrule": ["lossy"], "reason": "x"}),
        ),
        ("post", root + "/analyses", client.post(api(study, "analyses"))),
        ("post", root + "/complete", client.post(api(study, "complete"))),
        ("get", "/model_status", client.get("/model_status")),
        ("get", "/livez", client.get("/livez")),
        ("get", "/readyz", client.get("/readyz")),
        (
            "post",
            "/predict",
            client.post("/predict", data={"image": (io.BytesIO(noise_png()), "x"), "age": "3", "sex": "m"}),
        ),
        ("post", "/predict", client.post("/predict", data={"image": (io.BytesIO(b"x"), "x")})),
        ("get", root, client.get("/api/v1/studies/1.9")),
    ]
    web.predictor.in_domain = False
    asked.append(("post", "/predict", client.post("/predict", data={"image": (io.BytesIO(noise_png()), "x")})))
    for method, path, response in asked:
        schema = answer_schema(method, path, response.status_code)
        assert problems(response.json, schema) == [], (method, path)
