"""Signing in and out as a person does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from db.accounts import users
from db.domain.accounts import Role
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def test_a_reader_signs_in_reads_and_signs_out(locked_site: Site, open_page: Callable[..., Page]) -> None:
    with locked_site.database.begin() as session:
        users.add_user(session, "reader", PASSWORD, Role.RADIOLOGIST)
    study = locked_site.analysed_study()
    page = open_page()
    page.goto(f"{locked_site.url}/studies/{study.study_instance_uid}")
    page.fill("#name", "reader")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**/studies/{study.study_instance_uid}")
    expect(page.locator(".finding.selected")).to_be_visible()
    page.keyboard.press("a")
    expect(page.locator(".finding.selected .finding-tags")).to_contain_text("reader")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{locked_site.url}/")
    page.goto(f"{locked_site.url}/worklist")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
