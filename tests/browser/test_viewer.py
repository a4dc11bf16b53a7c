"""The viewer: the right slices, the right side, findings, verdicts and what a reader takes back."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, expect

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.findings import FindingRecord
from db.domain.masks import FindingMask, MaskSlice
from db.read_models.studies import study_detail
from tests.browser.conftest import Site
from tests.support.serve import NODULE, SIDE, SLICES, SPACING_MM
from tests.support.service import until
from tests.support.webapp_doubles import Study, finding_at, finish

pytestmark = pytest.mark.browser

OWN = SLICES - 1 - 24
"""Position of the nodule's slice: slices are shown from head to feet."""
LUNG = (74, 90)
"""Row and column of a place in the left lung beside the nodule."""
PATIENT = "Phantom, Browser"


@pytest.fixture
def study(site: Site) -> Study:
    return site.analysed_study()


@pytest.fixture
def viewer(site: Site, study: Study, shared_page: Page) -> Page:
    shared_page.context.clear_cookies()  # the choice to read first
    return opened(shared_page, site, study)


def opened(page: Page, site: Site, study: Study) -> Page:
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    shows(page, OWN)
    return page


def pane(page: Page) -> Locator:
    return page.locator("[data-pane][data-name=main]")


def shows(page: Page, index: int) -> None:
    expect(pane(page)).to_have_attribute("data-shown", str(index))


def box_of(element: Locator) -> FloatRect:
    box = element.bounding_box()
    assert box is not None
    return box


def place_of(page: Page, row: float, column: float, *, side_px: int = SIDE) -> tuple[float, float]:
    """Position of a pixel of the unmoved image on the screen: the image fills the pane's shorter side."""
    box = box_of(pane(page))
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    return left + (column + 0.5) / side_px * side, top + (row + 0.5) / side_px * side


def screen(page: Page) -> NDArray[np.uint8]:
    """Grey values of the page's own pixels on the screen."""
    session = page.context.new_cdp_session(page)  # a picture of the page's own would undo a changed pixel ratio
    png = base64.b64decode(session.send("Page.captureScreenshot")["data"])
    session.detach()
    image = Image.open(io.BytesIO(png)).convert("L")
    size = tuple(page.evaluate("[innerWidth, innerHeight]"))
    return np.asarray(image if image.size == size else image.resize(size))


def grey_at(page: Page, row: float, column: float) -> int:
    """Grey value of a pixel of the image as it is on the screen."""
    x, y = place_of(page, row, column)
    return int(screen(page)[round(y), round(x)])


def middle_of(element: Locator) -> tuple[float, float]:
    box = box_of(element)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def nodule_on_screen(page: Page) -> tuple[float, float]:
    """Middle of what is bright within the chosen mark, with all marks hidden."""
    mark = box_of(page.locator(".mark.selected"))
    page.keyboard.press("h")
    expect(page.locator(".mark")).to_have_count(0)
    left, top = int(mark["x"]), int(mark["y"])
    inner = screen(page)[top : top + round(mark["height"]), left : left + round(mark["width"])]
    page.keyboard.press("h")
    rows, columns = np.nonzero(inner > 128)
    return left + columns.mean() + 0.5, top + rows.mean() + 0.5


def findings_of(site: Site, study: Study) -> tuple[FindingRecord, ...]:
    with site.database.read() as session:
        detail = study_detail(session, study.study_instance_uid)
    assert detail is not None
    return detail.findings


def test_it_opens_at_the_finding_most_probably_malignant_and_left_is_left(viewer: Page) -> None:
    expect(viewer.locator("[data-readout-slice]")).to_have_text(f"Image {SLICES - OWN} ({OWN + 1} of {SLICES})")
    expect(viewer.locator(".finding.selected .value")).to_have_text("65 to 94 % (28 of 34 similar)")
    expect(viewer.locator(".finding.selected .facts")).to_contain_text("2D 25 to 60 %, 3D 43 to 78 %")
    expect(viewer.locator(".finding.selected .reasons")).to_have_text("the 2D and the 3D networks disagree")
    edges = ("left", "right", "top", "bottom")
    letters = {edge: viewer.locator(f"[data-orient={edge}]").inner_text() for edge in edges}
    assert letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    mark = middle_of(viewer.locator(".mark.selected"))
    x, y = nodule_on_screen(viewer)
    assert (x, y) == pytest.approx(mark, abs=3)
    assert mark == pytest.approx(place_of(viewer, *NODULE.index[1:]), abs=1.5)
    middle = middle_of(pane(viewer))
    assert x > middle[0] + 20  # the nodule is in the left lung, on the viewer's right
    assert y < middle[1]  # and in front
    assert grey_at(viewer, *LUNG) < 110
    assert grey_at(viewer, 90, 63) > 150  # the spine lies at the back, below


