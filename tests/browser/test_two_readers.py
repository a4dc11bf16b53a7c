"""Two readers at the same study."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from db.accounts import users
from db.domain.accounts import Role
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def signed_in(site: Site, open_page: Callable[..., Page], name: str) -> Page:
    """A page of the worklist, signed in."""
    with site.database.begin() as session:
        users.add_user(session, name, PASSWORD, Role.RADIOLOGIST)
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.url}/worklist")
    return page


def test_who_reads_is_shown_to_others_and_every_verdict_stays(
    locked_site: Site, open_page: Callable[..., Page]
) -> None:
    study = locked_site.analysed_study(name="Two^Readers", patient_id="TWO-1")
    path = f"{locked_site.url}/studies/{study.study_instance_uid}"
    anna, ben = (signed_in(locked_site, open_page, name) for name in ("anna", "ben"))
    row = ben.locator(f"tr[data-study='{study.study_instance_uid}']")
    expect(row).to_contain_text("Analysed")
    expect(row.locator("[data-reading]")).to_have_count(0)
    own = anna.locator(f"tr[data-study='{study.study_instance_uid}']")
    own.get_by_role("link").focus()
    anna.keyboard.press("a")
    expect(own.locator("[data-assigned]")).to_have_text("assigned to anna")
    expect(row.locator("[data-assigned]")).to_have_text("assigned to anna")
    anna.keyboard.press("a")
    expect(row.locator("[data-assigned]")).to_have_count(0)
    anna.goto(path)
    expect(row.locator("[data-reading]")).to_have_text("anna is reading")
    assert row.evaluate("(row) => row.offsetHeight") == 44
    row.get_by_role("link").click()
    expect(ben.locator("[data-readers]")).to_have_text("anna is reading")
    expect(anna.locator("[data-readers]")).to_have_text("ben is reading")
    expect(ben.locator(".finding.selected")).to_be_visible()
    ben.keyboard.press("a")
    expect(ben.locator(".finding.selected .finding-tags")).to_contain_text("ben")
    expect(anna.locator(".finding .finding-tags").first).to_contain_text("ben")
    anna.goto(f"{locked_site.url}/worklist")
    expect(ben.locator("[data-readers]")).to_be_empty()
    expect(anna.locator("[data-reading]")).to_have_text("ben is reading")
