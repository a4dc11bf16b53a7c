"""The worklist: live, by keyboard, filtered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.unit.webapp.doubles import add_study, finish

pytestmark = pytest.mark.browser


def test_a_study_appears_and_is_answered_without_reloading(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{site.url}/worklist")
    expect(page.locator("[data-live]")).to_have_class("live js-only on")
    study = add_study(site.database, name="Arrives^Later", patient_id="LATER")
    row = page.locator(f"tr[data-study='{study.study_instance_uid}']")
    expect(row).to_contain_text("Receiving")
    expect(row).to_contain_text("Arrives, Later")
    finish(site.database, study)
    expect(row).to_contain_text("Analysed")
    expect(row).to_contain_text("No nodule found")


def test_it_is_used_by_keyboard(site: Site, open_page: Callable[..., Page]) -> None:
    add_study(site.database, name="Keys^Below", patient_id="K-1")
    study = site.analysed_study(name="Keys^Above", patient_id="K-2")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("keys")
    expect(page.locator("tr[data-study]")).to_have_count(2)
    assert page.url.endswith("/worklist?q=keys")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr.current")).to_contain_text("Keys, Below")
    page.keyboard.press("k")
    expect(page.locator("tr.current")).to_contain_text("Keys, Above")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{study.study_instance_uid}")


def test_states_are_filtered(site: Site, open_page: Callable[..., Page]) -> None:
    add_study(site.database, name="State^Receiving", patient_id="S-1")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.get_by_text("Receiving", exact=True).first.click()
    expect(page.get_by_text("State, Receiving")).to_be_visible()
    assert set(page.locator("tr[data-study] .chip").all_inner_texts()) == {"Receiving"}
    assert page.url.endswith("?state=receiving")


def test_names_stay_text(site: Site, open_page: Callable[..., Page]) -> None:
    name = "<img src=x onerror=alert(1)>"
    study = site.analysed_study(name=name, patient_id="XSS-1")
    page = open_page()
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{site.url}/worklist?q=XSS-1")
    expect(page.locator("tr[data-study]")).to_contain_text("<img src")
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-viewer]")).to_have_attribute("data-shown", "15")
    assert page.locator("img").count() == 0
