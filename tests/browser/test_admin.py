"""An administrator finds a dead letter, has it sent again, reads the result's history and leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from db.accounts import users
from db.analyses import analyses
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryStatus
from db.results import deliveries
from tests.browser.conftest import Site
from tests.browser.test_accessibility import axe, serious
from tests.support.webapp_doubles import MODEL, SCANNER, add_study, finding_at, finish

__all__ = ["axe"]

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def dead_letter(site: Site) -> None:
    study = add_study(site.database, name="Phantom^Admin")
    analysis_id = finish(site.database, study, [finding_at(study.sop_instance_uids[0], 10, 20)])
    with site.database.begin() as session:
        record = deliveries.request_delivery(
            session, analysis_id=analysis_id, sop_instance_uid="1.2.9", sop_class_uid="1.2", kind="sr",
            destination="ARCHIVE", path="x",
        )  # fmt: skip
        deliveries.record_delivery(session, record.id, DeliveryStatus.FAILED, "connection refused")


def test_sign_in_admin_resend_audit_story_sign_out(locked_site: Site, open_page: Callable[..., Page], axe: str) -> None:
    with locked_site.database.begin() as session:
        users.add_user(session, "keeper", PASSWORD, Role.ADMIN)
    dead_letter(locked_site)
    page = open_page()
    page.goto(f"{locked_site.url}/admin")
    page.fill("#name", "keeper")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Administration")
    letters = page.get_by_role("region", name="Dead letters")
    expect(letters).to_contain_text("Connection refused.")
    assert serious(page, axe) == []
    letters.get_by_role("button", name="Send again").click()
    expect(letters).to_contain_text("No failed deliveries.")
    latest = page.get_by_role("region", name="Latest deliveries")
    expect(latest).to_contain_text("waiting")
    latest.get_by_role("link", name="History").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("History of a result")
    expect(page.get_by_role("region", name="Audit events")).to_contain_text("delivery:resent")
    expect(page.get_by_role("region", name="Audit events")).to_contain_text("by keeper")
    assert serious(page, axe) == []
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("table.trail")).to_contain_text("delivery:resent")
    assert serious(page, axe) == []
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{locked_site.url}/")
    page.goto(f"{locked_site.url}/admin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_an_administrator_holds_a_scanner_with_a_reason_and_releases_it(
    site: Site, open_page: Callable[..., Page], axe: str
) -> None:
    study = add_study(site.database, name="Phantom^Held")
    with site.database.begin() as session:
        record = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
        analyses.start_analysis(session, record.id)
        acquisition = {"Manufacturer": "Maker", "ManufacturerModelName": "One", "ConvolutionKernel": "B60f"}
        measures: dict[str, object] = {"acquisition": acquisition, "spacing_mm": [1.0, 0.7, 0.7]}
        analyses.complete_analysis(session, record.id, AnalysisOutcome(measures=measures))
    page = open_page()
    page.goto(f"{site.url}/admin#scanners")
    row = page.locator(f"#scanner-{SCANNER.key}")
    row.get_by_role("textbox").fill("noise went up")
    row.get_by_role("button", name="Hold").click()
    expect(row.get_by_text("Noise went up.")).to_be_visible()
    assert serious(page, axe) == []
    row.get_by_role("textbox").fill("serviced")
    row.get_by_label("analyse again").check()
    row.get_by_role("button", name="Release").click()
    expect(row.get_by_text("shown", exact=True)).to_be_visible()
    page.get_by_role("link", name="Candidate model").click()
    expect(page.get_by_role("heading", name="Candidate model")).to_be_visible()
    assert serious(page, axe) == []
