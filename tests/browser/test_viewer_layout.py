"""Panes after every change of layout: the canvas fits its box, and the ring stays on the nodule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_viewer import OWN, box_of, middle_of, nodule_on_screen, opened, pane, place_of, screen, shows
from tests.support.serve import NODULE, SLICES
from tests.support.service import until
from tests.support.webapp_doubles import Study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def study(site: Site) -> Study:
    """A study with a prior."""
    site.stored_study(patient_id="B-LAYOUT", date="20240301")
    return site.analysed_study(patient_id="B-LAYOUT")


@pytest.fixture
def viewer(site: Site, study: Study, request: pytest.FixtureRequest) -> Page:
    change = getattr(request.node, "callspec", None) and request.node.callspec.params.get("change")
    if change in OWN_PAGE:
        page: Page = request.getfixturevalue("open_page")()
    else:
        page = request.getfixturevalue("shared_page")
        page.set_viewport_size({"width": 1280, "height": 720})
    return opened(page, site, study)


def prior(page: Page) -> Locator:
    return page.locator("[data-pane][data-name=comparison]")


def show_prior(page: Page) -> None:
    page.keyboard.press("b")
    expect(prior(page)).to_have_attribute("data-shown", str(OWN))


def click_prior(page: Page) -> None:
    page.locator("[data-other]").click()
    expect(prior(page)).to_have_attribute("data-shown", str(OWN))


def show_and_close_prior(page: Page) -> None:
    show_prior(page)
    page.get_by_role("button", name="Close the other study").click()
    expect(prior(page)).to_have_count(0)


def show_prior_twice(page: Page) -> None:
    show_prior(page)
    page.keyboard.press("b")
    expect(prior(page)).to_have_count(0)
    show_prior(page)


def resize(width: int, height: int) -> Callable[[Page], None]:
    return lambda page: page.set_viewport_size({"width": width, "height": height})


def pixels(width: int, height: int, ratio: float) -> Callable[[Page], None]:
    """As browser zoom does, or a window that is moved to a finer screen."""

    def change(page: Page) -> None:
        session = page.context.new_cdp_session(page)
        metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": False}
        session.send("Emulation.setDeviceMetricsOverride", metrics)
        size = [ratio, width, height]
        until(
            lambda: page.evaluate("[devicePixelRatio, innerWidth, innerHeight]"), lambda now: now == pytest.approx(size)
        )

    return change


def full_screen(page: Page) -> None:
    page.evaluate("document.querySelector('.stage-area').requestFullscreen()")
    until(lambda: page.evaluate("document.fullscreenElement !== null"), bool)


def wider_list(page: Page) -> None:
    page.evaluate("document.querySelector('.viewer').style.gridTemplateColumns = '13rem minmax(0, 1fr) 32rem'")


def prior_then_narrower(page: Page) -> None:
    show_prior(page)
    resize(1000, 700)(page)


def turned_while_drawing(page: Page) -> None:
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    resize(720, 1280)(page)


CHANGES: dict[str, Callable[[Page], None]] = {
    "prior shown by key": show_prior,
    "prior shown by click": click_prior,
    "prior closed": show_and_close_prior,
    "prior shown again": show_prior_twice,
    "narrower": resize(1024, 720),
    "lower": resize(1280, 480),
    "larger": resize(1800, 1000),
    "turned": resize(720, 1280),
    "turned while a slice is drawn": turned_while_drawing,
    "prior, then narrower": prior_then_narrower,
    "browser zoom 150 %": pixels(853, 480, 1.5),
    "browser zoom 80 %": pixels(1270, 710, 0.8),
    "finer screen": pixels(1278, 720, 2.0),
    "full screen": full_screen,
    "wider list": wider_list,
}


OWN_PAGE = {"browser zoom 150 %", "browser zoom 80 %", "finer screen", "full screen"}
"""Changes that outlast the page."""


def sizes_of(stage: Locator) -> tuple[float, ...]:
    """By how many pixels of the page the canvas, its bitmap and the marks miss the box that they belong in."""
    return tuple(
        stage.evaluate(
            """stage => {
              const canvas = stage.querySelector("canvas");
              const parts = [stage.querySelector("[data-view]"), canvas, stage.querySelector("[data-overlay]")];
              const [box, drawn, over] = parts.map((one) => one.getBoundingClientRect());
              return [
                drawn.x - box.x, drawn.y - box.y, drawn.width - box.width, drawn.height - box.height,
                canvas.width / devicePixelRatio - box.width, canvas.height / devicePixelRatio - box.height,
                over.x - box.x, over.y - box.y, over.width - box.width, over.height - box.height,
              ];
            }"""
        )
    )


def fits(page: Page) -> None:
    """Wait until every canvas fits its pane within a pixel."""
    for stage in page.locator("[data-pane]").all():
        until(partial(sizes_of, stage), lambda off: max(map(abs, off)) <= 1, 30)


def ring_is_on_the_nodule(page: Page) -> None:
    """Compare the ring with what is drawn within it, and the drawn nodule's width with its height."""
    mark = box_of(page.locator(".mark.selected"))
    assert mark["width"] == pytest.approx(mark["height"], abs=1)
    assert nodule_on_screen(page) == pytest.approx(middle_of(page.locator(".mark.selected")), abs=3)


