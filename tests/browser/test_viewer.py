"""The viewer: the right slices, the right side, and verdicts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from db.studies import study_detail
from tests.browser.conftest import Site
from tests.browser.serve import NODULE, SIDE, SLICES
from tests.unit.webapp.doubles import Study

pytestmark = pytest.mark.browser

OWN = SLICES - 1 - 24
"""Where the nodule's slice stands: slices are shown from head to feet."""
LUNG = (74, 90)
"""Row and column of a place in the left lung beside the nodule."""


@pytest.fixture
def study(site: Site) -> Study:
    return site.analysed_study()


@pytest.fixture
def viewer(site: Site, study: Study, open_page: Callable[..., Page]) -> Page:
    page = open_page()
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(shown(page)).to_have_attribute("data-shown", str(OWN))
    return page


def shown(page: Page) -> Locator:
    return page.locator("[data-viewer]")


def grey_at(page: Page, row: float, column: float) -> int:
    """Grey value of a pixel of the image on the screen."""
    script = "(canvas, [x, y]) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[0]"
    return int(page.locator("[data-canvas]").evaluate(script, [round(column), round(row)]))


def test_it_opens_at_the_finding_most_probably_malignant(viewer: Page) -> None:
    expect(viewer.locator("[data-readout-slice]")).to_have_text(f"Slice {OWN + 1} of {SLICES}")
    expect(viewer.locator(".finding.selected .value")).to_have_text("81.0 %")
    assert grey_at(viewer, NODULE.index[1], NODULE.index[2]) > 200
    assert grey_at(viewer, *LUNG) < 110


def test_left_is_left(viewer: Page) -> None:
    letters = {
        edge: viewer.locator(f"[data-orient={edge}]").inner_text() for edge in ("left", "right", "top", "bottom")
    }
    assert letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    mark = viewer.locator(".mark.selected").bounding_box()
    stage = viewer.locator("[data-stage]").bounding_box()
    assert mark is not None
    assert stage is not None
    assert mark["x"] > stage["x"] + stage["width"] / 2  # the nodule is in the left lung, on the viewer's right


def test_the_mark_lies_on_the_nodule(viewer: Page) -> None:
    mark = viewer.locator(".mark.selected").bounding_box()
    canvas = viewer.locator("[data-canvas]").bounding_box()
    assert mark is not None
    assert canvas is not None
    column = (mark["x"] + mark["width"] / 2 - canvas["x"]) / canvas["width"] * SIDE - 0.5
    row = (mark["y"] + mark["height"] / 2 - canvas["y"]) / canvas["height"] * SIDE - 0.5
    assert (row, column) == pytest.approx((NODULE.index[1], NODULE.index[2]), abs=0.6)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["ArrowDown"], OWN + 1),
        (["ArrowUp", "ArrowUp"], OWN - 2),
        (["PageDown"], OWN + 10),
        (["Home"], 0),
        (["End"], SLICES - 1),
    ],
)
def test_keys_scroll(viewer: Page, keys: list[str], expected: int) -> None:
    for key in keys:
        viewer.keyboard.press(key)
    expect(shown(viewer)).to_have_attribute("data-shown", str(expected))


def test_the_wheel_scrolls(viewer: Page) -> None:
    viewer.locator("[data-stage]").hover()
    viewer.mouse.wheel(0, 120)
    expect(shown(viewer)).to_have_attribute("data-shown", str(OWN + 2))


def test_keys_go_from_finding_to_finding(viewer: Page) -> None:
    for expected in (SLICES - 1 - 12, SLICES - 1 - 30, OWN):
        viewer.keyboard.press("n")
        expect(shown(viewer)).to_have_attribute("data-shown", str(expected))
    viewer.keyboard.press("p")
    expect(shown(viewer)).to_have_attribute("data-shown", str(SLICES - 1 - 30))


def test_windows_change_the_picture(viewer: Page) -> None:
    before = grey_at(viewer, *LUNG)
    with viewer.expect_response(lambda response: "center=50&width=400" in response.url):
        viewer.keyboard.press("2")
    expect(viewer.locator("[data-window=mediastinum]")).to_have_attribute("aria-pressed", "true")
    expect(viewer.locator("[data-readout-window]")).to_contain_text("W 400")
    script = (
        "([x, y]) => document.querySelector('[data-canvas]').getContext('2d').getImageData(x, y, 1, 1).data[0] === 0"
    )
    viewer.wait_for_function(script, arg=[LUNG[1], LUNG[0]])
    assert before > 0


