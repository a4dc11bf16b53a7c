"""Ways to look at the images: keys, buttons, wheel, double click, touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_viewer import (
    LUNG,
    OWN,
    box_of,
    grey_at,
    middle_of,
    nodule_on_screen,
    opened,
    pane,
    place_of,
    shows,
)
from tests.support.serve import NODULE, SLICES
from tests.support.service import until
from tests.support.webapp_doubles import Study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def study(site: Site) -> Study:
    return site.analysed_study(patient_id="B-LOOK")


@pytest.fixture
def viewer(site: Site, study: Study, shared_page: Page) -> Page:
    shared_page.context.clear_cookies()
    return opened(shared_page, site, study)


def is_pressed(name: str, pressed: bool = True) -> Callable[[Page], None]:
    return lambda page: expect(page.locator(f"[data-{name}]")).to_have_attribute("aria-pressed", str(pressed).lower())


def has_window(center: int, width: int) -> Callable[[Page], None]:
    return lambda page: expect(page.locator("[data-readout-window]")).to_have_text(f"C {center} W {width} HU")


def has_zoom(text: str) -> Callable[[Page], None]:
    return lambda page: expect(page.locator("[data-readout-zoom]")).to_have_text(text)


def is_in_the_middle(page: Page) -> None:
    until(
        lambda: (middle_of(page.locator(".mark.selected")), middle_of(pane(page))),
        lambda places: places[0] == pytest.approx(places[1], abs=2),
    )


def has_a_lens(page: Page) -> None:
    pane(page).hover()
    expect(page.locator("[data-lens]")).to_be_visible()


def has_slab(text: str) -> Callable[[Page], None]:
    return lambda page: expect(page.locator("[data-readout-slab]")).to_have_text(text)


def plane(page: Page, name: str) -> Locator:
    return page.locator(f"[data-plane={name}]")


def has_planes_at(row: int, column: int) -> Callable[[Page], None]:
    def check(page: Page) -> None:
        expect(plane(page, "coronal")).to_have_attribute("data-at", str(row))
        expect(plane(page, "sagittal")).to_have_attribute("data-at", str(column))

    return check


def has_no_planes(page: Page) -> None:
    expect(page.locator("[data-plane]")).to_have_count(0)
    is_pressed("planes", pressed=False)(page)


def has_titles(*titles: str) -> Callable[[Page], None]:
    return lambda page: expect(page.locator("[data-plane-title]")).to_have_text(list(titles))


KEYS: dict[str, list[tuple[str, Callable[[Page], None]]]] = {
    "windows": [
        ("2", has_window(50, 400)),
        ("3", has_window(400, 1800)),
        ("4", has_window(100, 700)),
        ("5", has_window(90, 150)),
        ("1", has_window(-600, 1500)),
    ],
    "grey values": [("i", is_pressed("invert")), ("i", is_pressed("invert", pressed=False))],
    "cine": [
        ("c", is_pressed("cine")),
        ("c", is_pressed("cine", pressed=False)),
        ("c ArrowDown", is_pressed("cine", pressed=False)),
    ],
    "magnifier": [("v", has_a_lens), ("v", is_pressed("magnify", pressed=False))],
    "marks": [("h", is_pressed("marks", pressed=False))],
    "slab": [
        ("s", has_slab("MIP 5 mm (1 slice)")),
        ("s", has_slab("MIP 8 mm (3 slices)")),
        ("s", has_slab("MIP 10 mm (3 slices)")),
        ("s", has_slab("")),
    ],
    "planes": [
        ("x", has_planes_at(52, 90)),
        ("n", has_planes_at(60, 34)),
        ("x", has_no_planes),
        ("x s s", has_titles("Coronal · MIP 8 mm", "Sagittal · MIP 8 mm")),
    ],
    "findings": [("n", is_in_the_middle), ("n p", is_in_the_middle), ("0", has_zoom("100 %"))],
}
"""Keys of one page, one after the other, and what they do."""


@pytest.mark.parametrize("steps", KEYS.values(), ids=KEYS)
def test_keys(viewer: Page, steps: list[tuple[str, Callable[[Page], None]]]) -> None:
    for keys, shown in steps:
        for key in keys.split():
            viewer.keyboard.press(key)
        shown(viewer)


def test_a_button_does_what_its_key_does(viewer: Page) -> None:
    for name in ("invert", "cine", "magnify", "marks", "planes"):
        button = viewer.locator(f"[data-{name}]")
        before = button.get_attribute("aria-pressed")
        button.click()
        expect(button).not_to_have_attribute("aria-pressed", str(before))
        button.click()
        expect(button).to_have_attribute("aria-pressed", str(before))


def test_every_key_is_in_the_help(viewer: Page) -> None:
    viewer.keyboard.press("?")
    listed = viewer.locator("[data-help] kbd").all_inner_texts()
    used = {key for steps in KEYS.values() for keys, _ in steps for key in keys.split()} - {"ArrowDown"}
    assert used <= set(listed)


def test_inverted_grey_values(viewer: Page) -> None:
    assert grey_at(viewer, *LUNG) < 110
    viewer.keyboard.press("i")
    until(lambda: grey_at(viewer, *LUNG), lambda grey: grey > 140)
    viewer.locator("[data-series]").first.click()
    shows(viewer, SLICES // 2)
    until(lambda: grey_at(viewer, *LUNG), lambda grey: grey > 140)  # also for a series that is opened later


def test_cine_goes_round(viewer: Page) -> None:
    viewer.keyboard.press("End")
    shows(viewer, SLICES - 1)
    viewer.keyboard.press("c")
    until(lambda: int(pane(viewer).get_attribute("data-shown") or 0), lambda index: index < SLICES // 2)
    pane(viewer).hover()
    viewer.mouse.wheel(0, 120)
    expect(viewer.locator("[data-cine]")).to_have_attribute("aria-pressed", "false")


def test_the_magnifier_enlarges_what_is_under_the_pointer(viewer: Page) -> None:
    x, y = nodule_on_screen(viewer)
    viewer.keyboard.press("v")
    viewer.mouse.move(x, y)
    lens = viewer.locator("[data-lens]")
    assert middle_of(lens) == pytest.approx((x, y), abs=3)
    bright = lens.evaluate(
        """lens => {
          const {data, width, height} = lens.getContext("2d").getImageData(0, 0, lens.width, lens.height);
          let count = 0;
          for (let at = 0; at < data.length; at += 4) if (data[at] > 128) count += 1;
          return [count / (width * height), data[4 * (width * (height / 2) + width / 2)]];
        }"""
    )
    mark = box_of(viewer.locator(".mark.selected"))
    share = np.pi / 4 * (mark["width"] - 20) ** 2 * 2.5**2 / 220**2
    assert bright[1] > 128
    assert bright[0] == pytest.approx(min(1, share), abs=0.35)


def test_ctrl_and_wheel_zoom_about_the_cursor(viewer: Page) -> None:
    x, y = middle_of(viewer.locator(".mark.selected"))
    viewer.mouse.move(x, y)
    viewer.keyboard.down("Control")
    for delta in (-300, -150, 200):
        viewer.mouse.wheel(0, delta)
    viewer.keyboard.up("Control")
    has_zoom("230 %")(viewer)
    assert middle_of(viewer.locator(".mark.selected")) == pytest.approx((x, y), abs=2)


def test_a_double_click_shows_a_close_up_and_back(viewer: Page) -> None:
    x, y = middle_of(viewer.locator(".mark.selected"))
    viewer.mouse.dblclick(x, y)
    has_zoom("300 %")(viewer)
    is_in_the_middle(viewer)
    viewer.mouse.dblclick(*middle_of(pane(viewer)))
    has_zoom("100 %")(viewer)
    viewer.keyboard.press("m")
    viewer.mouse.dblclick(x, y)
    has_zoom("100 %")(viewer)  # two marks are no close-up


def middle_grey(stage: Locator) -> int:
    """Grey value in the middle of a plane."""
    return int(
        stage.locator("canvas").evaluate(
            "canvas => canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0]"
        )
    )


def test_the_planes_go_through_the_finding_and_are_linked(viewer: Page) -> None:
    viewer.keyboard.press("x")
    row, column = round(NODULE.index[1]), round(NODULE.index[2])
    has_planes_at(row, column)(viewer)
    for name, letters in (("coronal", ["H", "R", "L", "F"]), ("sagittal", ["H", "A", "P", "F"])):
        until(lambda name=name: middle_grey(plane(viewer, name)), lambda grey: grey > 200)  # type: ignore[misc]
        assert plane(viewer, name).locator("[data-plane-orient]").all_inner_texts() == letters
    viewer.keyboard.press("2")
    until(lambda: middle_grey(plane(viewer, "coronal")), lambda grey: grey < 200)  # the window is that of the slices
    viewer.keyboard.press("1")
    coronal = box_of(plane(viewer, "coronal").locator("canvas"))
    viewer.mouse.click(coronal["x"] + coronal["width"] / 2, coronal["y"] + coronal["height"] / 2 - 40)
    until(lambda: int(pane(viewer).get_attribute("data-shown") or 0), lambda index: index < OWN)
    plane(viewer, "sagittal").hover()
    viewer.mouse.wheel(0, 120)
    has_planes_at(row, column + 1)(viewer)
    viewer.mouse.click(*place_of(viewer, 30.0, 40.0))
    has_planes_at(30, 40)(viewer)
    expect(pane(viewer).locator(".line")).to_have_count(2)


def test_a_slab_shows_the_nodule_of_a_neighbouring_slice(viewer: Page) -> None:
    row, column = NODULE.index[1:]
    viewer.keyboard.press("ArrowUp")
    viewer.keyboard.press("ArrowUp")
    shows(viewer, OWN - 2)
    until(lambda: grey_at(viewer, row, column), lambda grey: grey < 110)
    viewer.keyboard.press("s")
    viewer.keyboard.press("s")
    until(lambda: grey_at(viewer, row, column), lambda grey: grey > 200)
    viewer.keyboard.press("ArrowUp")
    shows(viewer, OWN - 3)
    until(lambda: grey_at(viewer, row, column), lambda grey: grey < 110)


def test_marks_have_a_dark_rim(viewer: Page) -> None:
    rim, mark = (viewer.locator(f".{name}.selected") for name in ("halo", "mark"))
    widths = [float(one.evaluate("one => parseFloat(getComputedStyle(one).strokeWidth)")) for one in (rim, mark)]
    assert widths[0] >= widths[1] + 2
    assert rim.evaluate("one => getComputedStyle(one).stroke") == "rgb(0, 0, 0)"
    assert middle_of(rim) == pytest.approx(middle_of(mark), abs=0.5)


def touch(page: Page, steps: list[list[tuple[float, float]]]) -> None:
    """Put fingers down, move them and lift them."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, points: list[tuple[float, float]]) -> None:
        fingers: list[dict[str, Any]] = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    send("touchStart", steps[0])
    for points in steps[1:]:
        send("touchMove", points)
    send("touchEnd", [])
    session.detach()


