"""Accepted findings as reporting text: copied by one key, with a guideline's category where the reader asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, served
from tests.browser.test_viewer import opened
from tests.support.serve import NODULE
from tests.support.webapp_doubles import Study, finding_at, finish

pytestmark = pytest.mark.browser

MEASURED = {"mean_diameter_mm": 7.1, "perpendicular_mm": 6.2, "density": "solid", "volume_mm3": 190.0}


def study_of(site: Site, patient_id: str) -> Study:
    """A study with a measured finding, one without a mask, and one more."""
    study = site.stored_study(patient_id=patient_id)
    findings = []
    for index, malignancy, attributes in ((24, 0.81, MEASURED), (12, 0.35, {}), (30, 0.06, {})):
        finding = finding_at(study.sop_instance_uids[index], *NODULE.index[1:], malignancy=malignancy, diameter_mm=8.0)
        location = {"location": {"side": "left", "third": "middle"}} if attributes else {}
        findings.append(replace(finding, attributes={**attributes, **location}))
    finish(site.database, study, findings)
    return study


@pytest.fixture
def viewer(site: Site, open_page: Callable[..., Page]) -> Page:
    page = open_page(advances=True, permissions=["clipboard-read", "clipboard-write"])
    return opened(page, site, study_of(site, "B-REPORT"))


def accept(page: Page, count: int) -> None:
    for number in range(1, count + 1):
        page.keyboard.press("a")
        expect(page.locator("[data-verdict-text]")).to_contain_text(f"Finding {number}: Accepted.")
        expect(page.locator(f".finding:nth-child({number}) .verdict")).to_have_text("Accepted")


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_one_key_copies_the_accepted_findings(viewer: Page) -> None:
    accept(viewer, 2)
    viewer.keyboard.press("d")
    expect(viewer.locator("[data-report-status]")).to_have_text("Copied to the clipboard.")
    first, second = clipboard(viewer).splitlines()
    assert first.startswith(
        "Finding 1: nodule, solid, left, middle third, 7.1 mm (8.0 × 6.2 mm), volume 190 mm³, image"
    )
    assert second.startswith("Finding 2: nodule, longest diameter 8.0 mm, image")
    viewer.keyboard.press("Escape")
    expect(viewer.locator("[data-report-dialog]")).to_be_hidden()


def test_a_category_needs_what_the_reader_chooses(viewer: Page) -> None:
    accept(viewer, 2)
    viewer.keyboard.press("d")
    text = viewer.locator("[data-report-text]")
    viewer.get_by_label("Category of a guideline").select_option("Fleischner 2017")
    rows = viewer.locator("[data-report-category] fieldset")
    expect(rows.nth(0).get_by_label("Type")).to_have_value("")  # the density class does not fill it in
    expect(rows.nth(0).get_by_label("Mean diameter, mm")).to_have_value("7.1")
    expect(rows.nth(1).get_by_label("Mean diameter, mm")).to_have_value("")  # not measured
    for row, size in ((0, ""), (1, "5")):
        rows.nth(row).get_by_label("Type").select_option("solid")
        if size:
            rows.nth(row).get_by_label("Mean diameter, mm").fill(size)
    assert "Fleischner" not in text.input_value()
    viewer.get_by_label("Risk of the patient").select_option("high")
    expected = "Fleischner 2017, finding 1, solid, 7.1 mm, high risk: CT at 3 to 6 months, then CT at 18 to 24 months."
    assert text.input_value().splitlines()[-1] == expected
    viewer.get_by_role("button", name="Copy", exact=True).click()
    expect(viewer.locator("[data-report-status]")).to_have_text("Copied to the clipboard.")
    assert clipboard(viewer).endswith(expected)
    viewer.get_by_label("Category of a guideline").select_option("Lung-RADS v2022")
    assert "Fleischner" not in text.input_value()
    for row, history in ((0, "new"), (1, "baseline")):
        rows.nth(row).get_by_label("Type").select_option("solid")
        rows.nth(row).get_by_label("Compared with before").select_option(history)
    rows.nth(1).get_by_label("Mean diameter, mm").fill("5")
    assert text.input_value().splitlines()[-1] == "Lung-RADS v2022: 4A (by finding: 1: 4A, 2: 2)."
    rows.nth(1).get_by_label("Mean diameter, mm").fill("-3")
    assert "Lung-RADS" not in text.input_value()


def test_nothing_is_copied_before_a_finding_is_accepted(viewer: Page) -> None:
    viewer.keyboard.press("d")
    expect(viewer.locator("[data-report-status]")).to_have_text("No finding is accepted yet.")
    expect(viewer.locator("[data-report-text]")).to_have_value("")
    expect(viewer.get_by_label("Category of a guideline")).to_be_disabled()


@pytest.fixture(scope="module")
def site_with_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("template"), "template") as served_site:
        yield served_site


def test_the_template_of_the_site_is_used_without_https(
    site_with_template: Site, open_page: Callable[..., Page]
) -> None:
    page = open_page(advances=True)
    page.add_init_script("delete Navigator.prototype.clipboard")  # as on a page without HTTPS
    opened(page, site_with_template, study_of(site_with_template, "B-TEMPLATE"))
    accept(page, 2)
    page.keyboard.press("d")
    expect(page.locator("[data-report-text]")).to_have_value("RF 1 middle third: 7.1; –\nRF 2: –; –")
    expect(page.locator("[data-report-status]")).to_have_text("Copied to the clipboard.")
