"""axe-core finds nothing serious on any page, dark and light."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Page

from db.domain.studies import StudyState
from tests.browser.conftest import Site
from tests.support.webapp_doubles import add_study, noise_png, put_in_state

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def viewer_path(site: Site) -> str:
    for state in StudyState:
        put_in_state(site.database, add_study(site.database, patient_id=f"AXE-{state}"), state)
    return f"/studies/{site.analysed_study(patient_id='AXE').study_instance_uid}"


def serious(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{entry['id']}: {entry['nodes'][0]['target']}"
        for entry in violations
        if entry["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_serious_is_wrong(
    site: Site, open_page: Callable[..., Page], axe: str, viewer_path: str, theme: str, tmp_path: Path
) -> None:
    picture = tmp_path / "slice.png"
    picture.write_bytes(noise_png(256, 256))
    page = open_page(color_scheme=theme)
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    violations = {}
    for path in ("/", "/model", "/worklist", "/nothing", "/detector"):
        page.goto(site.url + path)
        violations[path] = serious(page, axe)
    first = open_page(color_scheme=theme, is_first_visit=True)
    first.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    first.goto(f"{site.url}/worklist")
    first.wait_for_selector("dialog[data-first-visit][open]")
    violations["first visit"] = serious(first, axe)
    page.set_input_files("#image", picture)
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")
    violations["result"] = serious(page, axe)
    page.goto(site.url + viewer_path)
    page.wait_for_selector(".finding.selected")
    page.keyboard.press("r")
    page.wait_for_selector(".finding .verdict")
    violations["viewer"] = serious(page, axe)
    assert {path: problems for path, problems in violations.items() if problems} == {}