@pytest.mark.parametrize("change", CHANGES)
def test_the_image_fits_its_pane_after_a_change_of_layout(viewer: Page, change: str) -> None:
    CHANGES[change](viewer)
    shows(viewer, OWN)
    fits(viewer)
    ring_is_on_the_nodule(viewer)
    position = place_of(viewer, *NODULE.index[1:])
    assert middle_of(viewer.locator(".mark.selected")) == pytest.approx(position, abs=1.5)
    expect(viewer.locator("[data-readout-zoom]").first).to_have_text("100 %")


@pytest.mark.parametrize("change", ["prior shown by key", "narrower", "turned", "browser zoom 150 %"])
def test_zoom_and_middle_stay_through_a_change_of_layout(viewer: Page, change: str) -> None:
    pane(viewer).hover()
    viewer.keyboard.down("Control")
    viewer.mouse.wheel(0, -200)
    viewer.keyboard.up("Control")
    zoom = viewer.locator("[data-readout-zoom]").first
    expect(zoom).to_have_text("195 %")
    CHANGES[change](viewer)
    shows(viewer, OWN)
    fits(viewer)
    expect(zoom).to_have_text("195 %")
    box = box_of(pane(viewer))
    side = min(box["width"], box["height"]) * np.exp(200 / 300)
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    row, column = NODULE.index[1:]
    position = (left + (column + 0.5) / 128 * side, top + (row + 0.5) / 128 * side)
    mark = viewer.locator(".mark.selected")
    assert middle_of(mark) == pytest.approx(position, abs=3)
    viewer.keyboard.press("n")
    viewer.keyboard.press("p")
    shows(viewer, OWN)
    until(lambda: nodule_on_screen(viewer), lambda at: at == pytest.approx(middle_of(mark), abs=4))


def test_another_slice_does_not_move_the_ring_off_the_nodule(viewer: Page) -> None:
    show_prior(viewer)
    viewer.keyboard.press("ArrowDown")
    shows(viewer, OWN + 1)
    viewer.keyboard.press("ArrowUp")
    shows(viewer, OWN)
    ring_is_on_the_nodule(viewer)


def windows(page: Page) -> list[str]:
    return page.locator("[data-pane] [data-readout-window]").all_inner_texts()


def test_a_prior_opens_in_the_window_of_the_current_study(viewer: Page) -> None:
    viewer.keyboard.press("2")
    show_prior(viewer)
    fits(viewer)
    assert windows(viewer) == ["C 50 W 400 HU"] * 2
    row, column = NODULE.index[1:]
    left, right = (box_of(viewer.locator(f"[data-pane][data-name={name}]")) for name in ("main", "comparison"))
    x, y = place_of(viewer, row, column)
    drawn = screen(viewer)
    here, there = drawn[round(y), round(x)], drawn[round(y), round(x + right["x"] - left["x"])]
    assert abs(int(here) - int(there)) <= 2
    prior(viewer).locator("[data-comparison-series]").select_option(index=0)
    assert windows(viewer) == ["C 50 W 400 HU"] * 2


