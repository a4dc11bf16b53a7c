"""Uploading a picture and reading the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.support.webapp_doubles import noise_png

pytestmark = pytest.mark.browser


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "slice.png"
    path.write_bytes(noise_png(256, 256))
    return path


def test_an_upload_leads_to_its_answer(site: Site, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", picture)
    expect(page.locator("[data-preview]")).to_be_visible()
    page.fill("#age", "61")
    page.check("input[name=sex][value=female]")
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")
    expect(page.get_by_role("heading", level=1)).to_have_text("More likely malignant")
    expect(page.get_by_text("72 to 97 % (30 of 34 similar)").first).to_be_visible()
    expect(page.get_by_text("61 years")).to_be_visible()


def test_the_attention_overlay_follows_its_slider(site: Site, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", picture)
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")
    overlay = page.locator("[data-attention]")
    expect(overlay).to_have_js_property("complete", True)
    assert overlay.evaluate("image => image.naturalWidth") == 256
    page.locator("[data-opacity]").fill("90")
    expect(overlay).to_have_css("opacity", "0.9")


def test_it_works_without_scripts(site: Site, open_page: Callable[..., Page], picture: Path) -> None:
    page = open_page(java_script_enabled=False)
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", picture)
    page.fill("#age", "70")
    page.click("[data-submit]")
    expect(page.get_by_role("heading", level=1)).to_have_text("More likely malignant")
    expect(page.get_by_text("70 years")).to_be_visible()


def test_a_refusal_is_shown_in_words(site: Site, open_page: Callable[..., Page], tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("hello", encoding="utf-8")
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", path)
    with page.expect_response("**/predict") as answered:
        page.click("[data-submit]")
    assert answered.value.status == 415
    expect(page.get_by_role("alert")).to_contain_text("Use PNG, JPEG, DICOM")
    expect(page.locator("[data-submit]")).to_be_enabled()


def test_the_hundred_dots_follow_their_slider(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(site.url)
    expect(page.locator("[data-dots-live] circle.on")).to_have_count(12)
    page.locator("#share").fill("40")
    expect(page.locator("[data-dots-live] circle.on")).to_have_count(40)
    expect(page.locator("#reading")).to_contain_text("about 40")


@pytest.mark.parametrize("path", ["/", "/detector"])
def test_a_phone_shows_it_without_scrolling_sideways(site: Site, open_page: Callable[..., Page], path: str) -> None:
    page = open_page(viewport={"width": 360, "height": 740})
    page.goto(site.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_dropped_dicom_instance_asks_for_the_place_of_its_nodule(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.evaluate(
        """() => {
          const bytes = new Uint8Array(400);
          bytes.set([0x44, 0x49, 0x43, 0x4d], 128);
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "nodule.dcm"));
          document.querySelector("[data-drop]").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.get_by_text("Click the nodule in the image")).to_be_visible()
    drawn = page.locator("[data-slice-image]")
    expect(drawn).to_be_visible()
    page.wait_for_function("document.querySelector('[data-slice-image]').naturalWidth > 0")
    size = page.evaluate("[...document.images].find((one) => one.matches('[data-slice-image]')).naturalWidth")
    box = drawn.bounding_box()
    assert box is not None
    drawn.click(position={"x": box["width"] / 4, "y": box["height"] / 2})
    assert float(page.get_by_label("Column").input_value()) == pytest.approx(size / 4, abs=1)
    page.get_by_label("Row").fill("10")
    expect(page.locator("[data-slice-mark] circle")).to_have_attribute("cy", "10.5")
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")
    expect(page.get_by_text("second reading of one nodule")).to_be_visible()


def test_a_wrong_file_is_reported_at_once_and_refused_in_words(
    site: Site, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not a picture at all")
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", text)
    expect(page.get_by_text("Unsupported file")).to_be_visible()
    page.click("[data-submit]")
    expect(page.get_by_role("alert")).to_contain_text("Use PNG, JPEG, DICOM")
    expect(page.locator("[data-submit]")).to_be_enabled()


def test_the_answer_is_printed_on_white_without_buttons(
    site: Site, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page()
    page.add_init_script("localStorage.setItem('theme', 'dark')")
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", picture)
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")
    page.emulate_media(media="print")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    expect(page.get_by_text("Limits of this answer")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/detector", "/model"])
def test_pages_for_everyone_fit_a_phone(site: Site, open_page: Callable[..., Page], path: str) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True)
    page.goto(site.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    ("name", "head", "limit"), [("series.zip", "PK\x03\x04", "maxUploadMb"), ("one.png", "\x89PNG", "maxImageMb")]
)
def test_a_file_above_the_limit_is_not_sent(
    site: Site, open_page: Callable[..., Page], tmp_path: Path, name: str, head: str, limit: str
) -> None:
    file = tmp_path / name
    file.write_bytes(head.encode("latin-1") + bytes(2 * 2**20))
    page = open_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto(f"{site.url}/detector")
    form = page.locator("[data-upload]")
    assert int(form.evaluate("(form, name) => form.dataset[name]", limit)) >= 64
    form.evaluate("(form, name) => { form.dataset[name] = '1'; }", limit)
    page.fill("#symptoms", "cough")
    page.set_input_files("#image", file)
    expect(page.locator("[data-file-hint]")).to_have_text("The file is larger than 1 MiB.")
    page.click("[data-submit]")
    expect(page.get_by_role("alert")).to_have_text("The file is larger than 1 MiB.")
    assert sent == []
    assert page.locator("#symptoms").input_value() == "cough"


def test_symptoms_with_line_breaks_fill_the_whole_field(
    site: Site, open_page: Callable[..., Page], picture: Path
) -> None:
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.set_input_files("#image", picture)
    page.fill("#symptoms", "a\n" * 1000)
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")


def test_two_dropped_files_are_refused_by_name_of_the_rule(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{site.url}/detector")
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          for (const name of ["a.png", "b.png"]) transfer.items.add(new File(["x"], name));
          document.querySelector("[data-drop]").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.get_by_role("alert")).to_contain_text("One file at a time")