def test_a_finding_is_rejected_and_that_is_kept(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("r")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected")
    viewer.get_by_text("Vessel", exact=True).click()
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected: Vessel")
    viewer.reload()
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected: Vessel")
    with site.database.read() as session:
        detail = study_detail(session, study.study_instance_uid)
    assert detail is not None
    latest = detail.findings[0].assessment
    assert latest is not None
    assert (latest.verdict, latest.reason) == ("reject", "Vessel")


def test_a_click_adds_a_finding_where_it_was(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("m")
    canvas = viewer.locator("[data-canvas]").bounding_box()
    assert canvas is not None
    viewer.mouse.click(canvas["x"] + canvas["width"] * 0.25, canvas["y"] + canvas["height"] * 0.5)
    expect(viewer.locator(".finding")).to_have_count(4)
    expect(viewer.locator(".finding.selected")).to_contain_text("marked by local")
    with site.database.read() as session:
        detail = study_detail(session, study.study_instance_uid)
    assert detail is not None
    added = next(record for record in detail.findings if record.origin == "reader")
    assert added.finding.sop_instance_uid == study.sop_instance_uids[24]
    assert (added.finding.row, added.finding.column) == pytest.approx((SIDE * 0.5 - 0.5, SIDE * 0.25 - 0.5), abs=0.6)


def test_zooming_and_dragging_keep_image_and_mark_together(viewer: Page) -> None:
    viewer.locator("[data-stage]").hover()
    viewer.keyboard.down("Control")
    viewer.mouse.wheel(0, -300)
    viewer.keyboard.up("Control")
    expect(viewer.locator("[data-readout-zoom]")).not_to_have_text("100 %")
    viewer.keyboard.press("g")
    box = viewer.locator("[data-stage]").bounding_box()
    assert box is not None
    viewer.mouse.move(box["x"] + 300, box["y"] + 300)
    viewer.mouse.down()
    viewer.mouse.move(box["x"] + 220, box["y"] + 340, steps=4)
    viewer.mouse.up()
    test_the_mark_lies_on_the_nodule(viewer)
    viewer.keyboard.press("0")
    expect(viewer.locator("[data-readout-zoom]")).to_have_text("100 %")


def test_a_length_is_measured_in_millimetres(viewer: Page) -> None:
    viewer.keyboard.press("l")
    canvas = viewer.locator("[data-canvas]").bounding_box()
    assert canvas is not None
    y = canvas["y"] + canvas["height"] / 2
    viewer.mouse.move(canvas["x"] + canvas["width"] * 0.25, y)
    viewer.mouse.down()
    viewer.mouse.move(canvas["x"] + canvas["width"] * 0.75, y, steps=4)
    viewer.mouse.up()
    text = viewer.locator(".marks text.length").text_content()
    assert text is not None
    assert float(text.split()[0]) == pytest.approx(SIDE / 2 * 2.66, abs=2)


def test_marks_and_the_model_can_be_hidden(viewer: Page) -> None:
    viewer.keyboard.press("h")
    expect(viewer.locator(".mark")).to_have_count(0)
    viewer.keyboard.press("h")
    expect(viewer.locator(".mark")).to_have_count(1)
    viewer.locator("[data-blind-mode]").check()
    expect(viewer.locator(".finding")).to_have_count(0)
    expect(viewer.locator(".mark")).to_have_count(0)
    viewer.get_by_role("button", name="Show the model's findings").click()
    expect(viewer.locator(".finding")).to_have_count(3)


def test_the_banner_always_says_whose_images_these_are(viewer: Page) -> None:
    expect(viewer.locator("[data-patient-name]")).to_have_text("Phantom, Browser")
    assert viewer.title() == "Study · lungnode"
    viewer.keyboard.press("End")
    expect(viewer.locator("[data-corner-patient]")).to_be_visible()


def test_a_rerun_is_asked_for_and_its_state_shows(site: Site, study: Study, viewer: Page) -> None:
    viewer.get_by_role("button", name="Analyse again").click()
    expect(viewer.locator("[data-state]")).to_contain_text("Queued")


def test_escape_leads_back(viewer: Page) -> None:
    viewer.keyboard.press("Escape")
    viewer.wait_for_url("**/worklist")