def test_a_window_that_is_dragged_in_one_pane_is_used_in_both(viewer: Page) -> None:
    show_prior(viewer)
    for stage in (prior(viewer), pane(viewer)):
        before = windows(viewer)
        x, y = middle_of(stage)
        viewer.mouse.move(x, y)
        viewer.mouse.down()
        viewer.mouse.move(x + 60, y + 20, steps=4)
        viewer.mouse.up()
        until(lambda: windows(viewer), lambda now: now[0] == now[1] != before[0])  # noqa: B023


def test_keys_scroll_the_current_study_once_the_prior_is_closed(viewer: Page) -> None:
    show_prior(viewer)
    prior(viewer).locator("[data-view]").click(position={"x": 20, "y": 60})
    viewer.get_by_role("button", name="Close the other study").click()
    viewer.keyboard.press("ArrowDown")
    shows(viewer, OWN + 1)


def is_in_view(page: Page) -> bool:
    mark, box = box_of(page.locator(".mark.selected")), box_of(pane(page))
    return (
        mark["x"] >= box["x"]
        and mark["y"] >= box["y"]
        and mark["x"] + mark["width"] <= box["x"] + box["width"]
        and mark["y"] + mark["height"] <= box["y"] + box["height"]
    )


def choose_by_row(page: Page) -> None:
    page.locator(".finding:not(.selected) .finding-row").last.click()


def choose_by_button(page: Page) -> None:
    page.get_by_role("button", name="Next finding").click()


def choose_by_key(key: str) -> Callable[[Page], None]:
    return lambda page: page.keyboard.press(key)


def test_a_finding_that_is_chosen_comes_into_view(viewer: Page) -> None:
    pane(viewer).hover()
    viewer.keyboard.down("Control")
    for _ in range(3):
        viewer.mouse.wheel(0, -200)
    viewer.keyboard.up("Control")
    zoom = viewer.locator("[data-readout-zoom]").first
    expect(zoom).to_have_text("739 %")
    for choose in (*map(choose_by_key, "npjk"), choose_by_row, choose_by_button):
        for _ in range(3):
            chosen = viewer.locator(".finding.selected").get_attribute("data-finding")
            choose(viewer)
            expect(viewer.locator(f".finding.selected:not([data-finding='{chosen}'])")).to_have_count(1)
            until(lambda: is_in_view(viewer), bool)
        expect(zoom).to_have_text("739 %")


def test_a_finding_in_view_is_not_moved_by_its_row(viewer: Page) -> None:
    before = middle_of(viewer.locator(".mark.selected"))
    chosen = viewer.locator(".finding.selected").get_attribute("data-finding")
    viewer.locator(".finding:not(.selected) .finding-row").last.click()
    viewer.locator(f"[data-finding='{chosen}'] .finding-row").click()
    shows(viewer, OWN)
    assert middle_of(viewer.locator(".mark.selected")) == pytest.approx(before, abs=0.5)


@pytest.mark.parametrize(("pixels_of_a_notch", "notches"), [(100, 20), (120, 7), (53, 11), (-100, 12), (33.3, 3)])
def test_a_notch_of_the_wheel_is_one_slice(viewer: Page, pixels_of_a_notch: float, notches: int) -> None:
    viewer.keyboard.press("Home" if pixels_of_a_notch > 0 else "End")
    start = 0 if pixels_of_a_notch > 0 else SLICES - 1
    shows(viewer, start)
    pane(viewer).hover()
    for _ in range(notches):
        viewer.mouse.wheel(0, pixels_of_a_notch)
    shows(viewer, start + (notches if pixels_of_a_notch > 0 else -notches))


def test_the_wheel_stops_at_both_ends_and_turns_at_once(viewer: Page) -> None:
    viewer.keyboard.press("End")
    shows(viewer, SLICES - 1)
    pane(viewer).hover()
    for _ in range(5):
        viewer.mouse.wheel(0, 100)
    viewer.mouse.wheel(0, -100)
    shows(viewer, SLICES - 2)


def test_movements_of_a_trackpad_add_up(viewer: Page) -> None:
    pane(viewer).hover()
    for _ in range(30):
        viewer.mouse.wheel(0, 7)
    shows(viewer, OWN + 2)
