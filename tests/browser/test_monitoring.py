"""The page of the model in use: by keyboard, in both themes, without what axe-core calls serious."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from db.accounts import users
from db.domain.accounts import Role
from lungnode.monitoring.watch_report import run_watch
from tests.browser.conftest import Site
from tests.browser.test_accessibility import axe, serious
from tests.support.watched_series import rehearsed

__all__ = ["axe"]

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def test_an_auditor_reads_the_page_by_keyboard(locked_site: Site, open_page: Callable[..., Page], axe: str) -> None:
    with locked_site.database.begin() as session:
        users.add_user(session, "auditor", PASSWORD, Role.AUDITOR)
    rehearsed(locked_site.database)
    run_watch(locked_site.database)
    page = open_page(locale="de-DE")
    page.goto(f"{locked_site.url}/monitoring")
    page.fill("#name", "auditor")
    page.fill("#password", PASSWORD)
    page.locator("main button[type=submit]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Das Modell im Einsatz")
    expect(page.get_by_role("status")).to_contain_text("1 Scanner gleicht seinen ersten Serien nicht mehr.")
    steady = page.locator("details.scanner", has_text="Phantom One")
    expect(steady).not_to_have_attribute("open", "")
    steady.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(steady.get_by_role("table")).to_be_visible()
    drawn = page.get_by_role("img", name="Mittel der Referenz").first
    expect(drawn).to_be_visible()
    assert serious(page, axe) == []
    page.evaluate("localStorage.setItem('theme', 'light')")
    page.reload()
    assert serious(page, axe) == []
