"""The monitoring page: content, permissions, and no patient identity."""

from __future__ import annotations

import pytest

from db.domain.accounts import Role
from db.monitoring.drift_observations import latest_report
from lungnode.monitoring.watch_report import run_watch
from tests.support.watched_series import rehearsed
from tests.unit.webapp.conftest import Web

HTML = {"Accept": "text/html"}


def test_drift_and_calibration_are_shown_without_patients(web: Web) -> None:
    rehearsed(web.database)
    run_watch(web.database)
    with web.database.read() as session:
        _, report = latest_report(session) or (None, {})
    history = {str(one["model"]): [bool(block["drifted"]) for block in one["history"]] for one in report["scanners"]}
    assert history == {"Phantom Two": [False] * 4 + [True] * 2, "Phantom One": [False] * 7, "Phantom Three": []}
    page = web.client().get("/monitoring", headers=HTML).text
    for described in (
        "Phantom Two",
        "drifted",
        "malignancy probabilities",
        "localizer",
        "SOUTH",
        "Override rate has risen",
    ):
        assert described in page, described
    assert page.count('href="/admin#scanner-') == 2, "from the page a scanner is held"
    assert "only 0 of" not in page
    assert "CANARY" not in page
    assert "1.2.9" not in page, "UIDs name people"

    metrics = web.client().get("/metrics").text
    malignancy = 'of="malignancy",'
    labels = 'kernel="FC51",{}scanner="Phantom Two",slice_spacing="1.0 mm"'
    assert f"lungnode_drift_alarm{{{labels.format('')}}} 1.0" in metrics
    assert metrics.count("lungnode_drift_psi{") == 8, "three of two scanners, two of all"
    for described in (
        f"lungnode_drift_psi{{{labels.format(malignancy)}}} ",
        'lungnode_override_ratio{kernel="",scanner="all",slice_spacing="",window="recent"} 0.',
        'lungnode_calibration_error{site="SOUTH",truth="pathology"} 0.',
        'lungnode_unanswered_ratio{machine="Phantom Three"} 0.',
        'lungnode_drift_alarms{kind="drift"} 1.0',
    ):
        assert described in metrics, described
    assert "CANARY" not in metrics


def test_before_the_first_look_the_page_says_so(web: Web) -> None:
    assert "lungnode_drift" not in web.client().get("/metrics").text
    assert "No report yet" in web.client().get("/monitoring", headers=HTML).text


def test_too_few_cases_are_stated(web: Web) -> None:
    run_watch(web.database)
    page = web.client().get("/monitoring", headers=HTML).text
    assert "No series was read yet." in page
    assert "only 0 of 300 series" in page
    assert "Neither verdicts nor pathology" in page


@pytest.mark.parametrize(("role", "status"), [(Role.AUDITOR, 200), (Role.ADMIN, 200), (Role.RADIOLOGIST, 403)])
def test_auditors_and_administrators_see_it(locked: Web, role: Role, status: int) -> None:
    answer = locked.client().get("/monitoring", headers=locked.bearer(role))
    assert answer.status_code == status
