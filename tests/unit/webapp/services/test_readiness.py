"""``/readyz``: the status for any probe, the checks for those who may observe."""

from __future__ import annotations

import pytest

from db.domain.accounts import Role
from tests.unit.webapp.conftest import Web
from webapp.operations.health import CHECKS
from webapp.services.readiness import Readiness


@pytest.mark.parametrize(("is_ok", "status"), [(True, 200), (False, 503)])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Host": "10.1.2.3:8000"}])
def test_a_probe_without_a_token_gets_the_status_alone(
    locked: Web, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], *, is_ok: bool, status: int
) -> None:
    monkeypatch.setitem(CHECKS, "database", lambda _: is_ok)
    monkeypatch.setitem(CHECKS, "model", lambda _: True)
    response = locked.client().get("/readyz", headers=headers)
    assert (response.status_code, response.json) == (status, {"ready": is_ok})


@pytest.mark.parametrize("role", Role)
def test_roles_that_observe_get_every_check(locked: Web, role: Role) -> None:
    body = locked.client().get("/readyz", headers=locked.bearer(role)).get_json()
    assert ("checks" in body) is (role in {Role.ADMIN, Role.AUDITOR, Role.SERVICE})


def test_without_sign_in_everyone_gets_every_check(web: Web) -> None:
    assert set(web.client().get("/readyz").get_json()) == {"ready", "checks"}


def test_checks_run_once_a_second_for_anonymous_probes() -> None:
    moments = iter([0.0, 0.5, 1.1, 1.2])
    runs: list[None] = []

    def check() -> bool:
        runs.append(None)
        return True

    readiness = Readiness(clock=lambda: next(moments))
    assert [readiness.is_ready(check) for _ in range(3)] == [True] * 3
    assert len(runs) == 2
