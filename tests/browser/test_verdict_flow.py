"""From finding to finding: crops and positions in the list, verdicts by key, reasons, comments, undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, intercept
from tests.browser.test_viewer import OWN, findings_of, opened, shows
from tests.support.serve import NODULE, SLICES
from tests.support.service import until
from tests.support.webapp_doubles import Study, finding_at, finish

pytestmark = pytest.mark.browser

FINDINGS: tuple[tuple[int, float, dict[str, str | None]], ...] = (
    (24, 0.81, {"side": "left", "third": "middle"}),
    (12, 0.35, {"side": "right", "third": None}),
    (30, 0.06, {}),
)
"""Slice, malignancy and location of the findings, in the order of the list."""


@pytest.fixture
def study(site: Site) -> Study:
    study = site.stored_study(patient_id="B-FLOW")
    findings = []
    for index, malignancy, location in FINDINGS:
        uid = study.sop_instance_uids[index]
        finding = finding_at(uid, NODULE.index[1], NODULE.index[2], malignancy=malignancy)
        attributes = {**finding.attributes, **({"location": location} if location else {})}
        findings.append(replace(finding, attributes=attributes))
    finish(site.database, study, findings)
    return study


@pytest.fixture
def viewer(site: Site, study: Study, open_page: Callable[..., Page]) -> Page:
    return opened(open_page(advances=True), site, study)


def is_selected(page: Page, number: int) -> None:
    """Wait until the finding with this number is selected and on the screen."""
    expect(page.locator(f".finding:nth-child({number}).selected")).to_have_count(1)
    shows(page, SLICES - 1 - FINDINGS[number - 1][0])


def verdicts(site: Site, study: Study) -> list[tuple[str, str, str] | None]:
    records = [finding.assessment for finding in findings_of(site, study)]
    return [(record.verdict, record.reason, record.comment) if record else None for record in records]


def says(page: Page, text: str) -> None:
    expect(page.locator("[data-verdict-text]")).to_have_text(text)


def test_the_list_shows_crop_side_third_and_image_number(viewer: Page) -> None:
    expect(viewer.locator("[data-crop][data-drawn]")).to_have_count(3)
    bright = viewer.locator("[data-crop]").evaluate_all(
        "crops => crops.map(crop => crop.getContext('2d').getImageData(56, 56, 1, 1).data[0])"
    )
    assert bright[0] > 200  # the nodule is in the middle
    places = viewer.locator(".place").all_inner_texts()
    assert [text.partition(" · ")[0] for text in places[:2]] == ["left, middle third", "right"]
    assert all(text.partition("image ")[2].isdigit() for text in places)


def test_a_study_is_read_by_keys_alone(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("r")
    is_selected(viewer, 2)
    says(viewer, "Finding 1: Rejected.")
    viewer.keyboard.press("Shift+Digit1")  # the reason of the last verdict: this finding has none yet
    says(viewer, "Finding 1: Rejected: Vessel.")
    is_selected(viewer, 2)
    viewer.keyboard.press("a")
    is_selected(viewer, 3)
    expect(viewer.locator("[data-finish].ready")).to_have_count(0)
    viewer.keyboard.press("u")
    says(viewer, "Finding 3: Unsure. All findings have a verdict.")
    expect(viewer.locator("[data-finish].ready")).to_be_in_viewport()
    assert verdicts(site, study) == [("reject", "Vessel", ""), ("accept", "", ""), ("unsure", "", "")]


def test_undo_is_of_the_last_verdict_whichever_finding_is_selected(site: Site, study: Study, viewer: Page) -> None:
    for key, selected in (("a", 2), ("r", 3)):
        viewer.keyboard.press(key)
        is_selected(viewer, selected)
    viewer.keyboard.press("Control+z")
    says(viewer, "Finding 2: undone.")
    is_selected(viewer, 2)
    viewer.get_by_role("button", name="Undo", exact=True).click()
    says(viewer, "Finding 1: undone.")
    is_selected(viewer, 1)
    assert verdicts(site, study) == [None, None, None]
    viewer.keyboard.press("Control+z")  # nothing is left to undo
    says(viewer, "Finding 1: undone.")


def test_a_comment_gives_the_keyboard_back(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("a")
    is_selected(viewer, 2)
    viewer.keyboard.press("t")  # of the last verdict
    viewer.keyboard.type("new since May")
    viewer.keyboard.press("Enter")
    until(lambda: verdicts(site, study)[0], lambda record: record == ("accept", "", "new since May"))
    expect(viewer.locator("[data-view]").first).to_be_focused()
    viewer.keyboard.press("n")
    is_selected(viewer, 2)


def test_a_verdict_that_is_changed_or_not_saved_stays_selected(viewer: Page) -> None:
    intercept(viewer, "**/assessment", lambda route: route.abort())
    viewer.keyboard.press("a")
    expect(viewer.locator(".finding.selected .draft")).to_contain_text("Not saved")
    shows(viewer, OWN)
    viewer.unroute("**/assessment")
    viewer.keyboard.press("r")
    says(viewer, "Finding 1: Rejected.")
    shows(viewer, OWN)


def test_advancing_can_be_switched_off(viewer: Page) -> None:
    viewer.get_by_label("Go to the next unread finding after a verdict").uncheck()
    viewer.keyboard.press("a")
    says(viewer, "Finding 1: Accepted.")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Accepted")
    viewer.reload()
    shows(viewer, OWN)
    expect(viewer.get_by_label("Go to the next unread finding after a verdict")).not_to_be_checked()
