"""A reader's calipers: two lines replace the size of the selected finding, everywhere it is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, intercept
from tests.browser.test_viewer import OWN, findings_of, opened, place_of, shows
from tests.support.serve import SPACING_MM
from tests.support.service import until
from tests.support.webapp_doubles import Study

pytestmark = pytest.mark.browser

LONG, SHORT = ((52.0, 82.0), (52.0, 98.0)), ((50.0, 90.0), (54.0, 90.0))
"""Across the nodule: 16 columns and 4 rows."""
LONG_MM, SHORT_MM = 16 * SPACING_MM[2], 4 * SPACING_MM[1]


@pytest.fixture
def study(site: Site) -> Study:
    return site.analysed_study()


@pytest.fixture
def viewer(site: Site, study: Study, open_page: Callable[..., Page]) -> Page:
    return opened(open_page(), site, study)


def draw(page: Page, line: tuple[tuple[float, float], tuple[float, float]]) -> None:
    (x, y), end = (place_of(page, *pixel) for pixel in line)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def measure(page: Page) -> None:
    page.keyboard.press("q")
    draw(page, LONG)
    expect(page.get_by_text("Now draw the short axis")).to_be_visible()
    draw(page, SHORT)


def test_two_lines_replace_the_size_and_are_undone(site: Site, study: Study, viewer: Page) -> None:
    measure(viewer)
    finding = viewer.locator(".finding.selected")
    expect(finding.locator(".verdict")).to_have_text("Accepted")
    assessment = findings_of(site, study)[0].assessment
    assert assessment is not None
    assert assessment.size is not None
    assert (assessment.size.long_mm, assessment.size.short_mm) == pytest.approx((LONG_MM, SHORT_MM), rel=0.03)
    long_mm, text = (
        f"{assessment.size.long_mm:.1f}",
        f"{assessment.size.long_mm:.1f} × {assessment.size.short_mm:.1f} mm",
    )
    expect(finding.locator(".size")).to_have_text(text)
    expect(viewer.locator("[data-verdict-text]")).to_have_text(f"Finding 1: {text}.")
    expect(finding.locator(".finding-row")).to_contain_text(f"{long_mm} mm")
    expect(finding.locator(".facts")).to_contain_text("Diameter by the model18.0 mm")
    expect(viewer.locator("[data-axes]")).to_have_count(1)
    expect(viewer.locator(".svg-layer line")).to_have_count(0)
    expect(viewer.get_by_role("radio", name="Window (W)")).to_be_checked()
    viewer.reload()
    shows(viewer, OWN)
    expect(finding.locator(".size")).to_have_text(text)
    measure(viewer)
    until(lambda: viewer.locator("[data-verdict-text]").text_content(), lambda said: bool(said) and "×" in str(said))
    viewer.keyboard.press("Control+z")
    expect(finding.locator(".size")).to_have_text(text)


def test_ctrl_z_takes_the_size_and_the_verdict_back(site: Site, study: Study, viewer: Page) -> None:
    measure(viewer)
    finding = viewer.locator(".finding.selected")
    expect(finding.locator(".size")).to_be_visible()
    viewer.keyboard.press("Control+z")
    expect(finding.locator(".size")).to_have_count(0)
    expect(finding.locator(".verdict")).to_have_count(0)
    expect(finding.locator(".finding-row")).to_contain_text("18.0 mm")
    assert findings_of(site, study)[0].assessment is None


def test_a_size_leaves_verdict_reason_and_comment(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("u")
    finding = viewer.locator(".finding.selected")
    expect(finding.locator(".verdict")).to_have_text("Unsure")
    finding.get_by_label("Comment").fill("spiculated?")
    viewer.keyboard.press("Enter")
    expect(viewer.locator(".draft")).to_have_count(0)
    measure(viewer)
    expect(finding.locator(".size")).to_be_visible()
    viewer.keyboard.press("a")  # and a verdict leaves the size
    expect(finding.locator(".verdict")).to_have_text("Accepted")
    latest = findings_of(site, study)[0].assessment
    assert latest is not None
    assert latest.size is not None
    assert (latest.verdict.value, latest.comment) == ("accept", "spiculated?")


def test_lines_without_a_finding_or_on_slabs_say_why_they_are_no_size(site: Site, study: Study, viewer: Page) -> None:
    viewer.locator(".finding.selected .finding-row").click()  # no finding is selected any more
    expect(viewer.locator(".finding.selected")).to_have_count(0)
    viewer.keyboard.press("q")
    draw(viewer, LONG)
    expect(viewer.get_by_text("Select a finding of this series first.")).to_be_visible()
    viewer.locator(".finding-row").first.click()
    shows(viewer, OWN)
    viewer.keyboard.press("s")
    expect(viewer.locator("[data-slab]")).to_have_attribute("aria-pressed", "true")
    viewer.keyboard.press("q")
    draw(viewer, LONG)
    expect(viewer.get_by_text("Measure on an image of the current study, without MIP.")).to_be_visible()
    assert findings_of(site, study)[0].assessment is None


def test_a_size_that_cannot_be_saved_says_so(site: Site, study: Study, viewer: Page) -> None:
    intercept(viewer, "**/assessment", lambda route: route.abort())
    measure(viewer)
    expect(viewer.get_by_text("The service cannot be reached. Try again.")).to_be_visible()
    assert findings_of(site, study)[0].assessment is None


def test_report_text_states_the_reader_s_size(viewer: Page) -> None:
    measure(viewer)
    size = viewer.locator(".finding.selected .size")
    expect(size).to_be_visible()
    long_mm = (size.text_content() or "").split(" ×")[0]
    viewer.keyboard.press("d")
    text = viewer.get_by_label("Accepted findings")
    until(text.input_value, lambda value: f"({long_mm} × " in value)