def test_keys_wheel_and_slider_scroll(viewer: Page) -> None:
    for key, expected in (
        ("ArrowDown", OWN + 1),
        ("ArrowUp", OWN),
        ("PageDown", OWN + 10),
        ("End", SLICES - 1),
        ("Home", 0),
    ):
        viewer.keyboard.press(key)
        shows(viewer, expected)
    pane(viewer).hover()
    viewer.mouse.wheel(0, 120)
    shows(viewer, 1)
    viewer.locator("#slice").fill("40")
    shows(viewer, SLICES - 1)
    expect(viewer.locator("#slice")).to_have_attribute("aria-valuetext", f"Slice {SLICES} of {SLICES}")


def test_keys_go_from_finding_to_finding(viewer: Page) -> None:
    for expected in (SLICES - 1 - 12, SLICES - 1 - 30, OWN):
        viewer.keyboard.press("n")
        shows(viewer, expected)
    viewer.keyboard.press("p")
    shows(viewer, SLICES - 1 - 30)


def test_windows_change_the_picture(viewer: Page) -> None:
    assert grey_at(viewer, *LUNG) > 20
    viewer.keyboard.press("2")
    expect(viewer.locator("[data-window=mediastinum]")).to_have_attribute("aria-pressed", "true")
    expect(viewer.locator("[data-readout-window]")).to_have_text("C 50  W 400 HU")
    until(lambda: grey_at(viewer, *LUNG), lambda grey: grey == 0)  # said at once, drawn with the next frame
    x, y = middle_of(pane(viewer))
    viewer.mouse.move(x, y)
    viewer.mouse.down()
    viewer.mouse.move(x + 90, y, steps=5)
    viewer.mouse.up()
    expect(viewer.locator("[data-window=mediastinum]")).to_have_attribute("aria-pressed", "false")
    expect(viewer.locator("[data-readout-window]")).not_to_contain_text("W 400")


