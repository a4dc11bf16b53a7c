"""Liveness, readiness, counters and the model's account."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from db.monitoring import faults
from tests.support.webapp_doubles import MODEL, add_study
from tests.unit.webapp.conftest import Web
from webapp.services.registry import EXTENSION


def test_it_lives(web: Web) -> None:
    assert web.client().get("/livez").json == {"alive": True}


def test_it_is_ready(web: Web) -> None:
    response = web.client().get("/readyz")
    assert (response.status_code, response.json) == (
        200,
        {"ready": True, "checks": {"database": "ok", "disk": "ok", "model": "ok"}},
    )


def test_without_a_model_it_is_not_ready(web: Web) -> None:
    web.predictor.has_model = False
    assert "No model is loaded" in web.client().get("/model").text
    response = web.client().get("/readyz")
    assert (response.status_code, response.get_json()["checks"]["model"]) == (503, "failed")


def test_without_its_database_it_lives_but_is_not_ready(web: Web, tmp_path: Path) -> None:
    web.database.dispose()
    (tmp_path / "web.db").unlink()
    (tmp_path / "web.db").mkdir()
    assert web.client().get("/livez").status_code == 200
    assert web.client().get("/readyz").get_json()["checks"]["database"] == "failed"
    response = web.client().get("/api/v1/worklist")
    assert (response.status_code, response.get_json()["error"]["code"]) == (503, "unavailable")
    assert "sqlite" not in response.text.lower()
    assert web.client().get("/metrics").status_code == 200


def test_counters_name_endpoints_and_states_only(web: Web) -> None:
    study = add_study(web.database, name="CANARY^PHI", patient_id="CANARY-ID")
    web.client().get(f"/studies/{study.study_instance_uid}")
    web.client().get("/no/such/CANARY")
    text = web.client().get("/metrics").text
    assert 'lungnode_http_requests_total{endpoint="studies.viewer",method="GET",status="200"} 1.0' in text
    assert 'lungnode_http_requests_total{endpoint="none",method="GET",status="404"} 1.0' in text
    assert 'lungnode_studies{state="receiving"} 1.0' in text
    assert "lungnode_queue_depth 0.0" in text
    assert "CANARY" not in text
    assert study.study_instance_uid not in text


def test_strange_methods_make_no_new_counters(web: Web) -> None:
    for number in range(3):
        web.client().open("/livez", method=f"STRANGE{number}")
    assert "STRANGE" not in web.client().get("/metrics").text


def test_the_model_s_account_has_the_server_s_counters(web: Web) -> None:
    body = web.client().get("/model_status").get_json()
    assert (body["name"], body["sha256"], body["temperature"]) == (MODEL.name, MODEL.sha256, 1.31)
    assert body["predictions_served"] == 0
    assert body["uptime_s"] >= 0
    assert len(body["models"]) == 1


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, as a disk that is full or over quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_it_lives_but_is_not_ready(web: Web) -> None:
    with full_disk():
        assert web.client().get("/livez").status_code == 200
        response = web.client().get("/readyz")
    assert (response.status_code, response.get_json()["ready"]) == (503, False)
    assert response.get_json()["checks"] == {"database": "failed", "disk": "failed", "model": "ok"}
    assert web.client().get("/readyz").status_code == 200


def test_with_less_space_than_instances_need_it_is_not_ready(web: Web) -> None:
    services = web.app.extensions[EXTENSION]
    web.app.extensions[EXTENSION] = replace(services, options=replace(services.options, min_free_bytes=1 << 60))
    response = web.client().get("/readyz")
    assert (response.status_code, response.get_json()["checks"]["disk"]) == (503, "failed")


def test_faults_are_on_the_page_in_the_interface_and_in_the_metrics(web: Web) -> None:
    assert 'lungnode_faults{code="damaged_file"} 0.0' in web.client().get("/metrics").text
    assert "Faults" not in web.client().get("/admin").text
    with web.database.begin() as session:
        for code, subject in (
            (faults.DAMAGED_FILE, "instances/a.dcm"),
            (faults.DAMAGED_DATABASE, ""),
            (faults.CLOCK, ""),
        ):
            faults.report(session, code, subject)
    assert 'lungnode_faults{code="damaged_file"} 1.0' in web.client().get("/metrics").text
    page = web.client().get("/admin").text
    assert all(words in page for words in ("Damaged file", "Damaged database", "Clock set", "--accept-clock"))
    assert "instances/a.dcm" not in page
    codes = {one["code"] for one in web.client().get("/api/v1/admin").get_json()["faults"]}
    assert codes == {"damaged_file", "damaged_database", "clock"}