def test_one_finger_scrolls_and_two_zoom(site: Site, study: Study, open_page: Callable[..., Page]) -> None:
    page = opened(open_page(has_touch=True), site, study)
    x, y = middle_of(pane(page))
    touch(page, [[(x, y - 60 + 12 * step)] for step in range(6)])
    shows(page, OWN + 5)
    expect(page.locator("[data-readout-window]")).to_have_text("C -600 W 1500 HU")
    touch(page, [[(x - 50 - 10 * step, y), (x + 50 + 10 * step, y)] for step in range(6)])
    has_zoom("200 %")(page)
    shows(page, OWN + 5)
    before = middle_of(page.locator("[data-pane]"))
    assert before == (x, y)


def test_full_screen_and_back(site: Site, study: Study, open_page: Callable[..., Page]) -> None:
    page = opened(open_page(), site, study)
    page.keyboard.press("f")
    is_pressed("full-screen")(page)
    until(lambda: page.evaluate("document.fullscreenElement?.className"), lambda name: name == "stage-area")
    page.keyboard.press("n")
    is_in_the_middle(page)
    page.keyboard.press("f")
    is_pressed("full-screen", pressed=False)(page)


def test_series_have_thumbnails_of_their_middle_slices(viewer: Page) -> None:
    thumbnail = viewer.locator("[data-series] .thumb")
    expect(thumbnail).to_have_count(1)
    until(lambda: thumbnail.evaluate("image => image.naturalWidth"), lambda width: width == 96)