def test_the_readers_window_stands_when_a_series_is_opened(viewer: Page) -> None:
    readout = viewer.locator("[data-readout-window]").first
    viewer.keyboard.press("2")
    expect(readout).to_have_text("C 50 W 400 HU")
    with viewer.expect_response("**/slices"):
        viewer.locator("[data-series]").first.click()
    shows(viewer, SLICES // 2)
    expect(readout).to_have_text("C 50 W 400 HU", timeout=20_000)  # not the window that its images came with
    expect(viewer.get_by_role("button", name="Mediastinum")).to_have_attribute("aria-pressed", "true")


def test_a_finding_is_rejected_with_a_reason_and_that_is_kept(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("r")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected")
    viewer.get_by_text("Vessel", exact=True).click()
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected: Vessel")
    viewer.reload()
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected: Vessel")
    latest = findings_of(site, study)[0].assessment
    assert latest is not None
    assert (latest.verdict, latest.reason) == ("reject", "Vessel")


def test_a_verdict_is_taken_back(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("a")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Accepted")
    viewer.keyboard.press("u")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Unsure")
    viewer.keyboard.press("Control+z")
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Accepted")
    viewer.get_by_role("button", name="Undo verdict").click()
    expect(viewer.locator(".finding.selected .verdict")).to_have_count(0)
    assert findings_of(site, study)[0].assessment is None


def test_a_click_adds_a_finding_where_it_was_and_it_can_be_taken_back(site: Site, study: Study, viewer: Page) -> None:
    viewer.keyboard.press("m")
    viewer.mouse.click(*place_of(viewer, 63.5, 31.5))
    expect(viewer.locator(".finding")).to_have_count(4)
    expect(viewer.locator(".finding.selected")).to_contain_text("marked by local")
    expect(viewer.locator(".finding.selected .facts")).to_contain_text("2D 25 to 60 %, 3D 43 to 78 %")
    added = next(record for record in findings_of(site, study) if record.origin == "reader")
    assert added.finding.sop_instance_uid == study.sop_instance_uids[24]
    assert (added.finding.row, added.finding.column) == pytest.approx((63.5, 31.5), abs=0.3)
    viewer.keyboard.press("Control+z")
    expect(viewer.locator(".finding")).to_have_count(3)
    assert len(findings_of(site, study)) == 3


def test_zooming_and_dragging_keep_image_and_mark_together(viewer: Page) -> None:
    pane(viewer).hover()
    viewer.keyboard.down("Control")
    viewer.mouse.wheel(0, -200)
    viewer.keyboard.up("Control")
    expect(viewer.locator("[data-readout-zoom]")).not_to_have_text("100 %")
    viewer.keyboard.press("g")
    x, y = middle_of(pane(viewer))
    viewer.mouse.move(x, y)
    viewer.mouse.down()
    viewer.mouse.move(x - 80, y + 40, steps=4)
    viewer.mouse.up()
    until(
        lambda: (nodule_on_screen(viewer), middle_of(viewer.locator(".mark.selected"))),
        lambda places: places[0] == pytest.approx(places[1], abs=3),
    )
    viewer.keyboard.press("0")
    expect(viewer.locator("[data-readout-zoom]")).to_have_text("100 %")
    assert middle_of(viewer.locator(".mark.selected")) == pytest.approx(place_of(viewer, *NODULE.index[1:]), abs=1.5)


def test_a_length_is_measured_in_millimetres_and_removed(viewer: Page) -> None:
    viewer.keyboard.press("l")
    start, end = place_of(viewer, 64, 32), place_of(viewer, 64, 96)
    viewer.mouse.move(*start)
    viewer.mouse.down()
    viewer.mouse.move(*end, steps=6)
    lengths = viewer.locator(".svg-layer text").filter(has_text="mm")
    viewer.mouse.move(end[0] + 2, end[1])
    viewer.wait_for_timeout(300)  # a hand rests before it lets go
    viewer.mouse.move(*end)
    length = pytest.approx(64 * SPACING_MM[2], rel=0.01)
    until(lengths.all_text_contents, lambda texts: [float(one.split()[0]) for one in texts] == [length])
    viewer.mouse.up()
    expect(lengths).to_have_count(1)
    assert float((lengths.text_content() or "").split()[0]) == length
    viewer.keyboard.press("Delete")
    expect(lengths).to_have_count(0)


def test_attention_and_gradients_are_off_until_asked_for_and_say_what_they_show(viewer: Page) -> None:
    overlay = viewer.locator("[data-attention-image]")
    expect(overlay).to_have_count(0)
    before = grey_at(viewer, *LUNG)
    for label, name, share in (("Gradients", "gradient", "42 %"), ("Attention", "attention", "no more on the nodule")):
        with viewer.expect_response(f"**/attention.png?map={name}") as answered:
            viewer.get_by_label(label, exact=True).check()
        assert answered.value.status == 200
        expect(viewer.locator(".explanation")).to_contain_text(share)
    expect(overlay).to_have_attribute("opacity", "0.5")
    viewer.get_by_label("Opacity of the map").fill("100")
    expect(overlay).to_have_attribute("opacity", "1")
    box = box_of(overlay)
    assert (box["width"], box["height"]) == pytest.approx((box_of(pane(viewer))["height"],) * 2, abs=2)
    until(lambda: grey_at(viewer, *LUNG), lambda grey: grey != before)  # a map is decoded after it is there
    pane(viewer).hover()
    viewer.mouse.wheel(0, 60)
    expect(overlay).to_have_count(0)  # it belongs to its own slice


def test_a_probability_lies_among_known_nodules(viewer: Page) -> None:
    expect(viewer.locator(".finding.selected .frequency")).to_contain_text(
        "28 of 34 calibration nodules with a similar score were rated malignant by radiologists (65 to 94 %)"
    )
    figure = viewer.locator("[data-histogram]")
    expect(figure).to_have_attribute(
        "aria-label", "Of 34 test nodules scored 75 % or more: 30 rated malignant, 4 rated benign."
    )
    here = figure.locator("[data-here]")
    assert float(here.get_attribute("x1") or 0) == pytest.approx(0.81 * 200)


def test_a_blinded_reader_sees_no_results_before_the_end_and_times_are_recorded(
    site: Site, study: Study, viewer: Page
) -> None:
    viewer.get_by_label("Hide the model until I have read").check()
    expect(viewer.locator(".finding")).to_have_count(0)
    api = f"{site.url}/api/v1/studies/{study.study_instance_uid}"
    assert viewer.request.get(api).json()["findings"] == []
    page = viewer.request.get(viewer.url, headers={"Cookie": "lungnode_hide_model=yes"}).text()
    assert "28 of 34 similar" not in page  # it is not sent to be hidden
    viewer.reload()
    shows(viewer, SLICES // 2)
    expect(viewer.locator("[data-finding-count]")).to_have_text("hidden")
    expect(viewer.locator(".mark")).to_have_count(0)
    viewer.keyboard.press("m")
    viewer.mouse.click(*place_of(viewer, 63.5, 31.5))
    expect(viewer.locator(".finding")).to_have_count(1)
    expect(viewer.locator(".finding")).to_contain_text("Shown when you have read")
    expect(viewer.locator(".finding-body")).not_to_contain_text("2D")
    viewer.get_by_role("button", name="Show the model's findings").click()
    expect(viewer.locator(".finding")).to_have_count(4)
    viewer.goto(f"{site.url}/worklist")
    expected = [("reading:opened", True), ("reading:revealed", True), ("reading:closed", False)]
    until(  # a page that is left reports it in the background
        lambda: [(event.action, event.details["model_hidden"]) for event in readings(site)[-3:]],
        lambda answer: answer == expected,
    )
    seconds = [float(str(event.details["seconds"])) for event in readings(site)[-3:]]
    assert seconds == sorted(seconds)


def readings(site: Site) -> list[AuditEvent]:
    with site.database.read() as session:
        entries = audit.recent(session, limit=200)
    return [entry.event for entry in reversed(entries) if entry.event.action.startswith("reading:")]


def test_the_banner_and_the_pane_always_say_whose_images_these_are(viewer: Page) -> None:
    expect(viewer.locator("[data-patient-name]")).to_have_text(PATIENT)
    assert viewer.title() == "Study · lungnode"
    viewer.keyboard.press("End")
    expect(pane(viewer).locator("[data-corner-patient]")).to_have_text(PATIENT)
    expect(pane(viewer).locator("[data-corner-study]")).to_have_text("2026-01-14 · Thin 1.0 lung")


def test_an_earlier_study_is_compared_and_scrolls_along(site: Site, shared_page: Page) -> None:
    before = site.stored_study(patient_id="B-PRIOR", date="20240301")
    site.stored_study(patient_id="B-SOMEBODY", name="Other^Person")
    study = site.analysed_study(patient_id="B-PRIOR")
    page = opened(shared_page, site, study)
    expect(page.locator("[data-other]")).to_have_count(1)
    page.keyboard.press("b")
    comparison = page.locator("[data-pane][data-name=comparison]")
    expect(comparison).to_have_attribute("data-shown", str(OWN))
    expect(comparison.locator("[data-corner-patient]")).to_have_text(PATIENT)
    expect(comparison.locator("[data-corner-study]")).to_have_text("2024-03-01 · Thin 1.0 lung")
    expect(comparison.locator("[data-orient=left]")).to_have_text("R")
    page.keyboard.press("ArrowDown")
    expect(comparison).to_have_attribute("data-shown", str(OWN + 1))
    page.keyboard.press("y")
    page.keyboard.press("PageDown")
    shows(page, OWN + 11)
    expect(comparison).to_have_attribute("data-shown", str(OWN + 1))
    page.keyboard.press("y")  # linked again as they stand now
    page.keyboard.press("ArrowUp")
    shows(page, OWN + 10)
    expect(comparison).to_have_attribute("data-shown", str(OWN))
    comparison.hover()
    page.mouse.wheel(0, 120)
    shows(page, OWN + 11)
    page.keyboard.press("2")
    expect(comparison.locator("[data-readout-window]")).to_have_text("C 50  W 400 HU")
    page.get_by_role("button", name="Close the other study").click()
    expect(comparison).to_have_count(0)
    with site.database.read() as session:
        views = [entry.event for entry in audit.recent(session) if entry.event.action == "study:viewed"]
    assert before.series_id in {event.subject for event in views}


def measured_study(site: Site, *, date: str) -> Study:
    """A study with one finding, measured on its own slice."""
    study = site.stored_study(patient_id="B-MEASURED", date=date)
    uid = study.sop_instance_uids[24]
    row, column = round(NODULE.index[1]), round(NODULE.index[2])
    mask = FindingMask((MaskSlice(uid, 1),), row - 2, column - 2, 5, 5, (0, 25))
    finish(site.database, study, [replace(finding_at(uid, row, column), mask=mask)])
    return study


def test_contours_are_drawn_in_both_panes_and_hidden_by_a_key(site: Site, shared_page: Page) -> None:
    measured_study(site, date="20240301")
    page = opened(shared_page, site, measured_study(site, date="20260114"))
    page.keyboard.press("b")
    panes = [page.locator(f"[data-pane]{name}") for name in (":not([data-name=comparison])", "[data-name=comparison]")]
    for one in panes:
        expect(one.locator("[data-contour]")).to_have_count(1)
    page.keyboard.press("o")
    for one in panes:
        expect(one.locator("[data-contour]")).to_have_count(0)
    page.keyboard.press("o")
    expect(panes[1].locator("[data-contour]")).to_have_count(1)
    page.keyboard.press("ArrowDown")  # a slice that the mask does not reach
    for one in panes:
        expect(one.locator("[data-contour]")).to_have_count(0)


def test_a_rerun_is_asked_for_and_escape_leads_back(viewer: Page) -> None:
    viewer.get_by_role("button", name="Analyse again").click()
    expect(viewer.locator("[data-state]")).to_contain_text("Queued")
    viewer.keyboard.press("l")
    viewer.keyboard.press("Escape")
    expect(viewer.locator("[data-tool=window]")).to_have_attribute("aria-checked", "true")
    viewer.keyboard.press("Escape")
    viewer.wait_for_url("**/worklist")


def test_the_viewer_speaks_german_to_a_german_browser(site: Site, study: Study, open_page: Callable[..., Page]) -> None:
    page = open_page(locale="de-DE")
    opened(page, site, study)
    expect(page.get_by_role("heading", name="Befunde 3")).to_be_visible()
    expect(page.locator("[data-readout-slice]")).to_have_text(f"Bild {SLICES - OWN} ({OWN + 1} von {SLICES})")
    expect(page.locator(".finding.selected .reasons")).to_have_text("die 2D- und die 3D-Netze sind sich nicht einig")
    page.get_by_role("button", name="Ablehnen").click()
    page.get_by_label("Gefäß").check()
    expect(page.locator(".finding.selected .verdict")).to_have_text("Abgelehnt: Gefäß")
    assessed = next(finding.assessment for finding in findings_of(site, study) if finding.assessment)
    assert assessed.reason == "Vessel"  # the record is everyone's


def test_a_key_marks_a_study_as_reviewed_and_opens_the_next_one_of_the_list(
    site: Site, open_page: Callable[..., Page]
) -> None:
    last, first = (site.analysed_study(name=f"Round^{name}", patient_id=f"R-{name}") for name in ("Second", "First"))
    page = open_page()
    page.goto(f"{site.url}/worklist?q=Round")
    page.locator(f'[data-study="{first.study_instance_uid}"] a').first.click()
    for study in (first, last):
        page.wait_for_url(f"**/studies/{study.study_instance_uid}")
        page.locator("[data-pane][data-shown]").wait_for()
        page.keyboard.press("e")
    page.wait_for_url("**/worklist?q=Round")
    expect(page.locator("tr[data-reviewed]")).to_have_count(2)
